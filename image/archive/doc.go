// Package archive brings images into a store from files: what `docker save` and
// OCI tools write (Load), and bare root filesystems (Import). Archives may be
// compressed with gzip, zstd, xz or bzip2. Nothing in an archive is ever written
// under a name that the archive chooses.
package archive
