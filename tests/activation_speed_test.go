package tests

import (
	"bufio"
	"io"
	"slices"
	"testing"
	"time"
)

// TestWakeSpeed reports how long the first answer of a sleeping container takes.
func TestWakeSpeed(t *testing.T) {
	s := newNetSite(t)
	for mode, cmd := range map[string]string{"fd": "inherit", "proxy": "serve"} {
		args := []string{"run", "-d", "--name", mode, "--activate", mode, "-p", "127.0.0.1:8080:80", "peer", cmd}
		if mode == "proxy" {
			args = append(args, "tcp::80")
		}
		s.must(t, args...)
		var took []time.Duration
		for range 10 {
			s.systemctl(t, "stop", "cleat-"+mode+".service")
			begin := time.Now()
			conn := s.dial(t, s.host, "tcp", "127.0.0.1:8080")
			if _, err := io.WriteString(conn, "who\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begin))
			conn.Close()
		}
		slices.Sort(took)
		t.Logf("--activate %s: first answer after %v at best, %v in the middle, %v at worst", mode, took[0], took[len(took)/2], took[len(took)-1])
		s.must(t, "rm", "-f", mode)
	}
}
