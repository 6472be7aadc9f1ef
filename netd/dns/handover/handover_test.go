package handover

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/spec"
)

var testID = strings.Repeat("0123456789abcdef", 4)

func TestParseRequest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		msg  string
		want error
	}{
		"register":        {"\x01R" + testID, nil},
		"forget":          {"\x01F" + testID, nil},
		"list":            {"\x01L", nil},
		"nothing":         {"", spec.ErrInvalid},
		"a byte":          {"\x01", spec.ErrInvalid},
		"other version":   {"\x02R" + testID, spec.ErrUnsupport},
		"other verb":      {"\x01r" + testID, spec.ErrUnsupport},
		"list of one":     {"\x01L" + testID, spec.ErrInvalid},
		"short id":        {"\x01R" + testID[1:], spec.ErrInvalid},
		"long id":         {"\x01R" + testID + "0", spec.ErrInvalid},
		"id with a slash": {"\x01R" + "../" + testID[3:], spec.ErrInvalid},
		"upper case":      {"\x01R" + strings.ToUpper(testID), spec.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			verb, id, err := ParseRequest([]byte(tt.msg))
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err == nil && (verb != tt.msg[1] || id != tt.msg[2:]) {
				t.Errorf("verb %q, id %q", verb, id)
			}
			if len(tt.msg) > RequestBytes && err == nil {
				t.Error("longer than the longest request")
			}
		})
	}
}

// The sockets are in the container's namespace, and nothing of it stays with the caller.
func TestOpen(t *testing.T) {
	box := nstest.New(t, "box")
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(box.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	box.Do(func() {
		c, err := net.Dial("tcp", "127.0.0.11:53")
		if err != nil {
			t.Errorf("TCP: %v", err)
		} else {
			_ = c.Close()
		}
		u, err := net.Dial("udp", "127.0.0.11:53")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		if _, err := u.Write([]byte("?")); err != nil {
			t.Errorf("UDP: %v", err)
		}
	})
	buf := make([]byte, 10)
	if n, _, err := unix.Recvfrom(s.UDP, buf, unix.MSG_DONTWAIT); err != nil || n != 1 {
		t.Errorf("received %d bytes, %v", n, err)
	}
	again, err := Open(box.FD()) // questions go to the newest
	if err != nil {
		t.Fatalf("a second time: %v", err)
	}
	defer again.Close()
	box.Do(func() { // a container can be a name server itself
		for _, network := range []string{"udp4", "udp6"} {
			c, err := net.ListenPacket(network, ":53")
			if err != nil {
				t.Errorf("%s: %v", network, err)
				continue
			}
			_ = c.Close()
		}
		l, err := net.Listen("tcp", ":53")
		if err != nil {
			t.Errorf("TCP: %v", err)
			return
		}
		_ = l.Close()
	})
	if now, err := os.Readlink("/proc/self/ns/net"); now != before || err != nil {
		t.Errorf("now in %s, %v", now, err)
	}
	if _, err := Open(int(os.Stdin.Fd())); err == nil {
		t.Error("something else than a namespace was entered")
	}
}

// In a new namespace, where even lo is down, answers come from where questions
// go: clients drop others.
func TestOpenInNewNamespace(t *testing.T) {
	testenv.NeedRoot(t)
	done := make(chan struct{})
	go func() { // on a thread that ends with its namespace
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		ns, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		s, err := Open(int(ns.Fd()))
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(client)
		server := &unix.SockaddrInet4{Addr: Addr, Port: Port}
		err = unix.Sendto(client, []byte("?"), 0, server)
		buf := make([]byte, 10)
		_, from, rErr := unix.Recvfrom(s.UDP, buf, 0)
		if err := errors.Join(err, rErr, unix.Sendto(s.UDP, []byte("!"), 0, from)); err != nil {
			t.Error(err)
			return
		}
		_, from, err = unix.Recvfrom(client, buf, 0)
		if diff := cmp.Diff(unix.Sockaddr(server), from, cmpopts.IgnoreUnexported(unix.SockaddrInet4{})); diff != "" || err != nil {
			t.Errorf("answer from elsewhere: %v %s", err, diff)
		}
	}()
	<-done
}

// server answers each connection with the next of answers; "" hangs up.
func server(t *testing.T, answers ...[]string) (path string, requests chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, requests = filepath.Join(dir, "s"), make(chan string, 100)
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for _, list := range answers {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			buf, oob := make([]byte, 200), make([]byte, 200)
			n, oobn, _, _, _ := c.ReadMsgUnix(buf, oob)
			cmsgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
			for i := range cmsgs {
				fds, _ := unix.ParseUnixRights(&cmsgs[i])
				buf = append(buf[:n], strings.Repeat("+", len(fds))...)
				n = len(buf)
				seqpacket.CloseAll(fds)
			}
			requests <- string(buf[:n])
			for _, a := range list {
				_, _ = c.Write([]byte(a))
			}
			_ = c.Close()
		}
	}()
	return path, requests
}

func TestCallsOutliveTheServer(t *testing.T) {
	t.Parallel()
	path, requests := server(t, nil, nil, []string{"K"})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := Register(t.Context(), path, testID, Sockets{UDP: int(r.Fd()), TCP: int(w.Fd())}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, want := <-requests, "\x01R"+testID+"++"; got != want {
			t.Errorf("request %q, want %q", got, want)
		}
	}
}

func TestListDoesNotRepeat(t *testing.T) {
	t.Parallel()
	path, _ := server(t, []string{"Ia", "Ib"}, []string{"Ib", "Ic", "K"})
	ids, err := List(t.Context(), path)
	slices.Sort(ids)
	if strings.Join(ids, " ") != "a b c" || err != nil {
		t.Errorf("got %v, %v", ids, err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ answer, want string }{
		"an error": {"Xtoo many", "end name lookups of container 0123456789ab: too many"},
		"nonsense": {"?", "end name lookups of container 0123456789ab: answer of type '?': " + spec.ErrInvalid.Error()},
		"an item":  {"Ia", "end name lookups of container 0123456789ab: answer of type 'I': " + spec.ErrInvalid.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := server(t, []string{tt.answer})
			if err := Forget(t.Context(), path, testID); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if err := Forget(t.Context(), filepath.Join(t.TempDir(), "none"), testID); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without a server: %v", err)
	}
}
