package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// refusedError is a flag of Docker's that cleat knows and does not have. Such
// flags are refused by name: neither ignored nor taken for a typing mistake.
type refusedError struct{ flag, reason string }

func (e refusedError) Error() string { return fmt.Sprintf("--%s %s", e.flag, e.reason) }

// The reasons why a flag is refused.
const (
	windowsOnly   = "is for Windows containers only"
	noTrust       = "can only be true: there is no content trust"
	neverHere     = "is not supported: the kernel's cgroup v2 has no such control"
	belongsToUnit = "is not supported: a container is a systemd unit in cleat.slice; use a drop-in below cleat-.service.d"
)

// refusedFlag is one row of a table of refused flags.
type refusedFlag struct {
	name, short string
	reason      string
	isBool      bool
	harmless    string // a value that asks for what cleat does anyway, and is accepted
}

// refusedCreate are the flags of docker run and create that are refused.
var refusedCreate = []refusedFlag{
	{name: "cgroup-parent", reason: belongsToUnit},
	{name: "cpu-count", reason: windowsOnly},
	{name: "cpu-percent", reason: windowsOnly},
	{name: "cpu-rt-period", reason: neverHere},
	{name: "cpu-rt-runtime", reason: neverHere},
	{name: "disable-content-trust", reason: noTrust, isBool: true, harmless: "true"},
	{name: "gpus", reason: "is not supported: give the container the device nodes and libraries with --device and -v"},
	{name: "io-maxbandwidth", reason: windowsOnly},
	{name: "io-maxiops", reason: windowsOnly},
	{name: "isolation", reason: windowsOnly, harmless: "default"},
	{name: "kernel-memory", reason: neverHere},
	{name: "memory-swappiness", reason: neverHere, harmless: "-1"},
	{name: "oom-kill-disable", reason: neverHere, isBool: true, harmless: "false"},
	{name: "runtime", reason: "is not supported: systemd starts containers, there is no other runtime", harmless: "cleat"},
	{name: "storage-opt", reason: "is not supported: the writable layer of a container is a directory, whose size has no limit"},
	{name: "use-api-socket", reason: "is not supported: mount the socket of 'cleat serve' with -v", isBool: true, harmless: "false"},
	{name: "userns", reason: "is not supported: containers share the user namespace of the host", harmless: "host"},
	{name: "volume-driver", reason: "is not supported: volumes are local directories", harmless: "local"},
}

// refuse defines the flags of table on fs, without showing them in the help.
func refuse(fs *pflag.FlagSet, table []refusedFlag) {
	for _, row := range table {
		flag := fs.VarPF(refusedValue{row}, row.name, row.short, "")
		flag.Hidden = true
		if row.isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// refusedValue is a flag that cannot be set.
type refusedValue struct{ row refusedFlag }

// Set implements pflag.Value.
func (v refusedValue) Set(s string) error {
	if v.row.harmless != "" && strings.EqualFold(s, v.row.harmless) {
		return nil
	}
	return refusedError{v.row.name, v.row.reason}
}

// String implements pflag.Value.
func (refusedValue) String() string { return "" }

// Type implements pflag.Value.
func (refusedValue) Type() string { return "" }
