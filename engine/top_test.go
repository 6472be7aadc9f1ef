package engine

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

// The table is that of ps itself, for processes of all sorts.
func TestFullFormatIsThatOfPS(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip("there is no ps to compare with")
	}
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	pids := []int{1, 2, os.Getpid(), child.Process.Pid}
	slices.Sort(pids)
	out, err := exec.Command("ps", "-ef").Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := parsePS(string(out), pids)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := fullFormat(pids, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []ProcessTable{theirs, ours} { // what changes between the two looks
		for _, line := range table.Processes {
			line[3], line[6] = "C", "TIME"
			line[7] = strings.Join(strings.Fields(line[7]), " ")
			if len(line[4]) == 5 && line[4][2] == ':' {
				line[4] = "today" // they may round to another minute
			}
		}
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-ps +cleat):\n%s", diff)
	}
}

func TestProcessRow(t *testing.T) {
	t.Parallel()
	p, err := parseStat("42 (a) (b c) S 7 42 42 34817 42 4194560 1 2 3 4 360000 6100 5 6 20 0 3 0 1000 1 2\n")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.Local)
	row := p.row(map[uint32]string{0: "administrator"}, now, 10_010*time.Second, "sleep\x00\x1b[2Jevil\n\x00")
	want := []string{"adminis+", "42", "7", "36", "04:21", "pts/1", "01:01:01", "sleep ?[2Jevil?"}
	if diff := cmp.Diff(want, row); diff != "" || p.threads != 3 {
		t.Errorf("%d threads (-want +got):\n%s", p.threads, diff)
	}
	if got := p.row(nil, now, 10_000*time.Second, "")[7]; got != "[a) (b c]" {
		t.Errorf("without a command line: %q", got)
	}
	p.state = 'Z'
	if got := p.row(nil, now.AddDate(1, 0, 0), 400*24*time.Hour, ""); got[7] != "[a) (b c] <defunct>" || got[4] != "2026" {
		t.Errorf("an old zombie: %q", got)
	}
	for _, text := range []string{"", "42", "42 (x", "42 (x) S 1", "x (y) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
}

func TestParsePS(t *testing.T) {
	t.Parallel()
	got, err := parsePS("  PID COMMAND\n   1 init x\n  20 sh -c  two\n   3\n", []int{20, 3})
	if diff := cmp.Diff(ProcessTable{[]string{"PID", "COMMAND"}, [][]string{{"20", "sh -c two"}, {"3"}}}, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	for _, out := range []string{"COMMAND\nsh\n", "PID\nx\n"} {
		if _, err := parsePS(out, nil); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v", out, err)
		}
	}
	if _, err := hostPS(t.Context(), []string{"--no-such-option-" + strconv.Itoa(1)}, nil); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("a bad option: %v", err)
	}
}
