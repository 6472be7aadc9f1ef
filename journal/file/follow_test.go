package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/file"
)

// journald is a private systemd-journald in a mount namespace with its own /run.
type journald struct {
	dir    string // of its journal files
	socket *net.UnixAddr
	conn   *net.UnixConn
	cmd    *exec.Cmd
}

const journaldScript = `set -e
mount -t tmpfs tmpfs /run
id=$(cat /etc/machine-id)
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal/$id /var/log/journal/$id
touch /run/systemd/journal/flushed
cat >/run/systemd/journald.conf.d/test.conf <<END
[Journal]
Storage=$STORAGE
RuntimeMaxUse=200M
RateLimitIntervalSec=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
END
exec "$@"`

// startJournald starts journald with the given Storage= and waits until it is
// ready; it ends with the test.
func startJournald(t *testing.T, storage string) *journald {
	t.Helper()
	testenv.NeedRoot(t)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = notify.Close() }()
	j := &journald{}
	// WithoutCancel: it is ended below, in order, and not with the test's context.
	j.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh",
		append([]string{"-c", journaldScript, "sh"}, systemd(t, "systemd-journald", "systemd")...)...)
	j.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String(), "SYSTEMD_LOG_TARGET=console", "STORAGE="+storage)
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	j.cmd.Stderr = &stderr
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	died := make(chan error, 1)
	go func() {
		died <- j.cmd.Wait()
		_ = notify.Close()
	}()
	t.Cleanup(func() {
		_ = j.cmd.Process.Signal(syscall.SIGTERM)
		<-died
	})
	waitReady(t, notify, &stderr)
	root := fmt.Sprintf("/proc/%d/root", j.cmd.Process.Pid)
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		t.Fatal(err)
	}
	base := map[string]string{"volatile": "run", "persistent": "var"}[storage]
	j.dir = filepath.Join(root, base, "log/journal", strings.TrimSpace(string(id)))
	j.socket = &net.UnixAddr{Name: filepath.Join(root, "run/systemd/journal/socket"), Net: "unixgram"}
	j.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.conn.Close() })
	return j
}

func waitReady(t *testing.T, notify *net.UnixConn, stderr *bytes.Buffer) {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if err != nil {
			t.Fatalf("systemd-journald ended: %s", stderr.String())
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return
		}
	}
}

// send logs one line of a container with the credentials of a user, as the broker
// does.
func (j *journald) send(uid uint32, msg string) error {
	text := fmt.Sprintf("MESSAGE=%s\nPRIORITY=6\nCONTAINER_ID_FULL=%s\n", msg, testID)
	cred := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uid, Gid: uid})
	_, _, err := j.conn.WriteMsgUnix([]byte(text), cred, j.socket)
	return err
}

func ofContainer(id string) [][]journal.Match {
	return [][]journal.Match{{{Name: journal.FieldContainerIDFull, Value: id}}}
}

func TestFollowOverRotation(t *testing.T) {
	t.Parallel()
	j := startJournald(t, "volatile")
	const rounds, each = 8, 500
	for i := range each { // stored before the reader starts
		if err := j.send(0, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() {
		for i := each; i < rounds*each; i++ {
			if i%each == each/2 {
				_ = j.cmd.Process.Signal(syscall.SIGUSR2) // rotate
			}
			if err := j.send(0, fmt.Sprint(i)); err != nil {
				cancel(err)
			}
		}
	}()
	done := make(chan struct{})
	q := journal.Query{Tail: -1, Follow: true, Done: done, Matches: ofContainer(testID)}
	n := 0
	for e, err := range open(t, j.dir).Read(ctx, q) {
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := e.Field("MESSAGE"); string(m) != fmt.Sprint(n) {
			t.Fatalf("line %d is %q", n, m)
		}
		if n++; n == rounds*each {
			close(done)
		}
	}
	if n != rounds*each {
		t.Errorf("read %d lines, want %d", n, rounds*each)
	}
	files, err := filepath.Glob(filepath.Join(j.dir, "system@*.journal"))
	if err != nil || len(files) < 2 {
		t.Errorf("archived files %v, %v: journald did not rotate", files, err)
	}
	compare(t, "afterwards", []string{"--directory=" + j.dir, "CONTAINER_ID_FULL=" + testID}, open(t, j.dir),
		journal.Query{Tail: -1, Matches: ofContainer(testID)})
}

// Persistent storage has a file for each user, all growing at once.
func TestFollowFilesOfSeveralUsers(t *testing.T) {
	t.Parallel()
	j := startJournald(t, "persistent")
	const lines = 6000
	for i := range 6 {
		if err := j.send(uint32(i%3*1000), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan struct{})
	q := journal.Query{Tail: -1, Follow: true, Done: done, Matches: ofContainer(testID)}
	n := 0
	for e, err := range open(t, j.dir).Read(ctx, q) {
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := e.Field("MESSAGE"); string(m) != fmt.Sprint(n) {
			t.Fatalf("line %d is %q", n, m)
		}
		if n++; n == 6 { // all three files are there
			go keepLooking(ctx, t, j.dir)
			go func() {
				for i := 6; i < lines; i++ {
					if err := j.send(uint32(i%3*1000), fmt.Sprint(i)); err != nil {
						cancel(err)
					}
				}
			}()
		}
		if n == lines {
			close(done)
		}
	}
	files, err := filepath.Glob(filepath.Join(j.dir, "user-*.journal"))
	if n != lines || err != nil || len(files) != 2 {
		t.Errorf("read %d of %d lines from system.journal and %v, %v", n, lines, files, err)
	}
}

// keepLooking makes whoever watches dir look at its files all the time, in
// between any two entries, and not only when journald announces a batch.
func keepLooking(ctx context.Context, t *testing.T, dir string) {
	name := filepath.Join(dir, "noise")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Error(err)
		return
	}
	for i := int64(0); ctx.Err() == nil; i++ {
		if err := os.Truncate(name, i%2); err != nil {
			return // journald has ended, and its directory with it
		}
	}
}

// follower reads lines one by one.
type follower struct {
	next func() (journal.LogLine, error, bool)
}

// followLogs starts following; the test ends it.
func followLogs(t *testing.T, r *file.Reader, q journal.LogQuery) *follower {
	t.Helper()
	q.ContainerID, q.Unit, q.Follow = testID, testUnit, true
	next, stop := iter.Pull2(r.Logs(t.Context(), q))
	t.Cleanup(stop)
	return &follower{next}
}

// want fails unless the next lines are those.
func (f *follower) want(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		l, err, ok := f.next()
		if err != nil || !ok || string(l.Message) != want {
			t.Fatalf("next line is %q, %v, %v; want %q", l.Message, err, ok, want)
		}
	}
}

// wantEnd fails unless there are no further lines.
func (f *follower) wantEnd(t *testing.T) {
	t.Helper()
	if l, err, ok := f.next(); ok {
		t.Fatalf("next line is %q, %v; want the end", l.Message, err)
	}
}

func TestFollowDrainsWhenDone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.journal")
	w := newWriter(t, path, formats()["compact, keyed, zstd"])
	done := make(chan struct{})
	f := followLogs(t, open(t, path, filepath.Dir(path)), journal.LogQuery{Tail: -1, Done: done})
	w.write(t, line(0, testID, testUnit, "first"))
	f.want(t, "first")
	var want []string
	for i := range 3000 {
		want = append(want, fmt.Sprint(i))
		w.write(t, line(i+1, testID, testUnit, fmt.Sprint(i)))
	}
	w.finish(t)
	close(done)
	f.want(t, want...)
	f.wantEnd(t)
}

func TestFollowFromTail(t *testing.T) {
	t.Parallel()
	for name, tail := range map[string]int{"one": 1, "more than there is": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, old := oldLines(t)
			done := make(chan struct{})
			f := followLogs(t, open(t, dir), journal.LogQuery{Tail: tail, Done: done})
			w := newWriter(t, filepath.Join(dir, "d.journal"), format{})
			f.want(t, old[len(old)-min(tail, len(old)):]...)
			// journald copies entries from /run to /var: they must not come twice.
			copyFile(t, filepath.Join(dir, "b.journal"), filepath.Join(dir, "copy.journal"))
			w.write(t, line(10, testID, testUnit, "new"), line(11, otherID, testUnit, "other"), line(12, testID, testUnit, "newer"))
			f.want(t, "new", "newer")
			close(done)
			f.wantEnd(t)
			w.finish(t)
		})
	}
}

// oldLines makes a directory with three lines in three files.
func oldLines(t *testing.T) (dir string, lines []string) {
	t.Helper()
	dir = t.TempDir()
	lines = []string{"a", "b", "c"}
	for i, m := range lines {
		writeJournal(t, filepath.Join(dir, m+".journal"), format{}, line(i, testID, testUnit, m))
	}
	return dir, lines
}

func TestFollowOnlyNewLines(t *testing.T) {
	t.Parallel()
	dir, _ := oldLines(t)
	done := make(chan struct{})
	f := followLogs(t, open(t, dir), journal.LogQuery{Tail: 0, Done: done})
	w := newWriter(t, filepath.Join(dir, "d.journal"), format{})
	got := startAtEnd(f)
	first, n := "", 0
	for ; first == ""; n++ { // until the reader has begun and sees one
		w.write(t, line(10+n, testID, testUnit, fmt.Sprintf("new %d", n)))
		select {
		case first = <-got:
		default:
		}
	}
	w.finish(t)
	close(done)
	var k int
	if _, err := fmt.Sscanf(first, "new %d", &k); err != nil {
		t.Fatalf("first line is %q: %v", first, err)
	}
	for k++; k < n; k++ {
		f.want(t, fmt.Sprintf("new %d", k))
	}
	f.wantEnd(t)
}

// startAtEnd reads the next line in the background.
func startAtEnd(f *follower) <-chan string {
	c := make(chan string, 1)
	go func() {
		l, _, _ := f.next()
		c <- string(l.Message)
	}()
	return c
}

func TestFollowWaitsForDirectory(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for i := range 3 {
		dir := filepath.Join(base, fmt.Sprint(i), "id")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeJournal(t, filepath.Join(dir, "x.journal"), format{}, line(i, testID, testUnit, fmt.Sprint(i)))
	}
	done := make(chan struct{})
	f := followLogs(t, open(t, filepath.Join(base, "log", "id")), journal.LogQuery{Tail: -1, Done: done})
	for i := range 3 { // comes into being, is removed, comes again
		got := startAtEnd(f)
		if err := os.RemoveAll(filepath.Join(base, "log")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(base, fmt.Sprint(i)), filepath.Join(base, "log")); err != nil {
			t.Fatal(err)
		}
		if l := <-got; l != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, l)
		}
	}
	close(done)
	f.wantEnd(t)
}

func TestFollowReleasesDeletedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeJournal(t, filepath.Join(dir, "a.journal"), format{}, line(0, testID, testUnit, "old"))
	w := newWriter(t, filepath.Join(dir, "b.journal"), format{})
	f := followLogs(t, open(t, dir), journal.LogQuery{Tail: -1})
	f.want(t, "old")
	if err := os.Remove(filepath.Join(dir, "a.journal")); err != nil {
		t.Fatal(err)
	}
	w.write(t, line(1, testID, testUnit, "1"))
	f.want(t, "1")
	w.write(t, line(2, testID, testUnit, "2"))
	f.want(t, "2")
	w.finish(t)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(maps), filepath.Join(dir, "a.journal")) {
		t.Error("the deleted file is still mapped")
	}
	if !strings.Contains(string(maps), filepath.Join(dir, "b.journal")) {
		t.Error("the other file is not mapped: the test looks in the wrong place")
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.journal")
	writeJournal(t, path, format{}, line(0, testID, testUnit, "a"))
	why := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	var got []string
	var last error
	defer cancel(nil)
	for l, err := range open(t, path).Logs(ctx, journal.LogQuery{ContainerID: testID, Unit: testUnit, Tail: -1, Follow: true}) {
		got, last = append(got, string(l.Message)), err
		cancel(why)
	}
	if diff := cmp.Diff([]string{"a", ""}, got); diff != "" || !errors.Is(last, why) {
		t.Errorf("last error %v, lines (-want +got):\n%s", last, diff)
	}
}
