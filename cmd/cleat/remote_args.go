package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/internal/contexts"
)

// Why commands and flags do not work with another machine.
const (
	readsFiles   = "reads files of this machine: copy them to the other one and run it there, or use docker compose with DOCKER_HOST=ssh://…"
	readsUnits   = "reads files of this machine: copy them to the other one and run it there"
	writesFile   = "writes a file of this machine, which cannot be done from the other one: redirect the output"
	sendsSecrets = "is not sent to another machine: build there"
	relativePath = "is a path of the other machine, so it has to be absolute"
)

// refusedElsewhere are the commands that do not work on another machine.
var refusedElsewhere = map[string]string{
	"compose":       readsFiles,
	"quadlet apply": readsUnits,
	"serve":         "serves the API of this machine: run it there",
}

// forward rewrites a command line for another machine.
func (c *cli) forward(cmd *cobra.Command, h contexts.Host) (remoteCommand, error) {
	r := remoteCommand{host: h, reads: alwaysReads[cmd.Name()]}
	for _, f := range [][2]string{{"--root=", c.root}, {"--runroot=", c.runRoot}} {
		if f[1] != "" {
			r.args = append(r.args, f[0]+f[1])
		}
	}
	r.args = append(r.args, strings.Fields(verbPath(cmd))...)
	given, positional, err := flagsGiven(cmd, c.args)
	if err != nil {
		return r, err
	}
	var front, rest []string // files come first: what is given by itself outweighs them
	for _, f := range given {
		words, first, err := c.carry(&r, cmd, f)
		if err != nil {
			return r, err
		}
		if first {
			front = append(front, words...)
		} else {
			rest = append(rest, words...)
		}
	}
	r.args = append(append(r.args, front...), rest...)
	if positional, err = c.carryArgs(&r, cmd, given, positional); err != nil {
		return r, err
	}
	r.args = append(append(r.args, "--"), positional...)
	return r, nil
}

// alwaysReads are the verbs that read stdin without being told to.
var alwaysReads = map[string]bool{"attach": true, "load": true, "login": true, "cp": true, "import": true, "build": true}

// givenFlag is a flag as it was given.
type givenFlag struct{ name, value string }

// flagsGiven takes a command line apart, with each flag as often as it is given.
func flagsGiven(cmd *cobra.Command, args []string) (flags []givenFlag, positional []string, err error) {
	_, own, err := cmd.Root().Traverse(args)
	if err != nil {
		return nil, nil, err
	}
	fs := cmd.Flags()
	err = fs.ParseAll(own, func(f *pflag.Flag, value string) error {
		if cmd.Root().PersistentFlags().Lookup(f.Name) == nil { // those are the caller's side of things
			flags = append(flags, givenFlag{f.Name, value})
		}
		return nil
	})
	return flags, fs.Args(), err
}

// carry rewrites one flag. First says that others of the same name outweigh it.
func (c *cli) carry(r *remoteCommand, cmd *cobra.Command, f givenFlag) (words []string, first bool, err error) {
	as := []string{"--" + f.name + "=" + f.value}
	refused := func(reason string) ([]string, bool, error) { return nil, false, fmt.Errorf("--%s %s", f.name, reason) }
	if cmd.Name() == "build" {
		switch f.name {
		case "file":
			return nil, false, nil // goes with the context
		case "secret", "ssh", "build-context", "cache-from", "cache-to":
			return refused(sendsSecrets)
		case "iidfile", "metadata-file", "output":
			return refused(writesFile)
		}
	}
	switch f.name {
	case "env-file":
		words, err = listFlag("--env=", f.value, func(r io.Reader) ([]string, error) { return opts.ReadEnvFile(r, c.lookup) })
		return words, true, err
	case "label-file":
		words, err = listFlag("--label=", f.value, opts.ReadLabelFile)
		return words, true, err
	case "env", "build-arg":
		if !strings.Contains(f.value, "=") {
			value, ok := c.lookup(f.value)
			if !ok {
				return nil, false, nil // as Docker has it: it is not set here
			}
			as[0] += "=" + value
		}
	case "cidfile":
		return refused(writesFile)
	case "volume", "mount", "security-opt":
		if isRelative(f) {
			return refused(fmt.Sprintf("%q: %s", f.value, relativePath))
		}
	case "output":
		r.stdout = f.value
		return nil, false, nil
	case "input":
		r.stdin = f.value
		return nil, false, nil
	case "interactive":
		r.reads = r.reads || f.value == "true"
	case "password-stdin":
		r.reads = true
	}
	return as, false, nil
}

func listFlag(prefix, path string, read func(io.Reader) ([]string, error)) (words []string, err error) {
	list, err := readListFile(path, read)
	for _, v := range list {
		words = append(words, prefix+v)
	}
	return words, err
}

// isRelative reports whether a flag names a file from the caller's directory on.
func isRelative(f givenFlag) bool {
	switch f.name {
	case "volume":
		return strings.HasPrefix(f.value, ".")
	case "security-opt":
		key, value, _ := strings.Cut(f.value, "=")
		return key == "seccomp" && !filepath.IsAbs(value) && value != "unconfined" && value != "builtin"
	}
	for _, field := range strings.Split(f.value, ",") {
		if key, value, _ := strings.Cut(field, "="); (key == "src" || key == "source") && strings.HasPrefix(value, ".") {
			return true
		}
	}
	return false
}

// carryArgs rewrites arguments that are files.
func (c *cli) carryArgs(r *remoteCommand, cmd *cobra.Command, given []givenFlag, args []string) ([]string, error) {
	switch path := verbPath(cmd); {
	case cmd.Name() == "cp":
		for _, a := range args {
			if container, _ := splitCopyArg(a); container == "" && a != "-" {
				return nil, hinted(fmt.Errorf("%q is a file of this machine: 'cleat cp' with another machine takes '-' alone, a tar archive", a),
					"to send: tar -c FILE | cleat cp - CONTAINER:DIRECTORY; to fetch: cleat cp CONTAINER:FILE - | tar -x")
			}
		}
	case path == "volume import" && args[1] != "-":
		r.reads, r.stdin = true, args[1]
		return []string{args[0], "-"}, nil
	case (path == "import" || path == "image import") && args[0] != "-" && !strings.Contains(args[0], "://"):
		r.stdin = args[0]
		return append([]string{"-"}, args[1:]...), nil
	case cmd.Name() == "build":
		return c.carryContext(r, given, args[0])
	}
	return args, nil
}

// carryContext rewrites the context of a build: a directory is packed here.
func (c *cli) carryContext(r *remoteCommand, given []givenFlag, where string) ([]string, error) {
	file := ""
	for _, f := range given {
		if f.name == "file" {
			file = f.value
		}
	}
	if where == "-" || isRemoteContext(where) {
		if file == "-" {
			return nil, errors.New("--file - is read on this machine: give it with a directory")
		}
		if file != "" {
			r.args = append(r.args, "--file="+file)
		}
		return []string{where}, nil
	}
	r.pack = []string{"cleat-build", "--pack", "--file=" + file, "--", where}
	r.args = append(r.args, "--file="+packedDockerfile)
	return []string{"-"}, nil
}

// packedDockerfile is what "cleat-build --pack" calls the Dockerfile.
const packedDockerfile = ".cleat-dockerfile"

// isRemoteContext reports whether a build context is an address.
func isRemoteContext(s string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
