package broker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/journal/stdio"
)

func TestLinesReachTheJournal(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	e := register(t, socket, func(r *stdio.Registration) { r.Fields = append(r.Fields, "LABEL=two\nlines") })
	writeString(t, e.stdout, "one\n\n<0>not an emergency\n\x00\xff=\r\n")
	j.wait(t, 4)
	writeString(t, e.stderr, "no newline")
	e.close()
	drain(t, socket)
	all := j.wait(t, 5)
	if got, want := j.messages(t, 5), []string{"one", "", "<0>not an emergency", "\x00\xff=\r", "no newline"}; !cmp.Equal(got, want) {
		t.Fatal(cmp.Diff(want, got))
	}
	for i, entry := range all {
		want := map[string]string{
			"MESSAGE": entry.fields["MESSAGE"], "SYSLOG_TIMESTAMP": entry.fields["SYSLOG_TIMESTAMP"], "PRIORITY": "6",
			"OBJECT_SYSTEMD_UNIT": "cleat-web.service", "CONTAINER_NAME": "web", "LABEL": "two\nlines",
		}
		if i == 4 {
			want["PRIORITY"] = "3"
		}
		if diff := cmp.Diff(want, entry.fields); diff != "" || entry.fields["SYSLOG_TIMESTAMP"] == "" {
			t.Errorf("entry %d: %s", i, diff)
		}
	}
}

func TestLongLinesComeInParts(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	e := register(t, socket, nil)
	long := strings.Repeat("x", 2*maxLine) + "rest"
	writeString(t, e.stdout, "before\n"+strings.Repeat("f", maxLine)+"\n"+long+"\nafter\n"+long)
	e.close()
	drain(t, socket)
	type part struct{ n, partial, ordinal, last string }
	var got []part
	ids := map[string]int{}
	for _, e := range j.wait(t, 9) {
		f := e.fields
		got = append(got, part{fmt.Sprint(len(f["MESSAGE"])), f["CONTAINER_PARTIAL_MESSAGE"], f["CONTAINER_PARTIAL_ORDINAL"], f["CONTAINER_PARTIAL_LAST"]})
		ids[f["CONTAINER_PARTIAL_ID"]]++
	}
	want := []part{
		{"6", "", "", ""}, {"16384", "", "", ""},
		{"16384", "true", "1", "false"}, {"16384", "true", "2", "false"}, {"4", "", "3", "true"},
		{"5", "", "", ""},
		{"16384", "true", "1", "false"}, {"16384", "true", "2", "false"}, {"4", "", "3", "true"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(part{})); diff != "" {
		t.Error(diff)
	}
	if len(ids) != 3 || ids[""] != 3 {
		t.Errorf("part ids %v: want two besides none", ids)
	}
}

func TestEntriesCarryThePayloadsCredentials(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	j := startJournald(t)
	socket := startBroker(t, j.path)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	payload := exec.CommandContext(ctx, "sleep", "1000")
	if err := payload.Start(); err != nil {
		t.Fatal(err)
	}
	e := register(t, socket, func(r *stdio.Registration) { r.PID = payload.Process.Pid })
	writeString(t, e.stdout, "alive\n")
	if got := j.wait(t, 1)[0].pid; got != payload.Process.Pid {
		t.Errorf("credentials of %d, want the payload's, %d", got, payload.Process.Pid)
	}
	cancel()
	_ = payload.Wait()
	writeString(t, e.stdout, "dead\n")
	last := j.wait(t, 2)[1]
	if last.pid != os.Getpid() || last.fields["OBJECT_SYSTEMD_UNIT"] != "cleat-web.service" {
		t.Errorf("after the payload's death: credentials of %d, fields %v", last.pid, last.fields)
	}
}

func TestNothingIsLostWhileJournaldIsAway(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	e := register(t, socket, nil)
	writeString(t, e.stdout, "1\n")
	j.wait(t, 1)
	j.close()
	if err := os.Remove(j.path); err != nil {
		t.Fatal(err)
	}
	writeString(t, e.stdout, "2\n3\n")
	e.close()
	j.open(t)
	drain(t, socket)
	if diff := cmp.Diff([]string{"1", "2", "3"}, j.messages(t, 3)); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesTooLongForTheSocketGoInAFile(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	s := &journalSocket{path: j.path, warn: t.Logf}
	conn, err := s.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = conn.rc.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("y", 100_000)
	st, err := newStage(nil, stdio.FrameStdout, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	d := &datagram{buf: appendEntry(nil, piece{text: []byte(text)}, nil, nil, "")}
	st.prepare(0, 0)
	if err := s.send(t.Context(), st.header(), d); err != nil {
		t.Fatal(err)
	}
	if got := j.messages(t, 1)[0]; got != text {
		t.Errorf("got %d bytes, want %d", len(got), len(text))
	}
	if st.header().taken == notTaken {
		t.Error("header of the sent datagram is unmarked")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestWithoutLogNothingReachesTheJournal(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	e := register(t, socket, func(r *stdio.Registration) { r.Log = false })
	s := attach(t, socket, stdio.AttachRequest{Stdout: true})
	writeString(t, e.stdout, strings.Repeat("silent\n", 100_000)) // more than a stage holds
	e.close()
	var out strings.Builder
	if err := s.Copy(t.Context(), &out, nil); err != nil {
		t.Fatal(err)
	}
	drain(t, socket)
	if len(j.wait(t, 0)) != 0 {
		t.Error("the journal has entries")
	}
}
