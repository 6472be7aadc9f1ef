package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

type creator interface {
	Create(ctx context.Context, opt engine.CreateOptions) (engine.Container, error)
}

func newCreate(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create [OPTIONS] IMAGE [COMMAND] [ARG...]", Short: "Create a new container",
		Annotations: also("container create", "create"),
		Args:        atLeast(1), ValidArgsFunction: completeImages(c),
	}
	flags := newCreateFlags(cmd.Flags(), c)
	completeFlags(cmd, createCompletions(c))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := flags.options(cmd.Flags(), c, args)
		if err != nil {
			return ownFailure(err)
		}
		st := flags.streams(false)
		opt.Container.Process.StdinOnce = flags.interactive && st.stdin
		eng, err := c.engine()
		if err != nil {
			return err
		}
		made, err := c.create(cmd.Context(), eng, flags, opt)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, made.ID)
		return nil
	}
	return cmd
}

// streams returns what a foreground run attaches to: what --attach says, else
// everything.
func (f *createFlags) streams(detached bool) streams {
	st := streams{tty: f.tty}
	for _, name := range f.attach.Values {
		st.stdin = st.stdin || name == "stdin"
		st.stdout = st.stdout || name == "stdout"
		st.stderr = st.stderr || name == "stderr"
	}
	if len(f.attach.Values) == 0 && !detached {
		st.stdin, st.stdout, st.stderr = f.interactive, true, true
	}
	return st
}

// create creates a container, showing how a pull goes, and writes its id to the
// file of --cidfile.
func (c *cli) create(ctx context.Context, eng creator, f *createFlags, opt engine.CreateOptions) (engine.Container, error) {
	cid, err := openCIDFile(f.cidFile)
	if err != nil {
		return engine.Container{}, err
	}
	defer cid.discard()
	p := newProgress(c.err, f.quiet)
	defer p.close()
	opt.Progress = p.event
	opt.Missing = func(ref string) {
		if !f.quiet {
			fmt.Fprintf(c.err, "Unable to find image '%s' locally\n", familiar(ref))
		}
	}
	made, err := eng.Create(ctx, opt)
	if err != nil {
		return engine.Container{}, err
	}
	return made, cid.write(made.ID)
}

func familiar(ref string) string { return listing.Familiar(ref) }

// cidFile is the file of --cidfile. It is taken before the container is created,
// so that of two runs with the same file one fails early. The zero value is
// that of a run without one.
type cidFile struct {
	path string
	file *os.File
}

func openCIDFile(path string) (*cidFile, error) {
	if path == "" {
		return &cidFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("create the container ID file: %w", err)
	}
	return &cidFile{path, f}, nil
}

// write stores the id, which has no line end, as in Docker.
func (f *cidFile) write(id string) error {
	if f.file == nil {
		return nil
	}
	_, err := f.file.WriteString(id)
	err = errors.Join(err, f.file.Close())
	f.file = nil
	if err != nil {
		return fmt.Errorf("write the container ID to the file: %w", err)
	}
	return nil
}

// discard removes a file that was not written.
func (f *cidFile) discard() {
	if f.file == nil {
		return
	}
	_ = f.file.Close()
	_ = os.Remove(f.path) // empty, and the error that led here is worth more
}
