package file_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"github.com/cleat-project/cleat/journal"
)

// benchLines is the number of lines that the benchmarks read in one operation.
const benchLines = 1_000_000

// BenchmarkLogs reads 1,000,000 short lines of one container, between which
// another one's lie.
func BenchmarkLogs(b *testing.B) {
	for _, name := range []string{"compact, keyed, zstd", "regular, keyed, zstd"} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir() // the writer rotates: there will be several files
			w := newWriter(b, filepath.Join(dir, "bench.journal"), formats()[name])
			for i := range benchLines {
				stamp := time.UnixMicro(int64(testTime + i*1000)).UTC().Format(time.RFC3339Nano)
				writeExport(w.in, line(i, testID, testUnit, fmt.Sprintf("this is line number %d", i), kv{"SYSLOG_TIMESTAMP", stamp}))
				if i%10 == 0 {
					writeExport(w.in, line(i, otherID, "cleat-db.service", fmt.Sprintf("other line %d", i)))
				}
			}
			w.write(b)
			w.finish(b)
			r := open(b, dir)
			b.Run("all", func(b *testing.B) { benchLogs(b, r.Logs, -1, benchLines) })
			b.Run("journalctl", func(b *testing.B) { // the same with systemd's reader
				for b.Loop() {
					out := journalctl(b, "--directory="+dir, "--output=cat", "CONTAINER_ID_FULL="+testID)
					if n := bytes.Count(out, []byte{'\n'}); n != benchLines {
						b.Fatalf("journalctl shows %d lines", n)
					}
				}
			})
			b.Run("tail 100", func(b *testing.B) { benchLogs(b, r.Logs, 100, 100) })
		})
	}
}

// logsFunc is the method Reader.Logs.
type logsFunc = func(context.Context, journal.LogQuery) iter.Seq2[journal.LogLine, error]

func benchLogs(b *testing.B, logs logsFunc, tail, want int) {
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for l, err := range logs(b.Context(), journal.LogQuery{ContainerID: testID, Unit: testUnit, Tail: tail}) {
			if err != nil {
				b.Fatal(err)
			}
			if len(l.Message) > 20 {
				n++
			}
		}
		if n != want {
			b.Fatalf("read %d lines, want %d", n, want)
		}
	}
	b.ReportMetric(float64(want)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
