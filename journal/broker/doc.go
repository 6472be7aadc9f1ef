// Package broker is the server behind package stdio: it takes the output of all
// containers to the journal and to attached clients.
//
// Each output stream has one goroutine, which moves bytes from the container's
// pipe to the stream's stage (see stage.go: what makes the broker safe to kill),
// copies them to the attached clients, and sends complete lines to journald. If
// journald or a client that asked for it is slow, the goroutine waits and the
// container's pipe fills up: nothing is dropped.
//
// All descriptors are kept in systemd's descriptor store. A broker that is
// started again finds them there and goes on.
package broker
