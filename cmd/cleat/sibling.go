package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// become replaces this program by another of cleat's, which has what most verbs
// should not wait for. It returns only if that fails.
func (c *cli) become(name string, args []string) error {
	path := siblingPath(name)
	argv := []string{name}
	if c.root != "" {
		argv = append(argv, "--root="+c.root)
	}
	if c.runRoot != "" {
		argv = append(argv, "--runroot="+c.runRoot)
	}
	c.close()
	err := syscall.Exec(path, append(argv, args...), os.Environ())
	return hinted(fmt.Errorf("start %s: %w", path, err), "is cleat installed as a whole? 'make build' and packages bring "+name)
}

// siblingPath finds another program of cleat's: beside this one, as in a checkout,
// else where packages put them.
func siblingPath(name string) string {
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), name); isFile(beside) {
			return beside
		}
	}
	return "/usr/libexec/cleat/" + name
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}
