package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/interrupt"
	"github.com/cleat-project/cleat/spec"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	usage := func(msg, line, see, name string, code int) outcome {
		return outcome{Err: "cleat: " + msg + "\n\nUsage:  " + line + "\n\n" + see + " '" + name + " --help' for more information\n", Code: code}
	}
	const run = "cleat run [OPTIONS] IMAGE [COMMAND] [ARG...]"
	tests := map[string]outcome{
		"frobnicate":      {Err: "cleat: 'frobnicate' is not a cleat command\nSee 'cleat --help'\n", Code: 1},
		"image foo":       {Err: "cleat: 'image foo' is not a cleat command\nSee 'cleat image --help'\n", Code: 1},
		"strat":           {Err: "cleat: 'strat' is not a cleat command\nhint: did you mean start or stats?\nSee 'cleat --help'\n", Code: 1},
		"--foo":           usage("unknown flag: --foo", "cleat [OPTIONS] COMMAND [ARG...]", "Run", "cleat", 125),
		"run --foo":       usage("unknown flag: --foo", run, "Run", "cleat run", 125),
		"run":             usage("'cleat run' requires at least 1 argument", run, "See", "cleat run", 1),
		"run -v":          usage("flag needs an argument: 'v' in -v", run, "Run", "cleat run", 125),
		"run -m xx i":     usage(`invalid argument "xx" for "-m, --memory" flag: invalid size: 'xx'`, run, "Run", "cleat run", 125),
		"run --gpus 1 i":  usage("--gpus is not supported: give the container the device nodes and libraries with --device and -v", run, "Run", "cleat run", 125),
		"ps -n x":         usage(`invalid argument "x" for "-n, --last" flag: it is a number`, "cleat ps [OPTIONS]", "Run", "cleat ps", 125),
		"-H tcp://x ps":   {Err: "cleat: host \"tcp://x\": cleat reaches other machines with ssh alone (ssh://USER@HOST); over tcp, use the Docker client: docker -H tcp://x\n", Code: 1},
		"--tls ps":        usage("--tls "+noTLS, "cleat [OPTIONS] COMMAND [ARG...]", "Run", "cleat", 125),
		"context export":  {Err: "cleat: 'cleat context export' " + noBundles + "\n", Code: 1},
		"swarm init --x":  {Err: "cleat: 'cleat swarm' " + noSwarm + "\n", Code: 1},
		"manifest rm x":   {Err: "cleat: 'cleat manifest rm' " + noLists + "\n", Code: 1},
		"run -p x i":      usage(`invalid argument "x" for "-p, --publish" flag: port "x": in the container: "x" is not a port from 0 to 65535`, run, "Run", "cleat run", 125),
		"run --init=x i":  usage(`invalid argument "x" for "--init" flag: it is true or false`, run, "Run", "cleat run", 125),
		"ps --foo":        usage("unknown flag: --foo", "cleat ps [OPTIONS]", "Run", "cleat ps", 125),
		"ps x":            usage("'cleat ps' accepts no arguments", "cleat ps [OPTIONS]", "Run", "cleat ps", 1),
		"stop":            usage("'cleat stop' requires at least 1 argument", "cleat stop [OPTIONS] CONTAINER [CONTAINER...]", "See", "cleat stop", 1),
		"exec a":          usage("'cleat exec' requires at least 2 arguments", "cleat exec [OPTIONS] CONTAINER COMMAND [ARG...]", "See", "cleat exec", 1),
		"tag a":           usage("'cleat tag' requires 2 arguments", "cleat tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "See", "cleat tag", 1),
		"images a b":      usage("'cleat images' requires at most 1 argument", "cleat images [OPTIONS] [REPOSITORY[:TAG]]", "See", "cleat images", 1),
		"container start": usage("'cleat container start' requires at least 1 argument", "cleat container start [OPTIONS] CONTAINER [CONTAINER...]", "See", "cleat container start", 1),
	}
	for line, expect := range tests {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			want(t, try(t, bystander{}, strings.Fields(line)...), expect)
		})
	}
}

func TestGlobalFlagsStandBeforeAndAfterTheVerb(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"--root /a --runroot=/b rm x", "rm --root /a x --runroot /b", "container rm x --root=/a --runroot /b", "--root /a container --runroot /b rm x"} {
		var got engine.Options
		c := testCLI(nil)
		c.out, c.err = io.Discard, io.Discard
		c.open = func(opt engine.Options) (backend, error) { got = opt; return &recorder{}, errors.New("stop here") }
		root := newRoot(c, strings.Fields(line))
		root.SetArgs(strings.Fields(line))
		if err := root.ExecuteContext(t.Context()); err == nil || got.Root != "/a" || got.RunRoot != "/b" {
			t.Errorf("%s: error %v, root %q, run root %q", line, err, got.Root, got.RunRoot)
		}
	}
}

func TestRootIsNeeded(t *testing.T) {
	t.Parallel()
	for line, needs := range map[string]bool{"ps": true, "login -u a -p b": true, "host status": true, "version": false, "--version": false, "": false, "image": false, "completion bash": false, "ps --help": false} {
		c := testCLI(&recorder{})
		c.out, c.err, c.euid = io.Discard, io.Discard, 1000
		entered := errors.New("entered")
		c.enterHost = func(context.Context, *cli) error { return entered }
		root := newRoot(c, strings.Fields(line))
		root.SetArgs(strings.Fields(line))
		err := root.ExecuteContext(t.Context())
		if refused := err != nil && strings.Contains(err.Error(), "this needs root"); refused != needs {
			t.Errorf("%q: error %v, root needed: %v", line, err, needs)
		}
	}
}

func TestCommandsEnterTheHost(t *testing.T) {
	t.Parallel()
	entered := errors.New("entered")
	tests := map[string]bool{
		"ps": true, "run i": true, "image ls": true, "system check": true, "pull x": true,
		"login -u a -p b": true, "logout": true, "version": false, "--version": false, "image": false, "help ps": false, "completion zsh": false,
	}
	for line, enters := range tests {
		c := testCLI(nil)
		c.in, c.out, c.err = strings.NewReader(""), io.Discard, io.Discard
		c.enterHost = func(context.Context, *cli) error { return entered }
		c.open = func(engine.Options) (backend, error) { return nil, errors.New("not here") }
		root := newRoot(c, strings.Fields(line))
		root.SetArgs(strings.Fields(line))
		if err := root.ExecuteContext(t.Context()); errors.Is(err, entered) != enters {
			t.Errorf("%q: error %v, enters the host: %v", line, err, enters)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	got := try(t, bystander{}, "rm", "--help")
	want(t, got, outcome{Out: `Usage:  cleat rm [OPTIONS] CONTAINER [CONTAINER...]

Remove one or more containers

Aliases:
  cleat container rm, cleat container remove, cleat rm

Options:
  -f, --force     Force the removal of a running container (uses SIGKILL)
  -v, --volumes   Remove anonymous volumes associated with the container
`})
	for _, line := range []string{"help rm", "rm -h", "help container rm"} {
		if out := try(t, bystander{}, strings.Fields(line)...); out.Code != 0 || !strings.Contains(out.Out, "Remove one or more containers") || strings.Count(out.Out, "Usage:") != 1 || out.Err != "" {
			t.Errorf("%s: %+v", line, out)
		}
	}
	for _, heading := range []string{"Common Commands:\n  build", "Management Commands:\n  builder", "\nCommands:\n  attach", "Global Options:\n      --config", "Run 'cleat COMMAND --help'"} {
		if out := try(t, bystander{}); !strings.Contains(out.Out, heading) || out.Code != 0 {
			t.Errorf("the root's help lacks %q:\n%s", heading, out.Out)
		}
	}
	if out := try(t, bystander{}, "help", "nope"); out.Code != 1 || out.Err != "cleat: unknown help topic: nope\n" {
		t.Errorf("help nope: %+v", out)
	}
}

func TestATreeOfOneVerbIsThatOfAll(t *testing.T) {
	t.Parallel()
	walk(newRoot(testCLI(nil), nil), func(cmd *cobra.Command) {
		for _, name := range append([]string{cmd.Name()}, cmd.Aliases...) {
			args := append(strings.Fields(cmd.CommandPath())[1:], "--root", "/x")
			if len(args) == 2 {
				return // the root itself
			}
			args[len(args)-3] = name
			one := newRoot(testCLI(nil), append([]string{"--runroot", "/r"}, args...))
			got, _, err := one.Find(args[:len(args)-2])
			if err != nil || got.UseLine() != cmd.UseLine() || got.LocalFlags().FlagUsages() != cmd.LocalFlags().FlagUsages() {
				t.Errorf("%v: error %v, found %q, want %q", args, err, got.UseLine(), cmd.UseLine())
			}
			if top := one.Commands(); !cmd.Hidden && !cmd.HasSubCommands() && cmd.Name() != "help" && len(top) != 1 {
				t.Errorf("%v: the tree has %d commands at the top", args, len(top))
			}
		}
	})
}

// walk calls visit for every command.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

func TestEveryCommandIsComplete(t *testing.T) {
	t.Parallel()
	walk(newRoot(testCLI(nil), nil), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help is %q", path, cmd.Short)
		}
		if cmd.Args == nil && cmd.Name() != "help" {
			t.Errorf("%s: the number of its arguments is not checked", path)
		}
		if aliases := cmd.Annotations[aliasesKey]; aliases != "" && !slices.Contains(strings.Split(aliases, ", "), path) {
			t.Errorf("%s is not among its aliases: %s", path, aliases)
		}
	})
}

func TestRefusedFlagsHaveAReasonAndStayHidden(t *testing.T) {
	t.Parallel()
	fs := newCreate(testCLI(nil)).Flags()
	for _, row := range refusedCreate {
		f := fs.Lookup(row.name)
		if f == nil || !f.Hidden {
			t.Errorf("--%s is not defined, or shown", row.name)
			continue
		}
		err := fs.Set(row.name, "odd value")
		if refused, ok := errors.AsType[refusedError](err); !ok || refused.flag != row.name || refused.reason == "" {
			t.Errorf("--%s: error %v", row.name, err)
		}
		if row.harmless != "" && fs.Set(row.name, row.harmless) != nil {
			t.Errorf("--%s=%s is refused", row.name, row.harmless)
		}
	}
}

func TestSentence(t *testing.T) {
	t.Parallel()
	wrap := func(text string, class error) error { return classError{text, class} }
	tests := []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "plain"},
		{wrap("memory limit 5 bytes: must be at least 6 MiB: invalid", spec.ErrInvalid), "memory limit 5 bytes: must be at least 6 MiB"},
		{wrap(`container name "web" is taken: already exists`, spec.ErrExists), `container name "web" is taken`},
		{wrap("no such container: x: not found", spec.ErrNotFound), "no such container: x"},
		{wrap("volume x: not found", spec.ErrNotFound), "volume x: not found"},
		{ownFailure(&engine.StartError{Name: "web", Code: 127, Message: `exec: "foo": executable file not found in $PATH`}), `exec: "foo": executable file not found in $PATH`},
	}
	for _, tt := range tests {
		if got := sentence(tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

type classError struct {
	text  string
	class error
}

func (e classError) Error() string { return e.text }
func (e classError) Unwrap() error { return e.class }

func TestReport(t *testing.T) {
	t.Parallel()
	start := &engine.StartError{Name: "web", Code: 126, Message: "exec: permission denied"}
	tests := map[string]struct {
		err  error
		want string
		code int
	}{
		"nothing":                 {},
		"a container's code":      {err: exitCode(42), code: 42},
		"one wrapped":             {err: ownFailure(exitCode(42)), code: 42},
		"a failure":               {err: errors.New("bad"), want: "cleat: bad\n", code: 1},
		"several":                 {err: errorList{errors.New("a"), errors.New("b")}, want: "cleat: a\ncleat: b\n", code: 1},
		"a failure of run":        {err: ownFailure(errors.New("bad")), want: "cleat: bad\n\nRun 'cleat run --help' for more information\n", code: 125},
		"a failed start in run":   {err: ownFailure(start), want: "cleat: exec: permission denied\n\nRun 'cleat run --help' for more information\n", code: 126},
		"a failed start in start": {err: errorList{start}, want: "cleat: exec: permission denied\n", code: 1},
		"a failed exec":           {err: execError(start, false), want: "cleat: exec: permission denied\n", code: 126},
		"advice":                  {err: hinted(errors.New("bad"), "do good"), want: "cleat: bad\nhint: do good\n", code: 1},
		"advice within advice":    {err: errors.Join(hinted(errors.New("a"), "x"), hinted(errors.New("b"), "y")), want: "cleat: a; b\nhint: x\nhint: y\n", code: 1},
	}
	cmd, _, err := newRoot(testCLI(nil), nil).Find([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		var out bytes.Buffer
		if code := report(&out, cmd, tt.err); code != tt.code || out.String() != tt.want {
			t.Errorf("%s: code %d, want %d; text %q, want %q", name, code, tt.code, &out, tt.want)
		}
	}
}

func TestReportOfASignal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupt.Error{Signal: 15})
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	for _, err := range []error{context.Canceled, context.Cause(ctx)} {
		var out bytes.Buffer
		if code := report(&out, cmd, err); code != 143 || out.Len() > 0 {
			t.Errorf("%v: code %d, text %q", err, code, &out)
		}
	}
	var out bytes.Buffer
	if code := report(&out, cmd, errors.New("undo failed")); code != 143 || out.String() != "cleat: undo failed\n" {
		t.Errorf("code %d, text %q", code, &out)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := try(t, bystander{}, "--version"); got.Out != "cleat version unknown\n" {
		t.Errorf("%+v", got)
	}
	if got := try(t, bystander{}, "version", "-f", "{{.Client.Version}}/{{.Server.Os}}"); got.Out != "unknown/linux\n" {
		t.Errorf("%+v", got)
	}
	if got := try(t, bystander{}, "version"); !strings.HasPrefix(got.Out, "Client:\n Version:           unknown\n") || !strings.Contains(got.Out, "\n\nServer:\n Engine:\n  Version:           unknown\n") {
		t.Errorf("%+v", got)
	}
}

func BenchmarkNewRoot(b *testing.B) {
	c := testCLI(nil)
	for b.Loop() {
		newRoot(c, []string{"ps", "-a"})
	}
}
