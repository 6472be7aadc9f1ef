// Package journal holds what the write side and the read side of cleat's logs
// share: the names of journal fields and the types of a log entry.
//
// Container output is stored in systemd's journal and nowhere else. The broker
// in journal/stdio writes it, with the fields that Docker's journald log driver
// uses, so that tools made for Docker find what they expect; journal/file reads
// it back from the journal's files. This package imports neither of them and no
// library, so that the small broker does not link the reader's decompressors.
package journal
