package file

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/journal"
)

// Reader reads a journal. It holds no open file between calls, and may be used
// by several goroutines at once.
type Reader struct {
	paths []string
}

// Open returns a Reader of the journal files in dirs; without dirs, of the
// machine's journal: /run/log/journal/<machine-id> and
// /var/log/journal/<machine-id>. A path may also name a single file. Nothing is
// opened before it is read, and a directory may come into being later.
func Open(dirs ...string) (*Reader, error) {
	if len(dirs) == 0 {
		id, err := machineID()
		if err != nil {
			return nil, err
		}
		for _, base := range []string{"/run/log/journal", "/var/log/journal"} {
			dirs = append(dirs, filepath.Join(base, id))
		}
	}
	r := &Reader{}
	for _, d := range dirs {
		abs, err := filepath.Abs(d)
		if err != nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
		r.paths = append(r.paths, abs)
	}
	return r, nil
}

func machineID() (string, error) {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return "", fmt.Errorf("find journal: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Read yields the entries that q asks for, of all files, in the order in which
// journalctl shows them. The Entry is valid until the next iteration.
//
// An error that wraps ErrDamaged, ErrUnsupported or fs.ErrPermission concerns one
// file: the others, and the rest of the file if that can be read, follow. It is
// yielded once for each file. When ctx ends, its cause is the last error.
// Without Follow it is an error if none of the directories exists.
func (r *Reader) Read(ctx context.Context, q journal.Query) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		e := &Entry{}
		s := &session{paths: r.paths, plan: newPlan(q.Matches, q.Since, q.Until)}
		s.yield = func(src *source, err error) bool {
			if err != nil {
				return yield(nil, err)
			}
			e.src, e.err = src, nil
			return yield(e, nil)
		}
		s.run(ctx, q.Tail, follow{on: q.Follow, done: q.Done, until: q.Until})
	}
}
