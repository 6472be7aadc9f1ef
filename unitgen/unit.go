// Package unitgen turns a container into the systemd unit that it is. It is
// pure: no I/O, no clock, no environment. The same Unit has two forms, D-Bus
// properties for a transient unit and the text of a unit file, and a golden
// test proves that both say the same.
package unitgen

// Unit is a systemd unit as data.
type Unit struct {
	Name       string // with its suffix, for example "cleat-web.service"
	Properties []Property

	// Install lists the units that pull this one in once it is enabled
	// (WantedBy=); it exists in the file form alone.
	Install []string
}

// Property is one setting of a unit in the shape that org.freedesktop.systemd1
// takes for transient units. Value is one of string, bool, int32, uint32,
// uint64, []string, []byte, []Exec, []DeviceAllow, []IOLimit, []IOWeight, ExitStatusSet,
// []Path and []CPUSet, whose D-Bus signatures follow from their fields.
type Property struct {
	Name  string
	Value any
}

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

// RequiredPath is one entry of RequiresMountsFor=, which D-Bus takes as a list
// of strings.
type RequiredPath = string
