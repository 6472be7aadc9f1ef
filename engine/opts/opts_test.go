package opts

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestDevice(t *testing.T) {
	t.Parallel()
	check(t, Device, map[string]result[spec.Device]{
		"/dev/a":           ok(spec.Device{Host: "/dev/a", Container: "/dev/a", Permissions: "rwm"}),
		"/dev/a:/dev/b":    ok(spec.Device{Host: "/dev/a", Container: "/dev/b", Permissions: "rwm"}),
		"/dev/a:r":         ok(spec.Device{Host: "/dev/a", Container: "/dev/a", Permissions: "r"}),
		"/dev/a:/dev/b:mr": ok(spec.Device{Host: "/dev/a", Container: "/dev/b", Permissions: "mr"}),
		"/dev/a:/dev/b:x":  bad[spec.Device]("bad mode specified: x"),
		"/dev/a:/dev/b:rr": bad[spec.Device]("bad mode specified: rr"),
		"/dev/a:/dev/b:":   bad[spec.Device]("bad mode specified"),
		"a":                bad[spec.Device]("a is not an absolute path"),
		"/dev/a:b":         bad[spec.Device]("b is not an absolute path"),
		"/a:/b:r:x":        bad[spec.Device]("bad format for path"),
		"vendor.com/gpu=0": bad[spec.Device]("CDI"),
		"":                 bad[spec.Device]("not an absolute path"),
	})
}

func TestDeviceRates(t *testing.T) {
	t.Parallel()
	check(t, DeviceBPS, map[string]result[spec.DeviceLimit]{
		"/dev/sda:1mb": ok(spec.DeviceLimit{Path: "/dev/sda", Rate: 1 << 20}),
		"/dev/sda:5":   ok(spec.DeviceLimit{Path: "/dev/sda", Rate: 5}),
		"foo":          bad[spec.DeviceLimit]("bad format: foo"),
		"sda:5":        bad[spec.DeviceLimit]("bad format for device path: sda:5"),
		"/dev/sda:zz":  bad[spec.DeviceLimit]("The correct format is"),
	})
	check(t, DeviceIOPS, map[string]result[spec.DeviceLimit]{
		"/dev/sda:100": ok(spec.DeviceLimit{Path: "/dev/sda", Rate: 100}),
		"/dev/sda:1mb": bad[spec.DeviceLimit]("The correct format is"),
		"/dev/sda:-1":  bad[spec.DeviceLimit]("The correct format is"),
	})
}

func TestUlimit(t *testing.T) {
	t.Parallel()
	check(t, Ulimit, map[string]result[spec.Ulimit]{
		"nofile=1024":      ok(spec.Ulimit{Name: "nofile", Soft: 1024, Hard: 1024}),
		"nofile=1024:2048": ok(spec.Ulimit{Name: "nofile", Soft: 1024, Hard: 2048}),
		"core=-1":          ok(spec.Ulimit{Name: "core", Soft: -1, Hard: -1}),
		"foo=1":            bad[spec.Ulimit]("invalid ulimit type: foo"),
		"nofile=5:1":       bad[spec.Ulimit]("ulimit soft limit must be less than or equal to hard limit"),
		"nofile":           bad[spec.Ulimit]("invalid ulimit argument: nofile"),
	})
}

func TestSizes(t *testing.T) {
	t.Parallel()
	check(t, Bytes, map[string]result[int64]{
		"64m": ok[int64](64 << 20), "1.5GiB": ok[int64](3 << 29), "100": ok[int64](100), "1kb": ok[int64](1024),
		"-5": bad[int64]("invalid size: '-5'"), "xx": bad[int64]("invalid size: 'xx'"),
	})
	check(t, BytesOrUnlimited, map[string]result[int64]{"-1": ok[int64](-1), "1g": ok[int64](1 << 30), "-2": bad[int64]("invalid size")})
	check(t, CPUs, map[string]result[int64]{
		"1.5": ok[int64](1500), "0": ok[int64](0), "0.0001": ok[int64](1), "2": ok[int64](2000), "1.0004": ok[int64](1000), "1/2": ok[int64](500),
		"x": bad[int64]("failed to parse x as a rational number"), "1.0000000001": bad[int64]("value is too precise"),
		"-1": bad[int64]("less than 0"), "1e99": bad[int64]("value is too precise"),
	})
}

func TestMemoryTurnsTheTotalIntoSwap(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		memory, total int64
		want          spec.Limits
		err           string
	}{
		"nothing given":                   {},
		"as much swap as memory":          {memory: 100, want: spec.Limits{MemoryBytes: 100, SwapBytes: 100}},
		"the total minus the memory":      {memory: 100, total: 150, want: spec.Limits{MemoryBytes: 100, SwapBytes: 50}},
		"the same means none":             {memory: 100, total: 100, want: spec.Limits{MemoryBytes: 100, NoSwap: true}},
		"-1 is unlimited":                 {memory: 100, total: -1, want: spec.Limits{MemoryBytes: 100, SwapBytes: -1}},
		"-1 alone":                        {total: -1, want: spec.Limits{SwapBytes: -1}},
		"a total without memory":          {total: 5, err: "always set the Memory limit"},
		"a total smaller than the memory": {memory: 100, total: 50, err: "should be larger than memory limit"},
	}
	for name, tt := range tests {
		got, err := Memory(tt.memory, tt.total)
		if !matches(err, tt.err) {
			t.Errorf("%s: error is %v, want %q", name, err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// matches reports whether err has part in its text; "" means no error.
func matches(err error, part string) bool {
	if part == "" || err == nil {
		return part == "" && err == nil
	}
	return strings.Contains(err.Error(), part)
}

func TestQuota(t *testing.T) {
	t.Parallel()
	tests := []struct {
		quota, period, want int64
		err                 string
	}{
		{},
		{quota: 50_000, period: 100_000, want: 500},
		{quota: 50_000, want: 500},
		{quota: 1000, period: 1_000_000, want: 1},
		{quota: -1, period: 100_000},
		{quota: 5, err: "cannot be less than 1ms"},
		{quota: 5000, period: 5, err: "cannot be less than 1ms"},
		{quota: 1 << 60, err: "out of range"},
		{period: 50_000, err: "--cpu-period has no effect"},
	}
	for _, tt := range tests {
		if got, err := Quota(tt.quota, tt.period); got != tt.want || !matches(err, tt.err) {
			t.Errorf("Quota(%d, %d) = %d, %v; want %d, %q", tt.quota, tt.period, got, err, tt.want, tt.err)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	policy := func(mode spec.RestartMode, n int) result[spec.RestartPolicy] {
		return ok(spec.RestartPolicy{Mode: mode, MaxRetries: n})
	}
	wrong := bad[spec.RestartPolicy]
	check(t, Restart, map[string]result[spec.RestartPolicy]{
		"no":             policy(spec.RestartNo, 0),
		"":               policy("", 0),
		"always":         policy(spec.RestartAlways, 0),
		"unless-stopped": policy(spec.RestartUnlessStopped, 0),
		"on-failure":     policy(spec.RestartOnFailure, 0),
		"on-failure:3":   policy(spec.RestartOnFailure, 3),
		"on-failure:":    policy(spec.RestartOnFailure, 0),
		"foo":            wrong("unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
		"foo:x":          wrong("maximum retry count must be an integer"),
		":3":             wrong("no policy provided before colon"),
		"always:3":       wrong("maximum retry count can only be used with 'on-failure'"),
		"no:-1":          wrong("and cannot be negative"),
		"on-failure:-1":  wrong("maximum retry count cannot be negative"),
	})
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	read := func(path string) ([]byte, error) {
		switch path {
		case "good.json":
			return []byte("{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}"), nil
		case "bad.json":
			return []byte("{"), nil
		}
		return nil, os.ErrNotExist
	}
	check(t, func(s string) (spec.Security, error) { return Security(strings.Split(s, "|"), read) }, map[string]result[spec.Security]{
		"no-new-privileges":       ok(spec.Security{NoNewPrivileges: true}),
		"no-new-privileges=true":  ok(spec.Security{NoNewPrivileges: true}),
		"no-new-privileges:false": ok(spec.Security{}),
		"seccomp=unconfined":      ok(spec.Security{Seccomp: "unconfined"}),
		"seccomp:unconfined":      ok(spec.Security{Seccomp: "unconfined"}),
		"seccomp=builtin":         ok(spec.Security{}),
		"seccomp=good.json":       ok(spec.Security{Seccomp: `{"defaultAction":"SCMP_ACT_ALLOW"}`}),
		"apparmor=mine|label=disable|systempaths=unconfined": ok(spec.Security{AppArmor: "mine", Unmask: true}),
		"seccomp=bad.json":        bad[spec.Security]("compacting json for seccomp profile (bad.json)"),
		"seccomp=none.json":       bad[spec.Security]("opening seccomp profile (none.json) failed"),
		"seccomp=":                bad[spec.Security]("needs a file"),
		"no-new-privileges=maybe": bad[spec.Security]("true or false"),
		"label=type:svirt_lxc":    bad[spec.Security]("SELinux labels are not supported"),
		"systempaths=x":           bad[spec.Security]("systempaths=unconfined"),
		"foo":                     bad[spec.Security](`invalid --security-opt: "foo"`),
		"foo=bar":                 bad[spec.Security](`invalid --security-opt: "foo=bar"`),
	})
}

func TestNetworkValues(t *testing.T) {
	t.Parallel()
	check(t, ExtraHost, map[string]result[string]{
		"a:1.2.3.4": ok("a:1.2.3.4"), "a=1.2.3.4": ok("a:1.2.3.4"), "a:::1": ok("a:::1"), "a=[::1]": ok("a:::1"), "a:[fe80::1]": ok("a:fe80::1"),
		"foo": bad[string](`bad format for add-host: "foo"`), "foo:x": bad[string](`invalid IP address in add-host: "x"`),
		":1.2.3.4": bad[string]("bad format"), "a:host-gateway": ok("a:host-gateway"),
	})
	check(t, DNS, map[string]result[string]{"1.1.1.1": ok("1.1.1.1"), "::1": ok("::1"), "foo": bad[string]("IP address is not correctly formatted: foo")})
	check(t, DNSSearch, map[string]result[string]{"a.b": ok("a.b"), ".": ok("."), "": bad[string]("not a valid domain"), "a b": bad[string]("not a valid domain")})
	check(t, PIDMode, map[string]result[string]{"": ok(""), "host": ok("host"), "container:a": ok("container:a"), "container:": bad[string]("invalid PID mode"), "x": bad[string]("--pid: invalid PID mode")})
	check(t, UTSMode, map[string]result[string]{"": ok(""), "host": ok("host"), "x": bad[string]("--uts: invalid UTS mode")})
	check(t, IPCMode, map[string]result[string]{"private": ok(""), "none": ok("none"), "shareable": ok("shareable"), "container:a": ok("container:a"), "x": bad[string]("invalid IPC mode: x")})
	check(t, CgroupnsMode, map[string]result[string]{"private": ok(""), "host": ok("host"), "x": bad[string]("--cgroupns: invalid CGROUP mode")})
}

func TestLog(t *testing.T) {
	t.Parallel()
	parse := func(s string) (LogOptions, error) {
		driver, rest, _ := strings.Cut(s, "|")
		var list []string
		if rest != "" {
			list = strings.Split(rest, "|")
		}
		return Log(driver, Map(list))
	}
	check(t, parse, map[string]result[LogOptions]{
		"": ok(LogOptions{}),
		"journald|tag={{.Name}}|labels=a,b,|env=C": ok(LogOptions{Driver: "journald", Tag: "{{.Name}}", Labels: []string{"a", "b"}, Env: []string{"C"}}),
		"none":            ok(LogOptions{Driver: "none"}),
		"none|tag=x":      bad[LogOptions]("invalid logging opts for driver none"),
		"json-file":       bad[LogOptions](`logging driver "json-file" is not supported`),
		"|max-size=10m":   bad[LogOptions]("unknown log opt 'max-size'"),
		"|env-regex=^A.*": bad[LogOptions]("unknown log opt 'env-regex'"),
	})
}

func TestWords(t *testing.T) {
	t.Parallel()
	check(t, Stream, map[string]result[string]{"STDIN": ok("stdin"), "stdout": ok("stdout"), "foo": bad[string]("valid streams are STDIN, STDOUT and STDERR")})
	check(t, Capability, map[string]result[string]{"cap_net_admin": ok("NET_ADMIN"), "NET_RAW": ok("NET_RAW"), "all": ok("ALL"), "": bad[string]("invalid capability")})
	check(t, Sysctl, map[string]result[string]{"a.b=1": ok("a.b=1"), "foo": bad[string]("sysctl 'foo' is not allowed")})
	check(t, Pair, map[string]result[string]{"a=": ok("a="), "a": bad[string]("KEY=VALUE"), "=a": bad[string]("KEY=VALUE")})
}

func TestListKeepsWhatItParsed(t *testing.T) {
	t.Parallel()
	l := NewList("", func(s string) (int, error) {
		if s == "x" {
			return 0, errors.New("no number")
		}
		return len(s), nil
	})
	if err := errors.Join(l.Set("ab"), l.Set("abc")); err != nil {
		t.Fatal(err)
	}
	if err := l.Set("x"); err == nil {
		t.Error("a bad value is taken")
	}
	if diff := cmp.Diff([]int{2, 3}, l.Values); diff != "" || l.String() != "ab,abc" || l.Type() != "list" {
		t.Errorf("String %q, Type %q (-want +got):\n%s", l, l.Type(), diff)
	}
}
