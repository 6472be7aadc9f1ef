package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// liveEnv makes the test binary the child of TestKernelObeysTheFilter.
const liveEnv = "CLEAT_BPF_LIVE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(liveEnv); mode != "" {
		if err := live(mode == "filtered"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestKernelObeysTheFilter(t *testing.T) {
	want := map[string]string{
		"filtered":   "unshare=EPERM add_key=EPERM personality=EPERM query=ok vsock=EPERM inet=ok clone3=ENOSYS future=ENOSYS",
		"unfiltered": "unshare=EINVAL add_key=EFAULT personality=ok query=ok",
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(status), "Seccomp:\t2") {
		delete(want, "unfiltered") // some other filter is above this test
	}
	for mode, want := range want {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), liveEnv+"="+mode)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", mode, err, out)
		}
		if got := strings.TrimSpace(string(out)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", mode, got, want)
		}
	}
}

// live prints how the kernel answers some calls.
func live(filtered bool) error {
	runtime.LockOSThread()
	if filtered {
		if err := install(); err != nil {
			return err
		}
	}
	calls := []struct {
		name string
		nr   uintptr
		args [3]uintptr
	}{
		{"unshare", unix.SYS_UNSHARE, [3]uintptr{unix.CLONE_NEWUSER | unix.CLONE_THREAD | 1}},
		{"add_key", unix.SYS_ADD_KEY, [3]uintptr{}},
		{"personality", unix.SYS_PERSONALITY, [3]uintptr{0x0040000}},
		{"query", unix.SYS_PERSONALITY, [3]uintptr{0xffffffff}},
		{"vsock", unix.SYS_SOCKET, [3]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}},
		{"inet", unix.SYS_SOCKET, [3]uintptr{unix.AF_INET, unix.SOCK_STREAM}},
		{"clone3", unix.SYS_CLONE3, [3]uintptr{}},
		{"future", 5000, [3]uintptr{}},
	}
	for _, c := range calls {
		answer := "ok"
		if _, _, errno := unix.Syscall(c.nr, c.args[0], c.args[1], c.args[2]); errno != 0 {
			answer = unix.ErrnoName(errno)
		}
		fmt.Printf("%s=%s ", c.name, answer)
	}
	fmt.Println()
	return nil
}

func install() error {
	f, err := Compile(dockerProfile(&testing.T{}), runtime.GOARCH)
	if err != nil {
		return err
	}
	code := f.Bytes()
	prog := unix.SockFprog{Len: uint16(len(code) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("install filter: %w", errno)
	}
	return nil
}
