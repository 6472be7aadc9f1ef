// Package build makes images of Dockerfiles. The parser is BuildKit's own, so that
// what a Dockerfile means is decided in one place; everything after it is done here
// on package engine: a step is a container on a chain of layers, whose writable
// layer is the next one of the chain.
//
// Stages are a graph: only those that the target needs are made, independent ones
// at the same time. What a step makes is remembered under a key that all it depends
// on goes into (files by their content), so that a step runs once.
package build

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/cleat-project/cleat/spec"
)

// maxDockerfileBytes is how large a Dockerfile may be.
const maxDockerfileBytes = 16 << 20

// file is a Dockerfile that has been read.
type file struct {
	name     string
	source   []byte
	escape   rune
	syntax   string // what "# syntax=" asks for; it is not fetched
	args     []instructions.ArgCommand
	stages   []stage
	warnings []string
}

// stage is one FROM with what follows.
type stage struct {
	instructions.Stage
	index int
	base  int   // stage that this one stands on; -1 if it is an image
	deps  []int // all stages that this one needs files of, the base included
}

// parse reads a Dockerfile. Errors say where they are, see SourceError.
func parse(name string, source []byte) (f *file, err error) {
	// The parser is fed with what anybody wrote; it must not end the process.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: the parser gave up: %v: %w", name, r, spec.ErrInvalid)
		}
	}()
	if len(source) > maxDockerfileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", name, maxDockerfileBytes, spec.ErrInvalid)
	}
	if len(bytes.TrimSpace(source)) == 0 {
		return nil, fmt.Errorf("%s is empty: %w", name, spec.ErrInvalid)
	}
	tree, err := parser.Parse(bytes.NewReader(source))
	if err != nil {
		return nil, located(name, source, err)
	}
	f = &file{name: name, source: source, escape: tree.EscapeToken}
	f.syntax, _, _, _ = parser.DetectSyntax(source)
	for _, w := range tree.Warnings {
		f.warnings = append(f.warnings, w.Short)
	}
	stages, args, err := instructions.Parse(tree.AST, &linter.Linter{})
	if err != nil {
		return nil, located(name, source, err)
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("%s has no FROM: no build stage to make an image of: %w", name, spec.ErrInvalid)
	}
	f.args = args
	for i, s := range stages {
		f.stages = append(f.stages, stage{Stage: s, index: i, base: -1})
	}
	return f, nil
}

// lex returns what expands variables in the words of the file.
func (f *file) lex() *shell.Lex { return shell.NewLex(f.escape) }

// stageNamed returns the index of the stage that name means, among the first n; a
// later one of the same name hides an earlier one.
func (f *file) stageNamed(name string, n int) int {
	for i := n - 1; i >= 0; i-- {
		if strings.EqualFold(f.stages[i].Name, name) && name != "" {
			return i
		}
	}
	return -1
}

// fileStage is stageNamed for COPY --from and its kin, which may also have the
// number of a stage.
func (f *file) fileStage(name string, n int) int {
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < n {
		return i
	}
	return f.stageNamed(name, n)
}

// link expands what FROM says and finds out which stage needs which.
func (f *file) link(global []string) error {
	lex := f.lex()
	env := shell.EnvsFromSlice(global)
	for i := range f.stages {
		s := &f.stages[i]
		for _, word := range []*string{&s.BaseName, &s.Platform} {
			got, _, err := lex.ProcessWord(*word, env)
			if err != nil {
				return f.at(s.Location, fmt.Errorf("FROM %s: %w", *word, err))
			}
			*word = got
		}
		if s.BaseName == "" {
			return f.at(s.Location, fmt.Errorf("base name (%s) should not be blank: %w", strings.TrimSpace(s.SourceCode), spec.ErrInvalid))
		}
		if s.base = f.stageNamed(s.BaseName, i); s.base >= 0 {
			s.deps = append(s.deps, s.base)
		}
		for _, cmd := range s.Commands {
			s.deps = append(s.deps, f.needs(cmd, i)...)
		}
		slices.Sort(s.deps)
		s.deps = slices.Compact(s.deps)
	}
	return nil
}

// needs lists the stages that cmd, in stage n, takes files of.
func (f *file) needs(cmd instructions.Command, n int) []int {
	var deps []int
	add := func(from string) {
		if i := f.fileStage(from, n); from != "" && i >= 0 {
			deps = append(deps, i)
		}
	}
	switch c := cmd.(type) {
	case *instructions.CopyCommand:
		add(c.From)
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			add(m.From)
		}
	}
	return deps
}

// target returns the stage that is asked for, the last one if name is "".
func (f *file) target(name string) (int, error) {
	if name == "" {
		return len(f.stages) - 1, nil
	}
	if i := f.stageNamed(name, len(f.stages)); i >= 0 {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(f.stages) {
		return i, nil
	}
	return 0, fmt.Errorf("target stage %q could not be found: %w", name, spec.ErrInvalid)
}

// needed returns the stages that have to be made for the target.
func (f *file) needed(target int) map[int]bool {
	need := map[int]bool{}
	var visit func(int)
	visit = func(i int) {
		if need[i] {
			return
		}
		need[i] = true
		for _, d := range f.stages[i].deps {
			visit(d)
		}
	}
	visit(target)
	return need
}

// triggers parses what ONBUILD has left in an image.
func triggers(lines []string) ([]instructions.Command, error) {
	var cmds []instructions.Command
	for _, line := range lines {
		tree, err := parser.Parse(strings.NewReader(line))
		if err != nil {
			return nil, fmt.Errorf("ONBUILD %s: %w", line, err)
		}
		for _, n := range tree.AST.Children {
			cmd, err := instructions.ParseCommand(n)
			if err != nil {
				return nil, fmt.Errorf("ONBUILD %s: %w", line, err)
			}
			if _, ok := cmd.(*instructions.OnbuildCommand); ok || cmd == nil {
				return nil, fmt.Errorf("ONBUILD %s: not allowed as a trigger: %w", line, spec.ErrInvalid)
			}
			cmds = append(cmds, cmd)
		}
	}
	return cmds, nil
}

// SourceError is an error with the place in the Dockerfile that it is about.
type SourceError struct {
	File    string
	Line    int    // the first one
	Excerpt string // the lines around, marked
	Err     error
}

// Error implements error.
func (e *SourceError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *SourceError) Unwrap() error { return e.Err }

// at adds a place to err, unless it has one.
func (f *file) at(where []parser.Range, err error) error {
	var have *SourceError
	if err == nil || errors.As(err, &have) || len(where) == 0 {
		return err
	}
	return &SourceError{File: f.name, Line: where[0].Start.Line, Excerpt: excerpt(f.source, where), Err: err}
}

// located turns an error of the parser into a SourceError.
func located(name string, source []byte, err error) error {
	var at *parser.LocationError
	if !errors.As(err, &at) || len(at.Locations) == 0 || len(at.Locations[0]) == 0 {
		return fmt.Errorf("%s: %w: %w", name, err, spec.ErrInvalid)
	}
	where := at.Locations[0]
	prefix := fmt.Sprintf("dockerfile parse error on line %d: ", where[0].Start.Line)
	if strings.HasPrefix(err.Error(), prefix) { // some say so themselves
		prefix = ""
	}
	return &SourceError{File: name, Line: where[0].Start.Line, Excerpt: excerpt(source, where), Err: fmt.Errorf("%s%w: %w", prefix, err, spec.ErrInvalid)}
}

// excerpt shows lines of a source with those around them.
func excerpt(source []byte, where []parser.Range) string {
	lines := strings.Split(string(source), "\n")
	first, last := where[0].Start.Line, where[len(where)-1].End.Line
	const around = 2
	var b strings.Builder
	for n := max(first-around, 1); n <= min(last+around, len(lines)); n++ {
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		fmt.Fprintf(&b, "%4d | %s %s\n", n, mark, strings.TrimRight(lines[n-1], "\r"))
	}
	return b.String()
}
