// Package stdio is the client side of cleat's stdio broker and the protocol
// between the two. It links nothing but the standard library's core and
// golang.org/x/sys, because the start helper runs it on the hot path.
//
// The broker (package broker, program cleat-stdiod) holds the far ends of every
// container's stdout and stderr, or its terminal. A start registers them, a
// client that wants to see or feed them attaches, and the end of a container's
// run is drained: then its last byte is in the journal.
//
// # Protocol
//
// The socket is of type SOCK_SEQPACKET and serves root alone. A connection
// begins with one request: a version byte, a verb byte and a JSON object, with
// descriptors as SCM_RIGHTS. The broker answers with messages made of one type
// byte and a payload: see the Verb and Frame constants.
//
// Input does not pass through the broker. It hands an attached client the write
// end of the container's stdin (or the terminal), so that a large input is
// spliced from one pipe to the other without being copied at all and does not
// notice a restart of the broker.
package stdio
