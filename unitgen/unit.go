// Package unitgen turns a container into the systemd unit that it is. It is
// pure: no I/O, no clock, no environment. The same Unit has two forms: its
// properties, as D-Bus takes them for a transient unit, and the text of a unit
// file. Text writes the second from the first, so both say the same.
//
// Of what a container's user or image chose, only its name, id, image reference
// (in Description), bind sources, devices and numbers get into the unit. Argv,
// environment and labels stay in the start plan, where systemd does not expand
// anything.
package unitgen

// Unit is a systemd unit as data.
type Unit struct {
	Name       string     // with its suffix, for example "cleat-web.service"
	Properties []Property // sorted by name

	// Install lists the units that pull this one in once it is enabled
	// (WantedBy=); it exists in the file form alone.
	Install []string

	// Plain says that it is not one of cleat's, see Plain.
	Plain bool

	// ID of the container, X-Cleat-Id= in the file form; "" if there is none.
	ID string
}

// Property is one setting of a unit in the shape that org.freedesktop.systemd1
// takes for transient units. Value is one of string, bool, int32, uint32,
// uint64, []string, []uint32, []byte (a set of CPUs), []Exec, []DeviceAllow, []Credential, []IOLimit,
// []Listen and ExitStatusSet, whose D-Bus signatures follow from their fields.
type Property struct {
	Name  string
	Value any
}

// Infinity is systemd's "no limit" in properties of type uint64, times included.
const Infinity = ^uint64(0)

// Exec is one command line of ExecStart= and its kin: D-Bus signature (sasb).
type Exec struct {
	Path          string
	Args          []string // with argv[0]
	IgnoreFailure bool
}

// DeviceAllow is one line of DeviceAllow=: D-Bus signature (ss).
type DeviceAllow struct {
	Node        string // a path below /dev, or a group such as "char-pts"
	Permissions string // some of "rwm"
}

// Credential is one line of LoadCredential=: D-Bus signature (ss).
type Credential struct {
	ID     string
	Source string // an absolute path, or the name in a store of credentials
}

// IOLimit is one line of IOReadBandwidthMax= and its kin: signature (st).
type IOLimit struct {
	Path  string
	Limit uint64 // bytes or operations a second
}

// ExitStatusSet is the value of RestartPreventExitStatus= and its kin:
// signature (aiai).
type ExitStatusSet struct {
	Codes   []int32
	Signals []int32
}

// EnvList is the value of Environment=, in the file form alone: a line for each.
type EnvList []string
