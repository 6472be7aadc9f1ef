package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// host is what no container may change: the mounts, some kernel parameters and
// files of this machine, and a tree of canaries.
type host struct {
	mounts string
	ns     map[string]string
	files  map[string]string // what identifies each file's state, by path
	canary string            // directory of canaries
}

// hostFiles are files that an escape would aim at.
var hostFiles = []string{
	"/etc/passwd", "/etc/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
	"/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/overcommit_memory", "/dev/null",
}

func hostState(t *testing.T) host {
	t.Helper()
	h := host{canary: t.TempDir(), ns: make(map[string]string)}
	for name, text := range map[string]string{"secret": "canary", "passwd": "root:x:0:0::/root:/bin/sh\n", "dir/file": "deep"} {
		path := filepath.Join(h.canary, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	h.mounts = string(mounts)
	entries, err := os.ReadDir("/proc/self/ns")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if h.ns[e.Name()], err = os.Readlink(filepath.Join("/proc/self/ns", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	h.files = h.fingerprint(t)
	return h
}

// fingerprint describes every file that must not change.
func (h host) fingerprint(t *testing.T) map[string]string {
	t.Helper()
	prints := make(map[string]string)
	add := func(path string) {
		st, err := os.Lstat(path)
		if err != nil {
			prints[path] = err.Error()
			return
		}
		sys := st.Sys().(*syscall.Stat_t)
		print := fmt.Sprintf("inode %d mode %v owner %d:%d rdev %x", sys.Ino, st.Mode(), sys.Uid, sys.Gid, sys.Rdev)
		if st.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			print += fmt.Sprintf(" sha256 %x %v", sha256.Sum256(data), err)
			if !strings.HasPrefix(path, "/proc") {
				print += " " + st.ModTime().String()
			}
		}
		prints[path] = print
	}
	for _, path := range hostFiles {
		add(path)
	}
	_ = filepath.WalkDir(h.canary, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		}
		add(path)
		return nil
	})
	add(built.init)
	return prints
}

// check makes sure that the host is as it was. Other tests and programs of this
// machine may mount something meanwhile; what a container leaves would lie in
// the directories of the tests.
func (h host) check(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff(h.files, h.fingerprint(t)); diff != "" {
		t.Errorf("the host has changed (-before +after):\n%s", diff)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if !strings.Contains(h.mounts, line) && strings.Contains(line, os.TempDir()) {
			t.Errorf("the host has a new mount: %s", line)
		}
	}
}

// probeFDs returns the descriptors that a probe had, but for the one it read
// the list with and those of Go's poller.
func probeFDs(p probed) []string {
	var fds []string
	for fd, target := range p.FDs {
		if !strings.HasSuffix(target, "/fd") && !strings.HasPrefix(target, "anon_inode:[event") {
			fds = append(fds, fd)
		}
	}
	slices.Sort(fds)
	return fds
}
