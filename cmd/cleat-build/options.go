package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	units "github.com/docker/go-units"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/buildflags"
	"github.com/cleat-project/cleat/spec"
)

// options reads the flags, and the context where it is. Done removes what was
// unpacked, also after an error.
func options(ctx context.Context, f *buildflags.Flags, where string, std stdio) (opt build.Options, done func(), err error) {
	done = func() {}
	opt = build.Options{Names: f.Tags, Target: f.Target, Platform: f.Platform, NoCache: f.NoCache, Version: version}
	if f.Pull {
		opt.Pull = engine.PullAlways
	}
	for _, read := range []func(*build.Options, *buildflags.Flags) error{readPairs, readNetwork, readSecrets, readLimits, readEpoch} {
		if err := read(&opt, f); err != nil {
			return opt, done, err
		}
	}
	switch {
	case where == "-":
		done, err = readStdin(ctx, &opt, f, std.in)
	case strings.Contains(where, "://") || strings.HasPrefix(where, "git@") || strings.HasPrefix(where, "github.com/"):
		err = fmt.Errorf("build context %q: remote contexts are not supported: fetch it and give the directory, or the tar on stdin", where)
	default:
		err = readDirectory(&opt, f, where, std.in)
	}
	return opt, done, err
}

// maxDockerfile is how large a Dockerfile may be, in bytes.
const maxDockerfile = 16 << 20

// readDirectory reads a context that is a directory. As in Docker, the path of the
// Dockerfile is the user's and not the context's.
func readDirectory(opt *build.Options, f *buildflags.Flags, dir string, stdin io.Reader) (err error) {
	if fi, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !fi.IsDir() {
		return fmt.Errorf("build context %q: must be an existing directory", dir)
	}
	inside := build.DefaultDockerfile
	switch f.File {
	case "-":
		opt.DockerfileName, inside = "Dockerfile", ""
		opt.Dockerfile, err = io.ReadAll(io.LimitReader(stdin, maxDockerfile+1))
	case "":
		opt.DockerfileName = filepath.Join(dir, build.DefaultDockerfile)
		if opt.Dockerfile, err = readFile(opt.DockerfileName); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read Dockerfile: %s: no such file", opt.DockerfileName)
		}
		opt.DockerfileName = build.DefaultDockerfile
	default:
		opt.DockerfileName = f.File
		if rel, err := filepath.Rel(absolute(dir), absolute(f.File)); err == nil && !strings.HasPrefix(rel, "../") {
			inside = rel
		} else {
			inside = ""
		}
		if opt.Dockerfile, err = readFile(f.File); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read Dockerfile: %s: no such file", f.File)
		}
	}
	if err != nil {
		return fmt.Errorf("read Dockerfile: %w", err)
	}
	opt.Context, err = build.OpenContext(dir, inside)
	return err
}

func absolute(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	return io.ReadAll(io.LimitReader(file, maxDockerfile+1))
}

// tarHead is how much of stdin is looked at to tell a tar from a Dockerfile.
const tarHead = 1024

// readStdin reads a tar with everything, or a Dockerfile alone.
func readStdin(ctx context.Context, opt *build.Options, f *buildflags.Flags, stdin io.Reader) (done func(), err error) {
	done = func() {}
	in := bufio.NewReaderSize(stdin, 64<<10)
	head, err := in.Peek(tarHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return done, fmt.Errorf("read stdin: %w", err)
	}
	if f.File == "-" {
		return done, errors.New("the build context and the Dockerfile cannot both come from stdin")
	}
	if !engine.IsArchive(bytes.NewReader(head)) {
		if f.File != "" {
			return done, errors.New("stdin is not a tar archive, so there is no file to read the Dockerfile from")
		}
		opt.Dockerfile, err = io.ReadAll(io.LimitReader(in, maxDockerfile+1))
		return done, err
	}
	opt.DockerfileName = f.File
	if opt.DockerfileName == "" {
		opt.DockerfileName = build.DefaultDockerfile
	}
	opt.Context, done, err = build.UnpackContext(ctx, in, opt.DockerfileName)
	if err != nil {
		return func() {}, err
	}
	if opt.Dockerfile, err = opt.Context.ReadFile(opt.DockerfileName, maxDockerfile); err != nil {
		return done, fmt.Errorf("read Dockerfile of the context: %w", err)
	}
	return done, nil
}

// readPairs reads flags of the form NAME=VALUE.
func readPairs(opt *build.Options, f *buildflags.Flags) error {
	opt.Args, opt.Labels, opt.Contexts = map[string]string{}, map[string]string{}, map[string]string{}
	for _, arg := range f.BuildArgs {
		name, value, given := strings.Cut(arg, "=")
		if name == "" {
			return fmt.Errorf("--build-arg %q: want NAME=VALUE", arg)
		}
		if !given {
			if value, given = os.LookupEnv(name); !given {
				continue // as in Docker: it is not set here
			}
		}
		opt.Args[name] = value
	}
	for _, l := range f.Labels {
		name, value, _ := strings.Cut(l, "=")
		if name == "" {
			return fmt.Errorf("--label %q: want NAME=VALUE", l)
		}
		opt.Labels[name] = value
	}
	for _, c := range f.Contexts {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" || value == "" {
			return fmt.Errorf("--build-context %q: want NAME=DIRECTORY or NAME=docker-image://IMAGE", c)
		}
		if kind, _, ok := strings.Cut(value, "://"); ok && kind != "docker-image" {
			return fmt.Errorf("--build-context %q: %s:// is not supported: give a directory or docker-image://IMAGE", c, kind)
		}
		opt.Contexts[name] = value
	}
	for _, name := range f.Tags {
		if _, err := engine.ParseReference(name); err != nil {
			return fmt.Errorf("--tag: %w", err)
		}
	}
	return nil
}

// readNetwork reads what RUN is connected with.
func readNetwork(opt *build.Options, f *buildflags.Flags) error {
	if f.Network != "default" {
		opt.Network = f.Network
	}
	for _, a := range f.Allow {
		if a != "network.host" {
			return fmt.Errorf("--allow %s is not supported: only network.host is", a)
		}
		opt.AllowHost = true
	}
	for _, h := range f.Hosts {
		i := strings.IndexAny(h, ":=")
		if i < 0 {
			return fmt.Errorf("--add-host %q: want NAME:ADDRESS", h)
		}
		name, address := h[:i], strings.Trim(h[i+1:], "[]")
		if name == "" || net.ParseIP(address) == nil && address != "host-gateway" {
			return fmt.Errorf("--add-host %q: want NAME:ADDRESS", h)
		}
		opt.Hosts = append(opt.Hosts, name+":"+address)
	}
	return nil
}

// readSecrets reads --secret id=ID,src=FILE or ,env=NAME.
func readSecrets(opt *build.Options, f *buildflags.Flags) error {
	opt.Secrets = map[string][]byte{}
	for _, s := range f.Secrets {
		fields := map[string]string{}
		for _, field := range strings.Split(s, ",") {
			k, v, _ := strings.Cut(field, "=")
			fields[strings.ToLower(k)] = v
		}
		id, file, env := fields["id"], fields["src"]+fields["source"], fields["env"]
		if id == "" || strings.ContainsAny(id, "/\x00") {
			return fmt.Errorf("--secret %q: want id=NAME,src=FILE or id=NAME,env=VARIABLE", s)
		}
		if file == "" {
			if value, ok := os.LookupEnv(env); ok || env != "" {
				opt.Secrets[id] = []byte(value)
				continue
			}
			if value, ok := os.LookupEnv(id); ok {
				opt.Secrets[id] = []byte(value)
				continue
			}
			file = id
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--secret id=%s: %w", id, err)
		}
		opt.Secrets[id] = data
	}
	return nil
}

func readLimits(opt *build.Options, f *buildflags.Flags) (err error) {
	if f.Memory != "" {
		if opt.Limits.MemoryBytes, err = units.RAMInBytes(f.Memory); err != nil {
			return fmt.Errorf("--memory: %w", err)
		}
	}
	if f.ShmSize != "" {
		if opt.ShmBytes, err = units.RAMInBytes(f.ShmSize); err != nil {
			return fmt.Errorf("--shm-size: %w", err)
		}
	}
	for _, u := range f.Ulimits {
		parsed, err := units.ParseUlimit(u)
		if err != nil {
			return fmt.Errorf("--ulimit: %w", err)
		}
		opt.Ulimits = append(opt.Ulimits, spec.Ulimit{Name: parsed.Name, Soft: parsed.Soft, Hard: parsed.Hard})
	}
	return nil
}

// readEpoch takes the time of the build from the argument SOURCE_DATE_EPOCH, else
// from the variable of that name.
func readEpoch(opt *build.Options, _ *buildflags.Flags) (err error) {
	const name = "SOURCE_DATE_EPOCH"
	value, ok := opt.Args[name]
	if !ok {
		if value, ok = os.LookupEnv(name); ok && value != "" {
			opt.Args[name] = value
		}
	}
	opt.Epoch, err = build.ParseEpoch(value)
	return err
}

// number is strconv.Itoa for the printer.
func number(n int) string { return "#" + strconv.Itoa(n) }
