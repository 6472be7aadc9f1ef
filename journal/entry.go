package journal

import "time"

// Match is one condition on an entry: it has the field Name with exactly this
// Value.
type Match struct {
	Name  string // for example "_SYSTEMD_UNIT"
	Value string // raw bytes; may hold anything
}

// Query says which entries of a journal to read. The zero value reads no stored
// entry: set Tail to -1 to read all of them.
type Query struct {
	// Matches is an AND of ORs: an entry is taken when it fulfils at least one
	// Match of every inner list. Nil takes every entry, and an empty inner list
	// takes none.
	Matches [][]Match

	// Since and Until bound the time at which journald took an entry in. Both
	// are inclusive; a zero time is no bound.
	Since, Until time.Time

	// Tail is the number of newest stored entries to begin with; -1 is all.
	Tail int

	// Follow waits for further entries after the stored ones, until Until has
	// passed, Done is closed or the context is cancelled.
	Follow bool

	// Done, once closed, ends a Query with Follow after everything that is in
	// the journal by then has been read. Nil never ends it.
	Done <-chan struct{}
}

// LogQuery says which lines of one container's output to read. The zero value
// of Tail reads no stored line: set it to -1 to read all of them.
type LogQuery struct {
	// ContainerID is the container's full id of 64 hexadecimal digits.
	ContainerID string

	// Unit is the container's unit, for example "cleat-web.service". Any local
	// user may send entries with somebody else's container id to journald, so
	// only entries whose trusted unit is this one, or BrokerUnit, are believed.
	Unit string

	// FormerUnits are believed like Unit: those that the container was before it
	// was renamed.
	FormerUnits []string

	// Since and Until bound LogLine.Time. Both are inclusive; a zero time is no
	// bound.
	Since, Until time.Time

	// Tail is the number of newest stored lines to begin with; -1 is all. As in
	// Docker, each part of an overlong line counts as a line.
	Tail int

	// Follow waits for further lines after the stored ones, until Until has
	// passed, Done is closed or the context is cancelled.
	Follow bool

	// Done, once closed, ends a LogQuery with Follow after every line that is in
	// the journal by then has been read. Nil never ends it.
	Done <-chan struct{}

	// Details asks for LogLine.Attrs, which cost some time.
	Details bool
}

// LogLine is one line of a container's output, or one part of an overlong line.
type LogLine struct {
	// Time is when the line was read from the container, or when journald took
	// it in if the entry does not say.
	Time time.Time

	// Stderr says that the line came from standard error.
	Stderr bool

	// Partial says that the line goes on in a further LogLine of the same
	// stream: no newline follows Message.
	Partial bool

	// Message is the text without its newline. It is valid until the next
	// iteration only.
	Message []byte

	// Attrs holds the labels and environment variables that --log-opt added,
	// sorted by name. It must not be changed. Nil without LogQuery.Details.
	Attrs []Attr
}

// Attr is an additional field of a line.
type Attr struct {
	Name  string // the journal field's name, in upper case
	Value string
}
