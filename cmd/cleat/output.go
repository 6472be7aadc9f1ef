package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// withOutput calls write with the file at path, or with the caller's stdout if
// path is empty: then it must not be a terminal. A regular file is replaced as a
// whole and only if write succeeds; what is there as something else, such as a
// named pipe, is written to.
func (c *cli) withOutput(path string, write func(io.Writer) error) error {
	if path == "" {
		if _, isTerminal := terminalFd(c.out); isTerminal {
			return errors.New("cowardly refusing to save to a terminal: use the -o flag or redirect")
		}
		return write(c.out)
	}
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		return fmt.Errorf("invalid output path: %s is a directory", path)
	case err == nil && !fi.Mode().IsRegular():
		return toExisting(path, write)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	return toWholeFile(path, write)
}

func toExisting(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// toWholeFile writes beside path and renames; a symlink stays one. As in Docker
// the file is the caller's alone.
func toWholeFile(path string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("invalid output path: directory %q does not exist", dir)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
