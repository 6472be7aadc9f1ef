package main

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"
)

// refusedVerbs are those of Docker's compose that there are not.
var refusedVerbs = map[string]string{
	"alpha":   "is not supported",
	"bridge":  "is not supported: 'cleat compose generate' writes a project as units",
	"publish": "is not supported: projects are files; 'cleat compose config' writes one to hand on",
}

// refuse defines a flag of Docker's that can only have harmless values.
func refuse(fs *pflag.FlagSet, name, reason string, harmless ...string) {
	f := fs.VarPF(refusedFlag{name, reason, harmless}, name, "", "")
	f.Hidden = true
}

// refuseBool is refuse for a flag without a value.
func refuseBool(fs *pflag.FlagSet, name, reason string) {
	f := fs.VarPF(refusedFlag{name, reason, []string{"false"}}, name, "", "")
	f.Hidden, f.NoOptDefVal = true, "true"
}

// refusedError is a flag of Docker's that is known and cannot be set so.
type refusedError struct{ name, reason string }

func (e refusedError) Error() string { return fmt.Sprintf("--%s %s", e.name, e.reason) }

// refusedFlag is a flag that cannot be set.
type refusedFlag struct {
	name, reason string
	harmless     []string
}

// Set implements pflag.Value.
func (v refusedFlag) Set(s string) error {
	if slices.Contains(v.harmless, s) {
		return nil
	}
	return refusedError{v.name, v.reason}
}

// String implements pflag.Value.
func (refusedFlag) String() string { return "" }

// Type implements pflag.Value.
func (refusedFlag) Type() string { return "" }
