package main

import (
	"bufio"
	"bytes"
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

// options reads the flags, and where the context is.
func options(f *buildflags.Flags, where string, std stdio) (opt build.Options, err error) {
	opt = build.Options{
		Names: f.Tags, Target: f.Target, Platform: f.Platform, NoCache: f.NoCache, NoCacheStages: splitAll(f.NoCacheFilters), Version: version,
	}
	if f.Pull {
		opt.Pull = engine.PullAlways
	}
	for _, read := range []func(*build.Options, *buildflags.Flags) error{readPairs, readNetwork, readSecrets, readSSH, readCaches, readLimits, readEpoch} {
		if err := read(&opt, f); err != nil {
			return opt, err
		}
	}
	switch fi, err := os.Stat(where); {
	case where == "-":
		return opt, readStdin(&opt, f, std.in)
	case (err != nil || !fi.IsDir()) && build.IsRemote(where):
		return opt, readRemote(&opt, f, where, std.in)
	}
	return opt, readDirectory(&opt, f, where, std.in)
}

func splitAll(values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, strings.Split(v, ",")...)
	}
	return all
}

// readRemote notes a context that is fetched. The Dockerfile is in there unless it
// comes from stdin.
func readRemote(opt *build.Options, f *buildflags.Flags, where string, stdin io.Reader) (err error) {
	opt.Remote, opt.DockerfileName = where, f.File
	if f.File == "-" {
		opt.DockerfileName = build.DefaultDockerfile
		opt.Dockerfile, err = io.ReadAll(io.LimitReader(stdin, maxDockerfile+1))
	}
	return err
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

// errNoArchive says that a file of the context is asked for, and there is no context.
var errNoArchive = errors.New("stdin is not a tar archive, so there is no file to read the Dockerfile from")

// readStdin reads a tar with everything, or a Dockerfile alone.
func readStdin(opt *build.Options, f *buildflags.Flags, stdin io.Reader) error {
	in := bufio.NewReaderSize(stdin, 64<<10)
	head, err := in.Peek(tarHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read stdin: %w", err)
	}
	if f.File == "-" {
		return errors.New("the build context and the Dockerfile cannot both come from stdin")
	}
	if engine.IsArchive(bytes.NewReader(head)) {
		opt.Archive, opt.DockerfileName = in, f.File
		return nil
	}
	if f.File != "" {
		return errNoArchive
	}
	opt.Dockerfile, err = io.ReadAll(io.LimitReader(in, maxDockerfile+1))
	return err
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
			return fmt.Errorf("--build-context %q: want NAME=DIRECTORY, a URL, docker-image://IMAGE or oci-layout://DIRECTORY", c)
		}
		if err := checkContext(value); err != nil {
			return fmt.Errorf("--build-context %q: %w", c, err)
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

// checkContext refuses what no context can be.
func checkContext(value string) error {
	kind, rest, ok := strings.Cut(value, "://")
	switch {
	case !ok || build.IsRemote(value):
		return nil
	case (kind == "docker-image" || kind == "oci-layout") && rest != "":
		return nil
	}
	return fmt.Errorf("%s:// is not supported: give a directory, a URL, docker-image://IMAGE or oci-layout://DIRECTORY", kind)
}

// readSSH reads --ssh ID=SOCKET; without a socket it is the user's agent.
func readSSH(opt *build.Options, f *buildflags.Flags) error {
	opt.SSH = map[string]string{}
	for _, s := range f.SSH {
		id, socket, given := strings.Cut(s, "=")
		if id == "" || strings.ContainsAny(id, "/\x00") {
			return fmt.Errorf("--ssh %q: want default or ID=SOCKET", s)
		}
		if !given {
			if socket = os.Getenv("SSH_AUTH_SOCK"); socket == "" {
				return fmt.Errorf("--ssh %s: no agent runs: SSH_AUTH_SOCK is not set", s)
			}
		}
		fi, err := os.Stat(socket)
		if err != nil {
			return fmt.Errorf("--ssh %s: %w", s, err)
		}
		if fi.Mode().Type() != fs.ModeSocket {
			return fmt.Errorf("--ssh %s: %s is not the socket of an agent: keys are given with ssh-add to one", s, socket)
		}
		opt.SSH[id] = absolute(socket)
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
	l := &opt.Limits
	if f.Memory != "" {
		if l.MemoryBytes, err = units.RAMInBytes(f.Memory); err != nil {
			return fmt.Errorf("--memory: %w", err)
		}
	}
	if f.MemorySwap != "" {
		if err := readSwap(l, f.MemorySwap); err != nil {
			return fmt.Errorf("--memory-swap: %w", err)
		}
	}
	l.CPUShares, l.CPUSet = f.CPUShares, f.CPUSet
	if f.CPUQuota > 0 {
		period := int64(100_000)
		if f.CPUPeriod > 0 {
			period = f.CPUPeriod
		}
		l.CPUMillis = max(f.CPUQuota*1000/period, 1)
	} else if f.CPUPeriod != 0 || f.CPUQuota < 0 {
		return errors.New("--cpu-period goes with --cpu-quota, both above 0")
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

// readSwap reads --memory-swap, which counts memory and swap together.
func readSwap(l *spec.Limits, value string) error {
	if value == "-1" {
		l.SwapBytes = -1
		return nil
	}
	total, err := units.RAMInBytes(value)
	switch {
	case err != nil:
		return err
	case l.MemoryBytes == 0:
		return errors.New("--memory has to be given, too")
	case total < l.MemoryBytes:
		return errors.New("must not be less than --memory: it counts memory and swap together")
	}
	l.SwapBytes, l.NoSwap = total-l.MemoryBytes, total == l.MemoryBytes
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
