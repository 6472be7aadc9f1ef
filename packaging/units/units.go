// Package units holds the unit files that come with cleat, for the packages of
// distributions and for the embedded host. In them @LIBEXEC@ stands for the
// directory of cleat's helper binaries, @ROOT@ for its root directory and @RUNROOT@
// for that of its sockets.
package units

import "embed"

// FS holds the unit files, with their placeholders, at its top.
//
//go:embed *.service *.socket *.slice
var FS embed.FS
