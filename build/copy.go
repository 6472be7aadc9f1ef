package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// writer is what a tar is written to.
type writer = io.Writer

// transferOf is one COPY or ADD, or part of one.
type transfer struct {
	sources []selection
	inline  []instructions.SourceContent
	dest    string // absolute; with a slash at its end if a directory is meant
	chown   string
	mode    *fs.FileMode
	link    bool // the layer does not depend on those below it
	unpack  bool // archives are unpacked
	stage   int
	from    string
}

// parseMode reads --chmod.
func parseMode(s string) (*fs.FileMode, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // documented: none
	}
	n, err := strconv.ParseUint(s, 8, 16)
	if err != nil || n > 0o7777 {
		return nil, fmt.Errorf("--chmod=%s: want an octal number such as 0755; symbolic modes are not supported: %w", s, spec.ErrInvalid)
	}
	m := fs.FileMode(n & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			m |= flag
		}
	}
	return &m, nil
}

// destination returns where COPY and ADD put things.
func (s *state) destination(dest string, sources int) (string, error) {
	abs := s.dir(dest)
	if strings.HasSuffix(dest, "/") || dest == "." || dest == ".." || strings.HasSuffix(dest, "/.") {
		if abs != "/" {
			abs += "/"
		}
	} else if sources > 1 && abs != "/" {
		return "", fmt.Errorf("when using COPY or ADD with more than one source file, the destination must be a directory and end with a /: %w", spec.ErrInvalid)
	}
	return abs, nil
}

func (b *builder) copyCommand(ctx context.Context, st *stage, s *state, c *instructions.CopyCommand) error {
	mode, err := parseMode(c.Chmod)
	if err != nil {
		return err
	}
	dest, err := s.destination(c.DestPath, len(c.SourcePaths)+len(c.SourceContents))
	if err != nil {
		return err
	}
	t := transfer{inline: c.SourceContents, dest: dest, chown: c.Chown, mode: mode, link: c.Link, stage: st.index, from: c.From}
	for _, p := range c.SourcePaths {
		t.sources = append(t.sources, selection{pattern: p, exclude: c.ExcludePatterns, parents: c.Parents})
	}
	return b.transfer(ctx, st, s, fmt.Sprint(c), t)
}

// transfer does a COPY, or the local part of an ADD.
func (b *builder) transfer(ctx context.Context, st *stage, s *state, what string, t transfer) error {
	open, id, local, err := b.files(ctx, t.from, t.stage)
	if err != nil {
		return err
	}
	var items []item
	var sum string
	if !local {
		if sum = b.treeNote(id, t); sum == "" || b.opt.NoCache {
			items, sum, err = b.gather(ctx, open, t, nil)
			b.keepTreeNote(id, t, sum)
		}
	} else {
		items, sum, err = b.gather(ctx, open, t, b.contextDigests)
	}
	if err != nil {
		return err
	}
	layers := s.layers
	below := layers
	if t.link && (t.chown == "" || numeric(t.chown)) {
		below = nil
	}
	return b.step(ctx, s, work{
		title: b.title(st, s, what),
		what:  what,
		key:   b.key("copy", below, sum, t.dest, t.chown, t.mode, t.unpack, t.link, len(t.sources)),
		do: func(ctx context.Context, _ *vertex) (*engine.BuildLayer, error) {
			f, err := t.open(open)
			if err != nil {
				return nil, err
			}
			defer f.close()
			if items == nil { // only their sum was known
				if items, _, err = b.collect(ctx, f, t, nil); err != nil {
					return nil, err
				}
			}
			return b.b.Change(ctx, below, func(to *engine.BuildFiles) error { return b.place(ctx, f, to, items, t) })
		},
	})
}

func numeric(owner string) bool { return strings.Trim(owner, "0123456789:") == "" }

// open opens the source, unless all there is stands in the Dockerfile.
func (t transfer) open(open func() (*files, error)) (*files, error) {
	if len(t.sources) == 0 {
		return &files{what: "Dockerfile"}, nil
	}
	return open()
}

func (f *files) close() {
	if f.tree != nil {
		f.tree.Close()
	}
}

// treeNote is what is known of a selection in layers, which never change.
func (b *builder) treeNote(id []engine.Digest, t transfer) string {
	name := keyOf("tree", id, selectionText(t))
	sum := string(b.b.Note(name))
	if sum != "" {
		b.keepNote(name, sum)
	}
	return sum
}

func (b *builder) keepTreeNote(id []engine.Digest, t transfer, sum string) {
	if sum != "" {
		name := keyOf("tree", id, selectionText(t))
		_ = b.b.KeepNote(name, []byte(sum)) // it saves time only
		b.keepNote(name, sum)
	}
}

func selectionText(t transfer) []any {
	var list []any
	for _, s := range t.sources {
		list = append(list, []any{s.pattern, s.exclude, s.parents, s.whole})
	}
	for _, in := range t.inline {
		list = append(list, in.Path, in.Data)
	}
	return list
}

// gather lists what is to be copied, with a digest of it.
func (b *builder) gather(ctx context.Context, open func() (*files, error), t transfer, d *digests) ([]item, string, error) {
	f, err := t.open(open)
	if err != nil {
		return nil, "", err
	}
	defer f.close()
	return b.collect(ctx, f, t, d)
}

func (b *builder) collect(ctx context.Context, f *files, t transfer, d *digests) ([]item, string, error) {
	items := []item{}
	for _, sel := range t.sources {
		more, err := f.pick(sel)
		if err != nil {
			return nil, "", err
		}
		items = append(items, more...)
	}
	for _, in := range t.inline {
		items = append(items, item{dst: path.Base(in.Path), data: append([]byte{}, in.Data...), entry: engine.BuildEntry{Mode: 0o644, Size: int64(len(in.Data)), Mtime: b.inlineTime()}})
	}
	if len(items) == 0 && !t.onlyExcluded() {
		return nil, "", fmt.Errorf("no source files were specified: nothing fits %s: %w", patternsOf(t.sources), spec.ErrNotFound)
	}
	sum, err := f.sum(ctx, d, items)
	return items, sum, err
}

// onlyExcluded reports whether it is the user's wish that nothing is copied.
func (t transfer) onlyExcluded() bool { return len(t.sources) > 0 && len(t.sources[0].exclude) > 0 }

func patternsOf(sels []selection) string {
	var words []string
	for _, s := range sels {
		words = append(words, strconv.Quote(s.pattern))
	}
	return strings.Join(words, ", ")
}

// inlineTime is the time of files that stand in the Dockerfile.
func (b *builder) inlineTime() time.Time {
	if b.opt.Epoch != nil {
		return *b.opt.Epoch
	}
	return time.Now()
}

// place puts items where they go.
func (b *builder) place(ctx context.Context, f *files, to *engine.BuildFiles, items []item, t transfer) error {
	owner, err := ownerOf(to, t.chown)
	if err != nil {
		return err
	}
	target, err := to.Resolve(t.dest)
	if err != nil {
		return err
	}
	if t.unpack {
		if items, err = b.unpackArchives(ctx, f, to, items, target, owner); err != nil {
			return err
		}
	}
	single := len(items) == 1 && !items[0].isDir() && !t.parents()
	there, err := to.Stat(target)
	exists := err == nil
	switch {
	case exists && !there.Mode.IsDir() && (!single || strings.HasSuffix(t.dest, "/")):
		return fmt.Errorf("destination %s exists and is not a directory: %w", t.dest, spec.ErrInvalid)
	case single && !strings.HasSuffix(t.dest, "/") && (!exists || !there.Mode.IsDir()):
		items = []item{items[0]}
		items[0].dst = path.Base(target)
		target = path.Dir(target)
	}
	dirs := missingDirs(to, target)
	if len(items) > 0 && items[0].isDir() && items[0].dst == "" {
		if exists { // it stays as it is
			items = items[1:]
		} else if len(dirs) > 0 {
			dirs = dirs[:len(dirs)-1]
		}
	}
	items = dropTops(items)
	p := packing{prefix: target[1:], dirs: dirs, owner: owner, mode: t.mode, time: b.inlineTime()}
	return extract(ctx, to, func(ctx context.Context, w writer) error { return f.pack(ctx, w, items, p) })
}

func (t transfer) parents() bool { return len(t.sources) > 0 && t.sources[0].parents }

// dropTops leaves the first entry for the destination itself alone: of several
// directories that are copied to one place, the first decides what that is like.
func dropTops(items []item) []item {
	kept := items[:0:0]
	for i, it := range items {
		if it.dst == "" && it.isDir() && i > 0 {
			continue
		}
		kept = append(kept, it)
	}
	return kept
}

// packBuffer is how much is handed on at a time: for each small piece, two goroutines
// would wait for each other.
const packBuffer = 128 << 10

// extract unpacks what pack writes at the top of a file system.
func extract(ctx context.Context, to *engine.BuildFiles, pack func(context.Context, writer) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(w, packBuffer)
		err := pack(ctx, buffered)
		if err == nil {
			err = buffered.Flush()
		}
		_ = w.CloseWithError(err) // never fails
		done <- err
	}()
	err := to.Extract(ctx, "/", r, nil)
	_ = r.Close() // never fails; ends pack
	if packErr := <-done; packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		return packErr // it is why
	}
	return err
}

// unpackArchives unpacks those items that are archives, and returns the others.
func (b *builder) unpackArchives(ctx context.Context, f *files, to *engine.BuildFiles, items []item, target string, owner *engine.TreeOwner) ([]item, error) {
	var rest []item
	for _, it := range items {
		archive := false
		if it.entry.Mode.IsRegular() && it.data == nil && it.top {
			var err error
			if archive, err = isArchive(f, it.src); err != nil {
				return nil, err
			}
		}
		if !archive {
			rest = append(rest, it)
			continue
		}
		if err := b.unpackArchive(ctx, f, to, it, target, owner); err != nil {
			return nil, fmt.Errorf("ADD %s: %w", it.dst, err)
		}
	}
	return rest, nil
}

// isArchive looks at the beginning of a file, and whether a tar is in it.
func isArchive(f *files, name string) (bool, error) {
	r, err := f.tree.Open(name)
	if err != nil {
		return false, f.missing(name, err)
	}
	defer func() { _ = r.Close() }() // only read
	return engine.IsArchive(r), nil
}

func (b *builder) unpackArchive(ctx context.Context, f *files, to *engine.BuildFiles, it item, target string, owner *engine.TreeOwner) error {
	p := packing{dirs: missingDirs(to, target), owner: owner, time: b.inlineTime()}
	if len(p.dirs) > 0 {
		if err := extract(ctx, to, func(ctx context.Context, w writer) error { return f.pack(ctx, w, nil, p) }); err != nil {
			return err
		}
	}
	r, err := f.tree.Open(it.src)
	if err != nil {
		return f.missing(it.src, err)
	}
	defer func() { _ = r.Close() }() // only read
	return to.Extract(ctx, target, readerWith(ctx, r), owner)
}
