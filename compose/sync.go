package compose

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/engine"
)

// Sync brings running containers of a service up to date: files, a command in
// them, a restart.
func (r Runner) Sync(ctx context.Context, f Refresh, list []engine.Container) error {
	var errs []error
	for _, c := range list {
		if serviceOf(c) != f.Service || isOneOff(c) || c.Status != engine.StatusRunning {
			continue
		}
		if err := r.syncOne(ctx, f, c); err != nil {
			errs = append(errs, fmt.Errorf("bring %s up to date: %w", c.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (r Runner) syncOne(ctx context.Context, f Refresh, c engine.Container) error {
	there, gone := present(f.Sync)
	if len(there) > 0 {
		archive, w := io.Pipe()
		go func() { w.CloseWithError(archiveOf(w, there)) }()
		err := r.Engine.CopyTo(ctx, c.ID, "/", archive, engine.CopyToOptions{AsUser: true})
		_ = archive.Close() // ends the writer, whatever was read
		if err != nil {
			return err
		}
	}
	x := &execution{Runner: r}
	if len(gone) > 0 {
		remove := engine.ExecOptions{Argv: append([]string{"rm", "-rf", "--"}, gone...)}
		if err := x.hook(ctx, Step{ID: c.ID, Hook: &remove}); err != nil {
			return fmt.Errorf("remove what has gone, with rm in the container: %w", err)
		}
	}
	for _, command := range f.Exec {
		if err := x.hook(ctx, Step{ID: c.ID, Hook: &command}); err != nil {
			return fmt.Errorf("run %q: %w", strings.Join(command.Argv, " "), err)
		}
	}
	if f.Restart {
		return x.call(ctx, Step{Op: OpRestart, Object: c.Name, ID: c.ID, Health: startsHealthy(c)})
	}
	return nil
}

// present separates what there is from what has gone. Of what has gone together
// with its directory, the directory is enough.
func present(list []SyncPath) (there []SyncPath, gone []string) {
	for _, s := range list {
		_, err := os.Lstat(s.Host)
		switch {
		case err == nil:
			there = append(there, s)
		case errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(gone, func(dir string) bool { return below(dir, s.Container) }):
			gone = append(gone, s.Container)
		}
	}
	return there, gone
}

// archiveOf writes files and directories, without what is in those, as an archive of
// paths in a container. What goes meanwhile is left out: its going is told later.
func archiveOf(out io.Writer, list []SyncPath) error {
	w := tar.NewWriter(out)
	for _, s := range list {
		if err := archiveOne(w, s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read %s: %w", s.Host, err)
		}
	}
	return w.Close()
}

func archiveOne(w *tar.Writer, s SyncPath) error {
	info, err := os.Lstat(s.Host)
	if err != nil {
		return err
	}
	target := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if target, err = os.Readlink(s.Host); err != nil {
			return err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil // sockets and the like are this machine's
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = strings.TrimPrefix(s.Container, "/"), 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if !info.Mode().IsRegular() {
		return w.WriteHeader(h)
	}
	f, err := os.Open(s.Host)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return err
	}
	h.Size = info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size { // it is being written anew, which is told as well
		_, err = io.CopyN(w, zeros{}, h.Size-n)
	}
	return err
}

// zeros fills up a file that has become shorter under our eyes.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
