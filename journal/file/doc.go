// Package file reads the files of systemd's journal without journald, libsystemd
// or journalctl.
//
// The format is the one that systemd documents as JOURNAL_FILE_FORMAT: a header,
// then objects that are only ever appended and refer to each other by offset. A
// data object holds one "FIELD=value" once, however many entries have it, and
// lists those entries; so the lines of one container are found by one hash
// lookup in each file, and its newest lines from the end of that list.
//
// The layers, from the bytes up:
//
//   - mapping: the file in memory, growing, safe against truncation;
//   - journalFile: header and objects, each checked before it is believed;
//   - entryList, cursor: the entries of one data object, of several together;
//   - source: the entries of one file that a query takes;
//   - session: the sources of all files merged, and following them;
//   - Reader: the exported face: Read for entries, Logs for container output.
//
// A journal file may be cut short or damaged by a crash, so nothing read from it
// is trusted: a damaged object is skipped, the damage is reported once for each
// file as a *DamageError, and reading goes on.
package file
