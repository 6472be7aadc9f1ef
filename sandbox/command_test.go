package sandbox

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

func TestEnvironment(t *testing.T) {
	tests := map[string]struct{ in, want []string }{
		"home is added":        {[]string{"A=b"}, []string{"A=b", "HOME=/h"}},
		"home is kept":         {[]string{"HOME=/mine", "A="}, []string{"HOME=/mine", "A="}},
		"an empty home is not": {[]string{"HOME="}, []string{"HOME=/h"}},
		"broken entries":       {[]string{"A", "=b", "", "C=d\x00e", "F==g"}, []string{"F==g", "HOME=/h"}},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, environment(tt.in, "/h")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "C=3"}, []string{"B=x", "D=4"})
	if diff := cmp.Diff([]string{"A=1", "C=3", "B=x", "D=4"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward": "net/ipv4/ip_forward", "net/ipv4/conf/eth0.1/forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"net.ipv4.conf.eth0/1.forwarding": "net/ipv4/conf/eth0.1/forwarding", "plain": "plain",
	} {
		if got := sysctlPath(name); got != want {
			t.Errorf("sysctlPath(%q) is %q, want %q", name, got, want)
		}
	}
}

func TestCommandError(t *testing.T) {
	tests := map[error]struct {
		exit int
		want string
	}{
		unix.ENOENT:  {ExitNotFound, `exec: "x": no such file or directory`},
		unix.ENOTDIR: {ExitNotFound, `exec: "x": not a directory`},
		unix.EACCES:  {ExitNotExecutable, `exec: "x": permission denied`},
		unix.EPERM:   {ExitNotExecutable, `exec: "x": permission denied`},
		unix.EISDIR:  {ExitNotExecutable, `exec: "x": is a directory`},
		unix.ENOEXEC: {ExitNotExecutable, `exec: "x": exec format error`},
	}
	for cause, tt := range tests {
		err := commandError("x", cause)
		if ExitOf(err) != tt.exit || err.Error() != tt.want {
			t.Errorf("%v: exit %d, %q", cause, ExitOf(err), err)
		}
		// Over the channel, the error is the same.
		back := childError(string([]byte{byte(ExitOf(err))}) + err.Error())
		if ExitOf(back) != tt.exit || back.Error() != tt.want {
			t.Errorf("%v arrives as exit %d, %q", cause, ExitOf(back), back)
		}
	}
}

func TestUserExitCode(t *testing.T) {
	for code, want := range map[int]int{ExitFailed: 125, ExitNotExecutable: 126, ExitNotFound: 127} {
		if got, ok := UserExitCode(code); got != want || !ok {
			t.Errorf("UserExitCode(%d) is %d, %v", code, got, ok)
		}
	}
	for _, code := range []int{0, 1, 125, 126, 127, ExitEnough} {
		if got, ok := UserExitCode(code); ok {
			t.Errorf("UserExitCode(%d) is %d", code, got)
		}
	}
}

func TestPrivileges(t *testing.T) {
	caps := &specs.LinuxCapabilities{
		Bounding: []string{"CAP_CHOWN", "CAP_KILL"}, Permitted: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"},
		Inheritable: []string{"CAP_CHOWN"}, Ambient: []string{"CAP_KILL"},
	}
	for uid, want := range map[uint32]capSet{0: 1 << unix.CAP_CHOWN, 1000: 1 << unix.CAP_KILL} {
		p, err := privilegesOf(&specs.Process{Capabilities: caps}, nil, uid)
		if err != nil {
			t.Fatal(err)
		}
		if p.permitted != want || p.bounding != 1<<unix.CAP_CHOWN|1<<unix.CAP_KILL {
			t.Errorf("user %d: %+v", uid, p)
		}
	}
	if p, err := privilegesOf(&specs.Process{}, nil, 0); err != nil || p.permitted|p.bounding|p.ambient != 0 {
		t.Errorf("without capabilities: %+v, %v", p, err)
	}
	if _, err := parseCaps([]string{"CAP_NOSUCH"}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("an unknown capability: %v", err)
	}
	if set, err := parseCaps(capNames[:]); err != nil || set != allCaps {
		t.Errorf("all capabilities are %x, %v", set, err)
	}
}
