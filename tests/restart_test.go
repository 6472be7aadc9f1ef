package tests

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// uptimes reads the lines "WORD SECONDS" that a container printed.
func uptimes(t *testing.T, text, word string) (seconds []float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if w, rest, _ := strings.Cut(strings.TrimSpace(line), " "); w == word {
			n, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				t.Fatal(err)
			}
			seconds = append(seconds, n)
		}
	}
	return seconds
}

// settledAs waits until a container is as wanted.
func (s site) settledAs(t *testing.T, name, format, want string) {
	t.Helper()
	var got string
	until(t, name+" is "+want, func() bool {
		got = s.inspect(t, name, format)
		return got == want
	})
}

const stamp = `stamp() { echo $1 $(cut -d' ' -f1 /proc/uptime); }; `

// TestRestartDelays measures the pauses between runs as the container sees them.
// A pause can be longer than it should on a busy machine, never shorter.
func TestRestartDelays(t *testing.T) {
	t.Run("doubled each time", func(t *testing.T) {
		t.Parallel()
		s := shared()
		const retries = 6
		s.run(t, "backoff", fmt.Sprintf("--restart=on-failure:%d", retries), "busybox", "sh", "-c", stamp+"stamp at; exit 9")
		s.settledAs(t, "backoff", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", fmt.Sprintf("exited %d 9", retries))
		at := uptimes(t, s.must(t, "logs", "backoff"), "at")
		if len(at) != retries+1 {
			t.Fatalf("%d runs, want %d", len(at), retries+1)
		}
		least := 0.1
		for i := 1; i < len(at); i++ {
			if pause := at[i] - at[i-1]; pause < least-0.02 { // the clock's resolution, twice
				t.Errorf("pause %d is %.2f s, want at least %.2f s", i, pause, least)
			}
			least *= 2
		}
		t.Logf("runs at %v", at)
	})
	t.Run("short again after a long run", func(t *testing.T) {
		t.Parallel()
		s := shared()
		s.run(t, "healthy", "--restart=on-failure:7", "busybox", "sh", "-c", stamp+
			`n=$(cat /n 2>/dev/null || echo 0); n=$((n+1)); echo $n >/n; stamp begin; [ $n = 6 ] && sleep 10.1; stamp end; exit 1`)
		s.settledAs(t, "healthy", "{{.State.Status}} {{.RestartCount}}", "exited 7")
		logs := s.must(t, "logs", "healthy")
		begin, end := uptimes(t, logs, "begin"), uptimes(t, logs, "end")
		if len(begin) != 8 || len(end) != 8 {
			t.Fatalf("runs from %v to %v", begin, end)
		}
		// Five failures in a row; the sixth pause would be 3.2 s.
		if before, after := begin[5]-end[4], begin[6]-end[5]; after >= before || before < 1.58 {
			t.Errorf("pauses of %.2f s before the long run and %.2f s after it", before, after)
		}
	})
}

// TestRestartStates follows what the policies make of the ends of runs.
func TestRestartStates(t *testing.T) {
	s := shared()
	const state = "{{.State.Status}} {{.State.Running}} {{.State.Restarting}} {{.State.ExitCode}} {{.RestartCount}}"
	t.Run("no", func(t *testing.T) {
		t.Parallel()
		s.run(t, "policy-no", "busybox", "false")
		s.settledAs(t, "policy-no", state, "exited false false 1 0")
	})
	t.Run("on-failure leaves signals to the payload", func(t *testing.T) {
		t.Parallel()
		s.run(t, "policy-term", "--init", "--restart=on-failure:1", "busybox", "sh", "-c", "kill -TERM $$")
		s.settledAs(t, "policy-term", state, "exited false false 143 1") // 143 is a failure
	})
	t.Run("always, also after success, until it is stopped", func(t *testing.T) {
		t.Parallel()
		s.run(t, "policy-always", "--restart=always", "busybox", "true")
		until(t, "some restarts", func() bool {
			n, _ := strconv.Atoi(s.inspect(t, "policy-always", "{{.RestartCount}}"))
			return n >= 3
		})
		// From the fourth pause on there is time to see it.
		until(t, "the state between runs", func() bool {
			return s.inspect(t, "policy-always", "{{.State.Status}} {{.State.Restarting}}") == "restarting true"
		})
		if out := s.must(t, "ps", "--filter", "name=policy-always", "--format", "{{.Status}}"); !strings.HasPrefix(out, "Restarting (0)") && !strings.HasPrefix(out, "Up") {
			t.Errorf("ps shows %q", out)
		}
		s.must(t, "stop", "policy-always")
		s.settledAs(t, "policy-always", "{{.State.Status}} {{.State.Restarting}}", "exited false")
		count := s.inspect(t, "policy-always", "{{.RestartCount}}")
		s.must(t, "host", "shell", "sleep", "2")
		if got := s.inspect(t, "policy-always", "{{.RestartCount}} {{.State.Status}}"); got != count+" exited" {
			t.Errorf("after stop: %s, was %s", got, count)
		}
		s.must(t, "start", "policy-always")
		if got, _ := strconv.Atoi(s.inspect(t, "policy-always", "{{.RestartCount}}")); got > 2 {
			t.Errorf("a manual start did not zero the count: %d", got)
		}
	})
	t.Run("removal while it pauses", func(t *testing.T) {
		t.Parallel()
		s.run(t, "policy-pausing", "--restart=always", "busybox", "false")
		s.settledAs(t, "policy-pausing", "{{.State.Status}}", "restarting")
		s.must(t, "rm", "-f", "policy-pausing")
	})
}

// handlesTERM is a payload that a shutdown of the host needs not wait for.
const handlesTERM = `trap 'exit 0' TERM; echo up; while :; do usleep 50000; done`

// TestBoot restarts the host: what the policies say comes back.
func TestBoot(t *testing.T) {
	s := newSite(t)
	s.importImage(t, "busybox")
	for name, policy := range map[string]string{
		"b-always": "always", "b-always-stopped": "always", "b-unless": "unless-stopped", "b-unless-stopped": "unless-stopped", "b-no": "no",
	} {
		s.must(t, "run", "-d", "--network", "none", "--name", name, "--restart", policy, "busybox", "sh", "-c", handlesTERM)
	}
	s.must(t, "stop", "b-always-stopped", "b-unless-stopped")
	want := map[string]string{
		"b-always": "running", "b-always-stopped": "running", "b-unless": "running", "b-unless-stopped": "exited", "b-no": "exited",
	}
	for _, how := range [][]string{{"host", "stop"}, {"host", "stop", "-t", "0"}} { // a reboot, a power cut
		s.must(t, "run", "-d", "--rm", "--network", "none", "--name", "b-rm", "-v", "/data", "busybox", "sh", "-c", handlesTERM)
		s.must(t, how...)
		s.must(t, "host", "start")
		for name, state := range want {
			s.settledAs(t, name, "{{.State.Status}}", state)
		}
		if got := s.must(t, "logs", "--tail", "1", "b-always"); got != "up" {
			t.Errorf("logs after %v: %q", how, got)
		}
		s.must(t, "exec", "b-always", "true")
		s.must(t, "system", "check", "--repair")
		s.clean(t)
		if r := s.try("inspect", "b-rm"); r.code == 0 {
			t.Errorf("the ephemeral container is there after %v: %v", how, r)
		}
		if entries, err := os.ReadDir(s.root + "/volumes"); err == nil && len(entries) > 0 {
			t.Errorf("%d volumes are left after %v", len(entries), how)
		}
		s.must(t, "stop", "b-always-stopped")
	}
}
