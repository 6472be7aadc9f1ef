package broker

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
)

// testStage returns a stage into which content was read, and its pipe.
func testStage(t testing.TB, content string) (*stage, *os.File) {
	t.Helper()
	st, err := newStage([]byte(`{"ID":"x"}`), stdio.FrameStdout, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, w := pipe(t)
	writeString(t, w, content)
	if n, err := st.fill(int(r.Fd())); err != nil || n != len(content) {
		t.Fatalf("fill took %d bytes, %v", n, err)
	}
	return st, w
}

// reopen is what the next broker does with a stage, which is left as it is.
func reopen(t testing.TB, st *stage) *stage {
	t.Helper()
	fd, err := unix.Dup(st.fd)
	if err != nil {
		t.Fatal(err)
	}
	next, err := openStage(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = next.close(); _ = st.close() })
	return next
}

func TestAStageIsPickedUpWhereTheBrokerDied(t *testing.T) {
	t.Parallel()
	const content = "one\ntwo\nthr"
	for name, tt := range map[string]struct {
		die  func(t *testing.T, st *stage)
		want string
		part uint64
	}{
		"after reading":           {func(*testing.T, *stage) {}, content, 0},
		"before the datagram":     {func(_ *testing.T, st *stage) { st.prepare(4, 1) }, content, 0},
		"after the datagram":      {func(_ *testing.T, st *stage) { st.prepare(4, 1); st.header().taken = 9 }, "two\nthr", 1},
		"after a file's datagram": {func(_ *testing.T, st *stage) { st.prepare(4, 1); st.header().taken = 0 }, "two\nthr", 1},
		"within the commit": {func(_ *testing.T, st *stage) {
			st.prepare(4, 1)
			st.header().taken = 9
			st.set(wordSent, st.get(wordFlight))
		}, "two\nthr", 1},
		"after the commit":         {func(_ *testing.T, st *stage) { st.prepare(8, 0); st.commit() }, "thr", 0},
		"while moving, copied":     {func(_ *testing.T, st *stage) { copyToFront(st, 8) }, "thr", 0},
		"while moving, offset set": {func(t *testing.T, st *stage) { copyToFront(st, 8); mustSeek(t, st, st.get(wordData)+3) }, "thr", 0},
		"while moving, sent set": {func(t *testing.T, st *stage) {
			copyToFront(st, 8)
			mustSeek(t, st, st.get(wordData)+3)
			st.set(wordSent, st.get(wordData))
		}, "thr", 0},
		"between steps of a rewind": {func(t *testing.T, st *stage) { st.discard(); mustSeek(t, st, st.get(wordData)) }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, _ := testStage(t, content)
			tt.die(t, st)
			next := reopen(t, st)
			if got := string(next.pending()); got != tt.want || next.get(wordPart) != tt.part {
				t.Errorf("pending %q after %d parts, want %q after %d", got, next.get(wordPart), tt.want, tt.part)
			}
			if string(next.meta()) != `{"ID":"x"}` {
				t.Errorf("meta %q", next.meta())
			}
		})
	}
}

// copyToFront is the first half of a move of what follows the first n bytes.
func copyToFront(st *stage, n int) {
	st.prepare(n, 0)
	st.commit()
	rest := st.pending()
	copy(st.mem[st.get(wordData):], rest)
	st.set(wordMoved, uint64(len(rest))+1)
}

func mustSeek(t *testing.T, st *stage, off uint64) {
	t.Helper()
	if err := st.seek(off); err != nil {
		t.Fatal(err)
	}
}

func TestAStageMakesRoom(t *testing.T) {
	t.Parallel()
	st, w := testStage(t, "start\n")
	r, w2 := pipe(t)
	_ = w.Close()
	chunk := bytes.Repeat([]byte("0123456789\n"), 5000)
	var got bytes.Buffer
	for range 30 {
		if err := st.makeRoom(); err != nil {
			t.Fatal(err)
		}
		writeString(t, w2, string(chunk))
		if n, err := st.fill(int(r.Fd())); err != nil || n != len(chunk) {
			t.Fatalf("fill took %d bytes of %d, %v", n, len(chunk), err)
		}
		take := st.pendingBytes() - 100 // leave the beginning of a line
		got.Write(st.pending()[:take])
		st.prepare(take, 0)
		st.commit()
	}
	got.Write(st.pending())
	if want := append([]byte("start\n"), bytes.Repeat(chunk, 30)...); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes came out, which are not the %d that went in", got.Len(), len(want))
	}
	st.discard()
	if err := st.trim(); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(st.fd, &stat); err != nil || stat.Blocks*512 > 4*pageBytes {
		t.Errorf("an idle stage takes up %d bytes, %v", stat.Blocks*512, err)
	}
}

func TestAStrangeFileIsNoStage(t *testing.T) {
	t.Parallel()
	fd, err := unix.MemfdCreate("strange", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := openStage(fd); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("got %v, want invalid", err)
	}
}

// FuzzOpenStage: whatever the words of a stage are, opening it fails or yields
// bounds within the file.
func FuzzOpenStage(f *testing.F) {
	st, _ := testStage(f, "a\nb")
	st.prepare(2, 1)
	f.Add(bytes.Clone(st.mem[:offPartID]), uint32(0))
	copyToFront(st, 1)
	f.Add(bytes.Clone(st.mem[:offPartID]), uint32(9000))
	f.Fuzz(func(t *testing.T, words []byte, off uint32) {
		st, _ := testStage(t, "content\n")
		copy(st.mem[:metaOffset], words)
		if _, err := unix.Seek(st.fd, int64(off), unix.SEEK_SET); err != nil {
			t.Fatal(err)
		}
		defer st.close()
		fd, err := unix.Dup(st.fd)
		if err != nil {
			t.Fatal(err)
		}
		next, err := openStage(fd)
		if err != nil {
			_ = unix.Close(fd)
			return
		}
		defer next.close()
		_, _ = next.pending(), next.meta()
		_ = next.makeRoom()
		_ = next.trim()
	})
}
