package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
)

func TestRunDetached(t *testing.T) {
	t.Parallel()
	m := &maker{}
	want(t, try(t, m, "run", "-d", "-i", "--sig-proxy=false", "img", "cmd"), outcome{Out: "4242\n"})
	expect := defaults()
	expect.Container.Process.Cmd, expect.Container.Process.OpenStdin = []string{"cmd"}, true
	if diff := cmp.Diff([]engine.CreateOptions{expect}, m.got); diff != "" || !slices.Equal(m.started, []string{"4242"}) {
		t.Errorf("started %v, options (-want +got):\n%s", m.started, diff)
	}
}

func TestRunFailures(t *testing.T) {
	t.Parallel()
	const trailer = "\n\nRun 'cleat run --help' for more information\n"
	start := &engine.StartError{Code: 127, Message: `exec: "foo": executable file not found in $PATH`}
	tests := map[string]struct {
		eng  backend
		args []string
		want outcome
	}{
		"attach and detach":      {bystander{}, []string{"-d", "-a", "stdin", "img"}, outcome{Err: "cleat: conflicting options: cannot specify both --attach and --detach\n", Code: 1}},
		"no terminal":            {bystander{}, []string{"-it", "img"}, outcome{Err: "cleat: the input device is not a TTY\n", Code: 1}},
		"detach keys":            {bystander{}, []string{"--detach-keys", "foo", "img"}, outcome{Err: "cleat: invalid detach keys (foo): Unknown character: 'foo'" + trailer, Code: 125}},
		"create fails":           {&maker{fail: errors.New("no space")}, []string{"-d", "img"}, outcome{Err: "cleat: no space" + trailer, Code: 125}},
		"attach fails":           {&failer{attach: errors.New("no broker")}, []string{"img"}, outcome{Err: "cleat: no broker" + trailer, Code: 125}},
		"nothing to attach to":   {&maker{}, []string{"--activate", "proxy", "-p", "80:80", "img"}, outcome{Err: "cleat: conflicting options: with --activate nothing runs yet that could be attached to: add --detach (-d)" + trailer, Code: 125}},
		"the command is missing": {&failer{start: start}, []string{"-d", "img"}, outcome{Err: "cleat: " + start.Message + trailer, Code: 127}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, try(t, tt.eng, append([]string{"run"}, tt.args...)...), tt.want)
		})
	}
}

// failer is a maker whose containers do not start, or have no streams.
type failer struct {
	maker
	attach, start error
}

func (f *failer) Attach(context.Context, string, engine.AttachOptions) (*engine.Session, error) {
	return nil, f.attach
}
func (f *failer) Launch(context.Context, string) error { return f.start }

func (f *failer) Start(context.Context, string) error { return f.start }

func TestStreamsThatARunAttaches(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want streams
	}{
		"all but stdin":      {nil, streams{stdout: true, stderr: true}},
		"stdin with -i":      {[]string{"-i"}, streams{stdin: true, stdout: true, stderr: true}},
		"a terminal":         {[]string{"-t"}, streams{stdout: true, stderr: true, tty: true}},
		"what --attach says": {[]string{"-i", "-a", "stderr"}, streams{stderr: true}},
		"--attach stdin":     {[]string{"-a", "STDIN", "-a", "stdout"}, streams{stdin: true, stdout: true}},
	}
	for name, tt := range tests {
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		f := newCreateFlags(fs, testCLI(nil))
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		if got := f.streams(false); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
