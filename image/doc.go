// Package image is the room of images: references as Docker reads them, and the
// store that holds images and their unpacked layers on disk.
//
// The store is an OCI image layout under <root>/images, which skopeo, crane and
// other tools can read, with one directory per unpacked layer beside it:
//
//	<root>/images/oci-layout, index.json     the list of images; the only truth about what exists
//	<root>/images/blobs/sha256/<hex>         manifests, configurations, layers as they came
//	<root>/images/staging/<boot>/<hex>       complete blobs of pulls that have not ended yet
//	<root>/images/sizes/<hex>                bytes of the uncompressed tar of a layer, in decimal
//	<root>/images/signatures/<hex>           signatures of the manifest <hex>, as they came
//	<root>/images/{lock,hold,locks/<hex>}    flock(2) files: index, running sessions, one per layer in work
//	<root>/layers/<hex>/                     an unpacked layer, named by its diff id
//	<root>/layers/.staged-<boot>-<hex>/      the same, of pulls that have not ended yet
//	<root>/layers/.tmp-*/                    half-made or half-removed, never used
//
// What index.json does not lead to does not exist for the user. An image is added
// by an Ingest: its blobs and layers are verified and staged while they arrive,
// flushed once with syncfs(2), renamed into place and only then listed. So a kill
// or a power cut at any moment leaves either the whole image or invisible rests.
// Rests that are complete are used again by the next pull; a staged rest of an
// earlier boot may have lost its data and is not.
//
// Readers take no lock. Writers of index.json hold "lock" for a moment. Whoever
// is about to use blobs or layers that the index does not protect holds "hold"
// shared; what deletes them takes it exclusively and never waits for it.
//
// The sub-packages link more: registry pulls, pushes and logs in, archive saves,
// loads and imports, signature checks who has signed, compress knows the
// compression formats.
package image
