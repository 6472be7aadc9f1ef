package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// group makes a directory that looks like a control group.
func group(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUsageOfGroup(t *testing.T) {
	t.Parallel()
	dir := group(t, map[string]string{
		"cpu.stat":       "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n",
		"memory.current": "1000\n", "memory.max": "4000\n", "memory.stat": "anon 300\ninactive_file 600\n",
		"io.stat":      "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n259:1 rbytes=10 wbytes=20\n7:0 \n",
		"pids.current": "5\n", "pids.max": "max\n",
	})
	machine := CPUStats{System: 9 * time.Second, Online: 2}
	cpu, ok := groupCPU(dir, machine)
	want := CPUStats{
		Usage: 1500 * time.Microsecond, User: time.Millisecond, Kernel: 500 * time.Microsecond, System: 9 * time.Second, Online: 2,
		Periods: 3, ThrottledPeriods: 2, Throttled: 7 * time.Microsecond,
	}
	if diff := cmp.Diff(want, cpu); diff != "" || !ok {
		t.Errorf("CPU (-want +got):\n%s", diff)
	}
	m := groupMemory(dir)
	if m == nil || m.UsageBytes != 1000 || m.LimitBytes != 4000 || m.UsedBytes() != 400 || m.Percent() != 10 || m.Processes {
		t.Errorf("memory: %+v", m)
	}
	io := groupIO(dir)
	if diff := cmp.Diff([]BlockStats{{8, 0, 1, 2, 3, 4}, {259, 1, 10, 20, 0, 0}}, io); diff != "" {
		t.Errorf("block I/O (-want +got):\n%s", diff)
	}
	if p := groupPids(dir); p == nil || *p != (PidsStats{5, 0}) {
		t.Errorf("pids: %+v", p)
	}
	read, written := Stats{BlockIO: io}.BlockBytes()
	if read != 11 || written != 22 {
		t.Errorf("%d bytes read, %d written", read, written)
	}
}

// Without a controller there is no file: then nothing is made up.
func TestUsageWithoutControllers(t *testing.T) {
	t.Parallel()
	dir := group(t, map[string]string{"cpu.stat": "usage_usec 1\n"})
	if m, io, p := groupMemory(dir), groupIO(dir), groupPids(dir); m != nil || io != nil || p != nil {
		t.Errorf("made up: %+v, %+v, %+v", m, io, p)
	}
	if _, ok := groupCPU(t.TempDir(), CPUStats{}); ok {
		t.Error("a group that is gone has CPU time")
	}
	if m, io := processMemory(nil), processIO(nil); m != nil || io != nil {
		t.Errorf("of no process: %+v, %+v", m, io)
	}
	self := []int{os.Getpid()}
	if m := processMemory(self); m == nil || m.UsageBytes < 1<<20 || m.UsageBytes > m.LimitBytes || !m.Processes {
		t.Errorf("this process's memory: %+v", m)
	}
	if p := countThreads(self); p.Current < 2 {
		t.Errorf("this process has %d threads", p.Current)
	}
}

func TestCPUPercent(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	s := func(usage, system time.Duration, id string) Stats {
		return Stats{ID: id, Read: at, CPU: CPUStats{Usage: usage, System: system, Online: 2}}
	}
	for what, tt := range map[string]struct {
		before, now Stats
		want        float64
	}{
		"half of one of two CPUs":   {s(time.Second, 10*time.Second, "a"), s(1500*time.Millisecond, 12*time.Second, "a"), 50},
		"both":                      {s(0, 0, "a"), s(2*time.Second, 2*time.Second, "a"), 200},
		"nothing":                   {s(time.Second, 10*time.Second, "a"), s(time.Second, 12*time.Second, "a"), 0},
		"restarted":                 {s(time.Second, 10*time.Second, "a"), s(time.Millisecond, 12*time.Second, "a"), 0},
		"first seen":                {s(0, 0, "b"), s(time.Second, 12*time.Second, "a"), 0},
		"stopped before":            {Stats{ID: "a"}, s(time.Second, 12*time.Second, "a"), 0},
		"no time has passed at all": {s(0, time.Second, "a"), s(time.Second, time.Second, "a"), 0},
	} {
		if got := since([]Stats{tt.now}, []Stats{tt.before})[0].CPUPercent(); got != tt.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestMachineAndNetwork(t *testing.T) {
	t.Parallel()
	got, err := parseMachineCPU("cpu  100 0 100 600 100 0 50 50 77 77\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 8 9 10\nintr 5\n")
	if err != nil || got.Online != 2 || got.System != 10*time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	if live, err := machineCPU(); err != nil || live.Online < 1 || live.System <= 0 {
		t.Errorf("this machine: %+v, %v", live, err)
	}
	nets := parseNetDev("Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth1:10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n")
	want := map[string]NetworkStats{"eth0": {1, 2, 3, 4, 5, 6, 7, 8}, "eth1": {10, 2, 3, 4, 50, 6, 7, 8}}
	if diff := cmp.Diff(want, nets); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if in, out := (Stats{Networks: nets}).NetworkBytes(); in != 11 || out != 55 {
		t.Errorf("%d bytes in, %d out", in, out)
	}
}
