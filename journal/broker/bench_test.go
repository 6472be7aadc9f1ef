package broker

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/journal/stdio"
)

// zeroes returns a pipe out of which another process pours size zero bytes.
func zeroes(b *testing.B, size int64) *os.File {
	b.Helper()
	r, w := pipe(b)
	cmd := exec.CommandContext(b.Context(), "head", "-c", fmt.Sprint(size), "/dev/zero")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = w.Close()
	b.Cleanup(func() { _ = cmd.Wait() })
	return r
}

// BenchmarkStdin is "head -c 1G /dev/zero | cleat run -i … cat >/dev/null".
func BenchmarkStdin(b *testing.B) {
	const size = 1 << 30
	s := newSupervisor(b, startJournald(b).path)
	b.SetBytes(size)
	for b.Loop() {
		e := register(b, s.socket, func(r *stdio.Registration) { r.Stdin, r.StdinOnce = true, true })
		session := attach(b, s.socket, stdio.AttachRequest{Stdin: true})
		go func() { _ = session.Copy(b.Context(), nil, nil) }()
		src := zeroes(b, size)
		payload := exec.CommandContext(b.Context(), "cat")
		payload.Stdin = e.stdin
		if err := payload.Start(); err != nil {
			b.Fatal(err)
		}
		if err := session.CopyStdin(b.Context(), src); err != nil {
			b.Fatal(err)
		}
		if err := session.CloseStdin(); err != nil {
			b.Fatal(err)
		}
		if err := payload.Wait(); err != nil {
			b.Fatal(err)
		}
		e.close()
		drain(b, s.socket)
	}
}

// BenchmarkStdout is "cleat run --log-driver none … head -c 1G /dev/zero | …".
func BenchmarkStdout(b *testing.B) {
	const size = 1 << 30
	s := newSupervisor(b, startJournald(b).path)
	b.SetBytes(size)
	for b.Loop() {
		session := attach(b, s.socket, stdio.AttachRequest{Stdout: true})
		e := register(b, s.socket, func(r *stdio.Registration) { r.Log = false })
		payload := exec.CommandContext(b.Context(), "head", "-c", fmt.Sprint(size), "/dev/zero")
		payload.Stdout = e.stdout
		if err := payload.Start(); err != nil {
			b.Fatal(err)
		}
		e.close()
		if err := session.Copy(b.Context(), io.Discard, nil); err != nil {
			b.Fatal(err)
		}
		if err := payload.Wait(); err != nil {
			b.Fatal(err)
		}
		drain(b, s.socket)
	}
}

// BenchmarkRegister is what a start and an end of a container pay.
func BenchmarkRegister(b *testing.B) {
	s := newSupervisor(b, startJournald(b).path)
	for b.Loop() {
		e := register(b, s.socket, func(r *stdio.Registration) { r.Fields = typicalFields })
		e.close()
		drain(b, s.socket)
	}
}

// BenchmarkIdleContainer reports the broker's memory for each of many
// containers that have written something once.
func BenchmarkIdleContainer(b *testing.B) {
	const containers = 500
	j := startJournald(b)
	s := newSupervisor(b, j.path)
	for b.Loop() {
		before := memory(b, s.cmd.Process.Pid)
		for i := range containers {
			e := register(b, s.socket, func(r *stdio.Registration) {
				r.ID, r.Fields = fmt.Sprintf("%064x", i), typicalFields
			})
			writeString(b, e.stdout, strings.Repeat("x", 1000)+"\n")
			writeString(b, e.stderr, "y\n")
		}
		j.wait(b, 2*containers)
		b.ReportMetric(float64(memory(b, s.cmd.Process.Pid)-before)/containers, "bytes/container")
		for i := range containers {
			if err := stdio.Drain(b.Context(), s.socket, hex.EncodeToString(id(i)), 0); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func id(i int) []byte {
	b := make([]byte, 32)
	b[31], b[30] = byte(i), byte(i>>8)
	return b
}

// memory is what a process keeps in memory of its own, with the stages.
func memory(b *testing.B, pid int) int {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var kb int
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	b.Fatal("no Pss")
	return 0
}
