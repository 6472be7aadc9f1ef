// Package opts reads what users type after Docker's flags and turns it into the
// nouns of package spec. Every parser is a pure function, with Docker's rules
// and Docker's words in its errors; what needs the machine (the caller's
// environment, its directory) is passed in.
package opts
