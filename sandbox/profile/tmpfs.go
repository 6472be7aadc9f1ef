package profile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/spec"
)

// opposites are the options of which the later one holds.
var opposites = [][2]string{
	{"exec", "noexec"}, {"suid", "nosuid"}, {"dev", "nodev"}, {"rw", "ro"}, {"atime", "noatime"}, {"diratime", "nodiratime"},
	{"relatime", "norelatime"}, {"strictatime", "nostrictatime"}, {"async", "sync"}, {"nomand", "mand"},
}

// tmpfsKeys are the options that have a value, see tmpfs(5).
const tmpfsKeys = "size mode uid gid nr_inodes nr_blocks mpol"

// tmpfsMount turns --tmpfs into a mount that is noexec, nosuid and nodev unless
// the user says otherwise.
func tmpfsMount(mount specs.Mount, m spec.Mount) (specs.Mount, error) {
	options := []string{"noexec", "nosuid", "nodev", "rprivate"}
	if m.ReadOnly {
		options = append(options, "ro")
	}
	if m.TmpfsBytes < 0 {
		return mount, fmt.Errorf("size %d: %w", m.TmpfsBytes, spec.ErrInvalid)
	}
	if m.TmpfsBytes > 0 {
		options = append(options, "size="+strconv.FormatInt(m.TmpfsBytes, 10))
	}
	if m.TmpfsMode > 0 {
		options = append(options, fmt.Sprintf("mode=%o", m.TmpfsMode))
	}
	for _, o := range m.Options {
		if !knownTmpfs(o) {
			return mount, fmt.Errorf("unknown tmpfs option %q: %w", o, spec.ErrInvalid)
		}
		options = append(options, o)
	}
	mount.Type, mount.Source, mount.Options = "tmpfs", "tmpfs", lastOf(options)
	return mount, nil
}

func knownTmpfs(option string) bool {
	if key, value, ok := strings.Cut(option, "="); ok {
		return value != "" && slices.Contains(strings.Fields(tmpfsKeys), key) && !strings.ContainsAny(value, ", \x00")
	}
	return slices.ContainsFunc(opposites, func(pair [2]string) bool { return slices.Contains(pair[:], option) })
}

// lastOf drops the options that a later one overrides.
func lastOf(options []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, o := range slices.Backward(options) {
		subject, _, _ := strings.Cut(o, "=")
		for _, pair := range opposites {
			if slices.Contains(pair[:], o) {
				subject = pair[0]
			}
		}
		if !seen[subject] {
			seen[subject] = true
			out = append(out, o)
		}
	}
	slices.Reverse(out)
	return out
}
