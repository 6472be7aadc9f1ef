package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type copier interface {
	CopyIn(ctx context.Context, source, ref, target string, opt engine.CopyOptions) (engine.Copied, error)
	CopyOut(ctx context.Context, ref, source, target string, opt engine.CopyOptions) (engine.Copied, error)
	CopyFrom(ctx context.Context, ref, name string, opt engine.CopyFromOptions) (io.ReadCloser, engine.PathStat, error)
	CopyTo(ctx context.Context, ref, name string, r io.Reader, opt engine.CopyToOptions) error
}

func newCp(c *cli) *cobra.Command {
	var opt engine.CopyOptions
	var quiet bool
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tcleat cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
		Short: "Copy files/folders between a container and the local filesystem",
		Long: `
Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.`,
		Annotations: also("container cp", "cp"),
		Args:        exactly(2), ValidArgsFunction: completeCopy(c),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&opt.Archive, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	fs.BoolVarP(&opt.FollowLink, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		job, err := parseCopy(args[0], args[1])
		if err != nil {
			return err
		}
		if !fs.Changed("quiet") {
			_, isTerminal := terminalFd(c.out)
			quiet = !isTerminal
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.copy(cmd.Context(), eng, job, opt, quiet)
	}
	return cmd
}

// copyJob is what is copied where; one of from and to is a container.
type copyJob struct {
	from, to       string // containers; "" is the host
	source, target string // paths
}

// parseCopy reads the arguments of cp.
func parseCopy(source, target string) (copyJob, error) {
	if source == "" {
		return copyJob{}, errors.New("source can not be empty")
	}
	if target == "" {
		return copyJob{}, errors.New("destination can not be empty")
	}
	var job copyJob
	job.from, job.source = splitCopyArg(source)
	job.to, job.target = splitCopyArg(target)
	switch {
	case job.from != "" && job.to != "":
		return job, errors.New("copying between containers is not supported")
	case job.from == "" && job.to == "":
		return job, errors.New("must specify at least one container source")
	}
	return job, nil
}

// splitCopyArg splits CONTAINER:PATH. As in Docker an absolute path, and one
// that begins with a dot, is the host's even if it has a colon.
func splitCopyArg(arg string) (container, path string) {
	container, path, ok := strings.Cut(arg, ":")
	if !ok || filepath.IsAbs(arg) || strings.HasPrefix(container, ".") {
		return "", arg
	}
	return container, path
}

func (c *cli) copy(ctx context.Context, eng copier, job copyJob, opt engine.CopyOptions, quiet bool) error {
	switch {
	case job.from != "" && job.target == "-":
		return c.copyToStdout(ctx, eng, job, opt)
	case job.to != "" && job.source == "-":
		return eng.CopyTo(ctx, job.to, job.target, c.in, engine.CopyToOptions{AsUser: opt.Archive, KeepKind: true})
	}
	line := c.newCopyLine(job, quiet)
	opt.Progress = line.show
	var done engine.Copied
	var err error
	if job.from != "" {
		done, err = eng.CopyOut(ctx, job.from, job.source, c.absolute(job.target), opt)
	} else {
		done, err = eng.CopyIn(ctx, c.absolute(job.source), job.to, job.target, opt)
	}
	line.clear()
	if err != nil || quiet {
		return err
	}
	if job.to != "" {
		done.Target = job.to + ":" + done.Target
	}
	fmt.Fprintf(c.err, "Successfully copied %s to %s\n", format.Size(done.Bytes), done.Target)
	return nil
}

func (c *cli) copyToStdout(ctx context.Context, eng copier, job copyJob, opt engine.CopyOptions) error {
	return c.withOutput("", func(w io.Writer) error {
		r, _, err := eng.CopyFrom(ctx, job.from, job.source, engine.CopyFromOptions{FollowLink: opt.FollowLink})
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return errors.Join(err, r.Close())
	})
}

// absolute makes a path of the caller absolute and leaves its end alone, which
// may say that a directory is meant.
func (c *cli) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return c.dir + "/" + path
}

// copyLine shows on a terminal how much has been copied.
type copyLine struct {
	w     io.Writer
	text  string
	last  time.Time
	drawn bool
}

func (c *cli) newCopyLine(job copyJob, quiet bool) *copyLine {
	_, isTerminal := terminalFd(c.err)
	if quiet || !isTerminal {
		return &copyLine{}
	}
	text := "Copying to container"
	if job.from != "" {
		text = "Copying from container"
	}
	return &copyLine{w: c.err, text: text, last: time.Now()}
}

// show draws the line anew, unless that was done just before. Quick copies are
// done before it is drawn at all.
func (l *copyLine) show(bytes int64) {
	if l.w == nil || time.Since(l.last) < redrawEvery {
		return
	}
	l.last, l.drawn = time.Now(), true
	fmt.Fprintf(l.w, "\r%s - %s\x1b[K", l.text, format.Size(bytes))
}

func (l *copyLine) clear() {
	if l.drawn {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

// completeCopy completes the names of containers, with their colon, and files.
func completeCopy(c *cli) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 1 || strings.ContainsAny(toComplete, ":/.") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names, _ := completeContainers(c, nil)(cmd, args, toComplete)
		for i := range names {
			names[i] += ":"
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
}
