package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// session is one run of a query: the sources of all files, merged.
type session struct {
	paths   []string // directories and files
	plan    *plan
	sources []*source
	failed  map[string]bool // files that could not be opened, and were reported
	pending bool            // a file was seen before its header was written

	last    head // of the entry emitted last
	hasLast bool

	// yield passes an entry, at the head of the source, or an error on. False
	// ends the session.
	yield func(*source, error) bool
}

// run is the session's whole life.
func (s *session) run(ctx context.Context, tail int, f follow) {
	defer s.close()
	var w *watcher
	if f.on {
		var err error
		if w, err = newWatcher(s.paths); err != nil {
			s.yield(nil, err)
			return
		}
		defer w.Close()
	}
	found, ok := s.scan()
	if !ok {
		return
	}
	if !found && !f.on {
		s.yield(nil, fmt.Errorf("read journal in %s: %w", strings.Join(s.paths, ", "), fs.ErrNotExist))
		return
	}
	s.refresh()
	s.position(tail)
	if !s.drain(ctx) || !f.on {
		return
	}
	s.followOn(ctx, w, f)
}

// follow says whether and how long to wait for further entries.
type follow struct {
	on    bool
	done  <-chan struct{}
	until time.Time // zero is for ever
}

// followOn waits for further entries and emits them.
func (s *session) followOn(ctx context.Context, w *watcher, f follow) {
	var expired <-chan time.Time
	if !f.until.IsZero() {
		t := time.NewTimer(time.Until(f.until))
		defer t.Stop()
		expired = t.C
	}
	for final := false; !final; {
		select {
		case <-ctx.Done():
			s.yield(nil, context.Cause(ctx))
			return
		case <-f.done:
			final = true
		case <-expired:
			final = true
		case <-w.Events:
		}
		if !s.catchUp(w, final) || !s.drain(ctx) {
			return
		}
		s.dropGone()
	}
}

// catchUp takes in what has changed in the directories and the files.
func (s *session) catchUp(w *watcher, rescan bool) bool {
	if w.takeRescan() || s.pending || rescan {
		if err := w.update(s.paths); err != nil && !s.yield(nil, err) {
			return false
		}
		if _, ok := s.scan(); !ok {
			return false
		}
	}
	s.refresh()
	return true
}

// maxPasses bounds how often refresh looks at each file while journald writes to
// several of them without a pause.
const maxPasses = 4

// refresh takes in what journald has written to all files. It writes to several
// at once, for example to one for each user, so what is seen of them must be of
// one moment, or entries would come out of order: the file that changes is looked
// at first, and the moment is right if no other one changes after that.
func (s *session) refresh() {
	var first *source
	for range maxPasses {
		var changed *source
		if first != nil {
			first.refresh()
		}
		for _, src := range s.sources {
			if src != first && src.refresh() {
				changed = src
			}
		}
		if changed == nil {
			return
		}
		first = changed
	}
}

// close closes all files. Nothing was written, so that errors do not matter.
func (s *session) close() {
	for _, src := range s.sources {
		_ = src.f.close()
	}
}

// scan opens the files that are new and marks those that are gone. Found says
// whether any of the paths exists; ok is false if yield asked to stop.
func (s *session) scan() (found, ok bool) {
	seen := map[inode]bool{}
	complete := true
	s.pending = false
	for _, path := range s.paths {
		files, err := journalFiles(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		if err != nil {
			complete = false
			if !s.report(path, err) {
				return found, false
			}
		}
		for _, name := range files {
			if !s.take(name, seen) {
				return found, false
			}
		}
	}
	for _, src := range s.sources {
		src.gone = complete && !seen[src.f.m.inode]
	}
	return found, true
}

// journalFiles lists the journal files in the directory at path, or path itself
// if it is a file.
func journalFiles(path string) ([]string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // what could be read before an error, too
	var files []string
	for _, e := range entries {
		// journald appends a tilde to files that it found damaged.
		if n := e.Name(); strings.HasSuffix(n, ".journal") || strings.HasSuffix(n, ".journal~") {
			files = append(files, filepath.Join(path, n))
		}
	}
	return files, err
}

// take makes the file called name a source unless it is one already, and marks
// it in seen.
func (s *session) take(name string, seen map[inode]bool) bool {
	fi, err := os.Stat(name)
	if err != nil { // it has just been renamed or removed
		return errors.Is(err, fs.ErrNotExist) || s.report(name, err)
	}
	if !fi.Mode().IsRegular() || seen[inodeOf(fi)] {
		return true
	}
	for _, src := range s.sources {
		if src.f.m.inode == inodeOf(fi) {
			seen[src.f.m.inode] = true
			return true
		}
	}
	f, err := openFile(name)
	if errors.Is(err, errNotReady) || errors.Is(err, fs.ErrNotExist) {
		s.pending = true
		return true
	}
	if err != nil {
		return s.report(name, err)
	}
	seen[f.m.inode] = true
	src := newSource(f, s.plan)
	src.copied = slices.ContainsFunc(s.sources, func(o *source) bool { return o.f.fileID == f.fileID })
	s.sources = append(s.sources, src)
	return true
}

// report yields err once for each path.
func (s *session) report(path string, err error) bool {
	if s.failed[path] {
		return true
	}
	if s.failed == nil {
		s.failed = map[string]bool{}
	}
	s.failed[path] = true
	return s.yield(nil, err)
}

// dropGone closes the files that journald has deleted, which would take disk
// space as long as they are open, once they have been read to the end.
func (s *session) dropGone() {
	s.sources = slices.DeleteFunc(s.sources, func(src *source) bool {
		if src.gone && !src.has {
			_ = src.f.close()
			return true
		}
		return false
	})
}

// position puts every source before the first entry to emit: all, or the newest
// tail ones.
func (s *session) position(tail int) {
	if tail < 0 {
		for _, src := range s.sources {
			src.rewind()
		}
		return
	}
	for _, src := range s.sources {
		src.fastForward()
		src.backward()
	}
	for n := 0; ; n++ {
		newest := s.newest()
		if newest == nil {
			s.hasLast = false
			break
		}
		s.last, s.hasLast = newest.head, true
		if n == tail {
			// What is not newer than this must not come again from a file that
			// appears later: journald copies /run's entries to /var.
			break
		}
		newest.backward()
	}
	for _, src := range s.sources {
		if src.has { // read backwards, and not taken
			src.stepOver()
		}
	}
}

// newest returns the source with the newest head, nil if none has one.
func (s *session) newest() *source {
	var best *source
	for _, src := range s.sources {
		for s.hasLast && src.has && compareHeads(&src.head, &s.last) == 0 {
			src.backward() // the same entry in a second file
		}
		if src.has && (best == nil || compareHeads(&src.head, &best.head) > 0) {
			best = src
		}
	}
	return best
}

// drain emits all entries that there are.
func (s *session) drain(ctx context.Context) bool {
	for _, src := range s.sources {
		if !src.has {
			src.forward()
		}
	}
	for {
		best, second := s.oldest()
		if !s.flushDamage() {
			return false
		}
		if best == nil {
			return true
		}
		if !s.emit(ctx, best, second) {
			return false
		}
	}
}

// oldest returns the source with the oldest head and the one that comes next.
func (s *session) oldest() (best, second *source) {
	for _, src := range s.sources {
		for s.hasLast && src.has && s.isPast(src) {
			src.forward()
		}
		switch {
		case !src.has:
		case best == nil:
			best = src
		case compareHeads(&src.head, &best.head) < 0:
			best, second = src, best
		case second == nil || compareHeads(&src.head, &second.head) < 0:
			second = src
		}
	}
	return best, second
}

// isPast says that the entry at the head of src has been emitted already, from
// another file, or skipped by tail: it is the last one, or an older one in a copy
// of a file, or one that journald copied from /run to /var, with a new sequence.
// Within a sequence an older one is only late, as refresh could not see it.
func (s *session) isPast(src *source) bool {
	c := compareHeads(&src.head, &s.last)
	return c == 0 || c < 0 && (src.copied || src.head.seqnumID != s.last.seqnumID)
}

// ctxEvery is the number of entries between two looks at the context.
const ctxEvery = 1024

// emit yields entries of best as long as they are older than second's.
func (s *session) emit(ctx context.Context, best, second *source) bool {
	s.hasLast = true
	for n := 0; best.has; n++ {
		if second != nil && n > 0 && compareHeads(&best.head, &second.head) >= 0 {
			return true
		}
		if n%ctxEvery == 0 && ctx.Err() != nil {
			s.yield(nil, context.Cause(ctx))
			return false
		}
		s.last = best.head
		if !s.yield(best, nil) {
			return false
		}
		best.forward()
	}
	return true
}

// flushDamage yields the damage that was found and not reported yet.
func (s *session) flushDamage() bool {
	for _, src := range s.sources {
		if err := src.f.takeDamage(); err != nil && !s.yield(nil, err) {
			return false
		}
	}
	return true
}
