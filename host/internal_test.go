package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/packaging/units"
	"github.com/cleat-project/cleat/spec"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const tail = " 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 815 170 42"
	tests := map[string]struct {
		in   string
		want uint64
		err  error
	}{
		"field 22 is the start time":               {in: "7 (systemd) S" + tail, want: 815},
		"a name may hold brackets and blanks":      {in: "7 (a) S (b) c) R" + tail, want: 815},
		"a zombie has ended":                       {in: "7 (sh) Z" + tail, err: fs.ErrNotExist},
		"a dead process has ended":                 {in: "7 (sh) X" + tail, err: fs.ErrNotExist},
		"a line without a name is invalid":         {in: "7 sh S" + tail, err: spec.ErrInvalid},
		"a short line is invalid":                  {in: "7 (sh) S 1 2", err: spec.ErrInvalid},
		"a start time must be a number":            {in: "7 (sh) S" + strings.Replace(tail, "815", "-1", 1), err: spec.ErrInvalid},
		"an empty line, of a process that left us": {in: "", err: spec.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("parseStat(%q) = %d, %v; want %d, %v", tt.in, got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("7 (a) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 815 170 42")
	f.Add(")")
	f.Fuzz(func(t *testing.T, line string) {
		if ticks, err := parseStat(line); err != nil && ticks != 0 {
			t.Errorf("parseStat(%q) = %d with error %v", line, ticks, err)
		}
	})
}

func TestMountPoints(t *testing.T) {
	t.Parallel()
	const text = `24 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw
32 24 0:27 / /mnt/a\040b\134c rw - cgroup2 cgroup2 rw
33 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
broken - cgroup2
`
	want := []string{"/sys/fs/cgroup/unified", `/mnt/a b\c`}
	if diff := cmp.Diff(want, mountPoints(text, "cgroup2")); diff != "" {
		t.Errorf("mountPoints (-want +got):\n%s", diff)
	}
}

func FuzzMountPoints(f *testing.F) {
	f.Add("31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n")
	f.Add(`1 2 3 4 \0405 - cgroup2 `)
	f.Fuzz(func(t *testing.T, text string) {
		if got := mountPoints(text, "cgroup2"); len(got) > strings.Count(text, "cgroup2") {
			t.Errorf("mountPoints(%q) = %q", text, got)
		}
	})
}

func TestEveryPlaceholderIsFilled(t *testing.T) {
	t.Parallel()
	to := t.TempDir()
	plan := bootPlan{Systemd: "/lib/systemd", Libexec: `/opt/a %h$x "b"\`, Root: "/srv/cleat", RunRoot: "/run/cleat"}
	for from, files := range map[string]fs.FS{"units": ownFiles, ".": units.FS} {
		if err := copyFiles(files, from, to, plan); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(to)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		text, err := os.ReadFile(filepath.Join(to, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile("@[A-Z]+@").Match(text) {
			t.Errorf("%s has a placeholder left:\n%s", e.Name(), text)
		}
	}
	for _, name := range []string{"multi-user.target", "systemd-journald.service", "cleat.slice", "cleat-stdiod.socket", "cleat-stdiod.service", "cleat-netd.socket", "cleat-netd.service", "cleat.socket", "cleat-apid.service"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing among %q", name, names)
		}
	}
	text, err := os.ReadFile(filepath.Join(to, "cleat-stdiod.service"))
	if want := `ExecStart=/opt/a\x20%%h$$x\x20\x22b\x22\\/cleat-stdiod`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("cleat-stdiod.service lacks %s: %v\n%s", want, err, text)
	}
}

func TestRecordOfAnotherProcessIsStale(t *testing.T) {
	t.Parallel()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := startTicks(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		in   record
		want bool
	}{
		"this process":                 {record{PID: os.Getpid(), StartTicks: ticks, BootID: boot}, true},
		"its number, used once before": {record{PID: os.Getpid(), StartTicks: ticks - 1, BootID: boot}, false},
		"before the machine's reboot":  {record{PID: os.Getpid(), StartTicks: ticks, BootID: "other"}, false},
		"no process at all":            {record{PID: 1 << 30, StartTicks: ticks, BootID: boot}, false},
		"nothing recorded":             {record{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.in.alive(); got != tt.want {
				t.Errorf("alive = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBrokenRecordCountsAsNone(t *testing.T) {
	t.Parallel()
	d, err := newDirs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.state, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, ok := d.running(); ok {
		t.Errorf("running = %+v, want none", r)
	}
}

func TestFailedBootLeavesNothing(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	tests := map[string]struct {
		script string // stands in for systemd
		want   string // in the error
	}{
		"systemd that ends at once":     {"#!/bin/sh\necho this is why >&2\nexit 3\n", "this is why"},
		"systemd that does not execute": {"#!/nowhere/sh\n", "no such file or directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := newDirs(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			bin := t.TempDir()
			if err := os.WriteFile(filepath.Join(bin, "systemd"), []byte(tt.script), 0o755); err != nil {
				t.Fatal(err)
			}
			plan, err := d.plan(Options{PrivateNetwork: true})
			if err != nil {
				t.Fatal(err)
			}
			plan.Systemd = bin
			err = d.bootPlan(t.Context(), plan)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("boot: %v, want %q in it", err, tt.want)
			}
			base, err := cgroupMount()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(base, d.cgroupName())); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("cgroup is left: %v", err)
			}
			if _, err := os.Stat(d.state); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("record is left: %v", err)
			}
		})
	}
}

func TestCancelledBootLeavesNothing(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	d, err := newDirs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "systemd"), []byte("#!/bin/sh\necho hangs >&2\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plan, err := d.plan(Options{PrivateNetwork: true})
	if err != nil {
		t.Fatal(err)
	}
	plan.Systemd = bin
	cause := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := d.bootPlan(ctx, plan); !errors.Is(err, cause) {
		t.Errorf("boot: %v, want %v", err, cause)
	}
	base, err := cgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(base, d.cgroupName())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cgroup is left: %v", err)
	}
}
