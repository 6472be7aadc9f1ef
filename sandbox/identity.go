package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/sandbox/userdb"
	"github.com/cleat-project/cleat/spec"
)

// maxUserDB is the size of the largest /etc/passwd or /etc/group that is read.
const maxUserDB = 1 << 20

// readUserDB reads the user database of a container.
func readUserDB(root inroot.Root) (userdb.Files, error) {
	var f userdb.Files
	for path, into := range map[string]*[]byte{"/etc/passwd": &f.Passwd, "/etc/group": &f.Group} {
		data, err := root.ReadFile(path, maxUserDB)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		*into = data
	}
	return f, nil
}

// privileges are what a process may do.
type privileges struct {
	bounding, permitted, ambient capSet
	noNewPrivs                   bool
	seccomp                      []byte // struct sock_filter[], nil for none
	appArmor, seLinux            string
}

// privilegesOf returns what the configuration gives a process of user uid. One
// that is not root has no capabilities but the ambient ones, as after an
// execve(2) by such a user. Inheritable ones there are none (CVE-2022-29162).
func privilegesOf(p *specs.Process, seccomp []byte, uid uint32) (privileges, error) {
	priv := privileges{noNewPrivs: p.NoNewPrivileges, seccomp: seccomp, appArmor: p.ApparmorProfile, seLinux: p.SelinuxLabel}
	if p.Capabilities == nil {
		return priv, nil
	}
	var err error
	if priv.bounding, err = parseCaps(p.Capabilities.Bounding); err != nil {
		return priv, err
	}
	if priv.ambient, err = parseCaps(p.Capabilities.Ambient); err != nil {
		return priv, err
	}
	if priv.permitted, err = parseCaps(p.Capabilities.Permitted); err != nil {
		return priv, err
	}
	if uid != 0 {
		priv.permitted = priv.ambient
	}
	return priv, nil
}

// become makes the calling thread user u with privileges p. It must be locked,
// and be the one that calls execve(2) soon; nothing but that and write(2) is
// sure to work afterwards. Check is called as the user, before seccomp.
func become(u userdb.User, p privileges, proc procfs, check func() error) error {
	if err := p.bounding.bound(); err != nil {
		return err
	}
	if err := setUser(u); err != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	if err := proc.setLabels(p.appArmor, p.seLinux); err != nil {
		return err
	}
	if p.noNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no-new-privileges: %w", err)
		}
		if err := p.setCaps(); err != nil {
			return err
		}
		return loadSeccomp(p.seccomp)
	}
	// Without no-new-privileges loading a filter needs CAP_SYS_ADMIN, which the
	// thread has kept. The filter has to allow capset(2), as it has for runc.
	if len(p.seccomp) > 0 {
		if err := setCapSets(capSets{effective: capSet(1) << unix.CAP_SYS_ADMIN, permitted: allCaps}); err != nil {
			return err
		}
		if err := loadSeccomp(p.seccomp); err != nil {
			return err
		}
	}
	return p.setCaps()
}

// setUser changes the ids of the calling thread, which keeps its permitted
// capabilities. The functions of package syscall would change all threads.
func setUser(u userdb.User) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	var list *uint32
	if len(u.Groups) > 0 {
		list = &u.Groups[0]
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.Groups)), uintptr(unsafe.Pointer(list)), 0); errno != 0 {
		return fmt.Errorf("set groups %v: %w", u.Groups, errno)
	}
	gid, uid := uintptr(u.GID), uintptr(u.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("set group %d: %w", u.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("set user %d: %w", u.UID, errno)
	}
	return nil
}

// capSet is a set of capabilities, one bit each.
type capSet uint64

const allCaps = capSet(1)<<(unix.CAP_LAST_CAP+1) - 1

// capNames are the capabilities by number, see capabilities(7).
var capNames = [unix.CAP_LAST_CAP + 1]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
	"IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
	"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
	"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

func parseCaps(names []string) (capSet, error) {
	var set capSet
	for _, name := range names {
		n := slices.Index(capNames[:], strings.TrimPrefix(name, "CAP_"))
		if n < 0 {
			return 0, fmt.Errorf("capability %q: %w", name, spec.ErrInvalid)
		}
		set |= 1 << n
	}
	return set, nil
}

// bound takes everything that is not in s out of the calling thread's bounding
// set, also capabilities that are younger than this program.
func (s capSet) bound() error {
	for n := range uintptr(64) {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, n, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows no more
		}
		if err != nil {
			return fmt.Errorf("read bounding set: %w", err)
		}
		if has == 0 || s&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	return nil
}

// capSets are the sets of a thread that capset(2) changes.
type capSets struct{ effective, permitted, inheritable capSet }

// setCapSets changes the calling thread's sets. What the thread does not have is
// left out of the effective and permitted ones: a container that cleat runs in
// may lack some.
func setCapSets(s capSets) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&hdr, &d[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range d {
		shift := 32 * i
		has := d[i].Permitted
		d[i].Effective = uint32(s.effective>>shift) & has
		d[i].Permitted = uint32(s.permitted>>shift) & has
		d[i].Inheritable = uint32(s.inheritable>>shift) & has
	}
	if err := unix.Capset(&hdr, &d[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}

// setCaps gives the calling thread its final sets.
func (p privileges) setCaps() error {
	err := setCapSets(capSets{effective: p.permitted, permitted: p.permitted, inheritable: p.ambient})
	if err != nil || p.ambient == 0 {
		return err
	}
	for n := range uintptr(len(capNames)) {
		if p.ambient&(1<<n) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0); err != nil {
			return fmt.Errorf("raise ambient capability %s: %w", capNames[n], err)
		}
	}
	return nil
}

// loadSeccomp installs a compiled filter on the calling thread. Mitigations of
// speculative execution stay as they are, as with runc.
func loadSeccomp(filter []byte) error {
	if len(filter) == 0 {
		return nil
	}
	const size = int(unsafe.Sizeof(unix.SockFilter{}))
	if len(filter)%size != 0 || len(filter)/size > unix.BPF_MAXINSNS {
		return fmt.Errorf("seccomp filter of %d bytes: %w", len(filter), spec.ErrInvalid)
	}
	code := make([]unix.SockFilter, len(filter)/size)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&code[0])), len(filter)), filter)
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("load seccomp filter of %d instructions: %w", len(code), errno)
	}
	return nil
}
