package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// tryRemote runs a command line with an environment, and returns what another
// machine would have been asked.
func tryRemote(t *testing.T, env map[string]string, args ...string) (outcome, *remoteCommand) {
	t.Helper()
	var out, errs bytes.Buffer
	var asked *remoteCommand
	c := testCLI(bystander{})
	c.euid = 1000 // root there is enough
	c.in, c.out, c.err = strings.NewReader(""), &out, &errs
	c.lookup = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	c.there = func(_ context.Context, r remoteCommand) error {
		asked = &r
		return exitCode(7)
	}
	root := newRoot(c, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(t.Context())
	code := report(&errs, cmd, err)
	return outcome{out.String(), errs.String(), code}, asked
}

func TestForward(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "list")
	if err := os.WriteFile(file, []byte("# comment\nA=1\nSET\nUNSET\nB=two words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	labels := filepath.Join(dir, "labels")
	if err := os.WriteFile(labels, []byte("a=b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		line    string // words; _ stands for a space within one
		want    string
		stdin   string
		stdout  string
		reads   bool
		packing string
	}{
		"a verb":                  {line: "ps -aq --no-trunc", want: "ps --all=true --quiet=true --no-trunc=true --"},
		"an object's verb":        {line: "container ls", want: "container ls --"},
		"global flags":            {line: "--root /r --runroot=/s rm -f x", want: "--root=/r --runroot=/s rm --force=true -- x"},
		"those of the caller":     {line: "--config /c rm x", want: "rm -- x"},
		"what is the container's": {line: "run --rm -it busybox sh -c ls_-la --rm", want: "run --rm=true --interactive=true --tty=true -- busybox sh -c ls_-la --rm", reads: true},
		"without input":           {line: "run -i=false busybox", want: "run --interactive=false -- busybox"},
		"lists":                   {line: "run -p 1:1 -p 2:2 -e A=_b -e SET -e UNSET busybox", want: "run --publish=1:1 --publish=2:2 --env=A=_b --env=SET=value -- busybox"},
		"files come first":        {line: "run -e A=2 --env-file " + file + " -l x=y --label-file " + labels + " b", want: "run --env=A=1 --env=SET=value --env=B=two_words --label=a=b --env=A=2 --label=x=y -- b"},
		"exec":                    {line: "exec -e SET c env -e", want: "exec --env=SET=value -- c env -e"},
		"paths of the machine":    {line: "run -v /a:/b -v vol:/c --mount type=bind,src=/x,dst=/y b", want: "run --volume=/a:/b --volume=vol:/c --mount=type=bind,src=/x,dst=/y -- b"},
		"save":                    {line: "save -o " + file + " img", want: "save -- img", stdout: file},
		"export":                  {line: "container export -o" + file + " x", want: "container export -- x", stdout: file},
		"load":                    {line: "load -q -i " + file, want: "load --quiet=true --", stdin: file, reads: true},
		"import a file":           {line: "import " + file + " a:b", want: "import -- - a:b", stdin: file, reads: true},
		"import an address":       {line: "import http://x/y", want: "import -- http://x/y", reads: true},
		"volume import":           {line: "volume import v " + file, want: "volume import -- v -", stdin: file, reads: true},
		"cp":                      {line: "cp - c:/x", want: "cp -- - c:/x", reads: true},
		"attach":                  {line: "attach c", want: "attach -- c", reads: true},
		"version":                 {line: "version", want: "version --"},
		"build of a directory":    {line: "build -t x -f D --build-arg SET --no-cache .", want: "build --tag=x --build-arg=SET=value --no-cache=true --file=.cleat-dockerfile -- -", packing: "cleat-build --pack --file=D -- .", reads: true},
		"build of a tar":          {line: "image build -f D -q -", want: "image build --quiet=true --file=D -- -", reads: true},
		"build of an address":     {line: "build https://h/r.git", want: "build -- https://h/r.git", reads: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := strings.Fields(tt.line)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "_", " ")
			}
			args = append([]string{"-H", "ssh://u@h"}, args...)
			got, r := tryRemote(t, map[string]string{"SET": "value"}, args...)
			if r == nil || got.Code != 7 {
				t.Fatalf("%+v", got)
			}
			if text := strings.ReplaceAll(strings.Join(r.args, "|"), " ", "_"); text != strings.ReplaceAll(tt.want, " ", "|") {
				t.Errorf("cleat %s\nwant %s", text, tt.want)
			}
			if r.stdin != tt.stdin || r.stdout != tt.stdout || r.reads != tt.reads || strings.Join(r.pack, " ") != tt.packing || r.host.Name != "h" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What has succeeded there must not be done here as well.
func TestForwardIsAllThereIs(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"ps", "rm x", "load", "save -o x y", "build .", "run b", "version", "system prune -f"} {
		args := append([]string{"-H", "ssh://h"}, strings.Fields(line)...)
		var out, errs bytes.Buffer
		times := 0
		c := testCLI(bystander{})
		c.in, c.out, c.err = strings.NewReader(""), &out, &errs
		c.enterHost = func(context.Context, *cli) error {
			t.Errorf("%s enters the host of this machine", line)
			return exitCode(1)
		}
		c.open = func(engine.Options) (backend, error) {
			t.Errorf("%s opens the engine of this machine", line)
			return nil, exitCode(1)
		}
		c.there = func(context.Context, remoteCommand) error { times++; return nil }
		root := newRoot(c, args)
		root.SetArgs(args)
		cmd, err := root.ExecuteContextC(t.Context())
		if code := report(&errs, cmd, err); code != 0 || times != 1 || out.Len()+errs.Len() > 0 {
			t.Errorf("%s: code %d, %d times, %q, %q", line, code, times, &out, &errs)
		}
	}
}

func TestForwardRefuses(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"compose up":          "reads files of this machine",
		"serve -H unix:///x":  "serves the API of this machine",
		"quadlet apply x":     "reads files of this machine",
		"cp /etc/passwd c:/x": "takes '-' alone",
		"cp c:/x .":           "takes '-' alone",
		"run --cidfile x b":   "--cidfile writes a file",
		"run -v ./a:/b b":     "has to be absolute",
		"run --mount type=bind,source=./a,dst=/b b": "has to be absolute",
		"run --env-file /nonexistent b":             "no such file",
		"build --secret id=x .":                     "--secret is not sent",
		"build --iidfile x .":                       "--iidfile writes a file",
		"build -o out .":                            "--output writes a file",
		"build -f - -":                              "--file -",
		"run --nosuch b":                            "unknown flag",
	} {
		got, r := tryRemote(t, nil, append([]string{"-H", "ssh://h"}, strings.Fields(line)...)...)
		if r != nil || got.Code == 0 || !strings.Contains(got.Err, want) {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
}

// Which machine is meant: flags, then the environment, then the current context.
func TestTarget(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := func(pairs ...string) map[string]string {
		m := map[string]string{"HOME": home}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, line := range []string{"context create one --docker host=ssh://one", "context create two --docker host=ssh://u@two:22 --description d", "context create three --from two", "context use one"} {
		if got, _ := tryRemote(t, env(), strings.Fields(line)...); got.Code != 0 {
			t.Fatalf("%s: %+v", line, got)
		}
	}
	for _, tt := range []struct {
		env  map[string]string
		line string
		want string // host, "" for this machine
		err  string
	}{
		{env(), "ps", "ssh://one", ""},
		{env(), "-c two ps", "ssh://u@two:22", ""},
		{env(), "--context=three ps", "ssh://u@two:22", ""},
		{env(), "-H ssh://x ps", "ssh://x", ""},
		{env("CLEAT_CONTEXT", "two"), "ps", "ssh://u@two:22", ""},
		{env("CLEAT_CONTEXT", "two", "CLEAT_HOST", "ssh://y"), "ps", "ssh://y", ""},
		{env("CLEAT_HOST", "ssh://y"), "-c one ps", "ssh://one", ""},
		{env("CLEAT_HOST", "ssh://y"), "-H ssh://z ps", "ssh://z", ""},
		{env("XDG_CONFIG_HOME", home+"/.config", "HOME", "/nonexistent"), "ps", "ssh://one", ""},
		{env("CLEAT_CONTEXT", "default"), "ps", "", "needs root"},
		{env(), "-H unix:///run/cleat/cleat.sock ps", "", "needs root"},
		{env("HOME", "/nonexistent"), "ps", "", "needs root"},
		{env("HOME", ""), "ps", "", "needs root"},
		{env(), "-H unix:///var/run/docker.sock ps", "", "cannot reach unix:///var/run/docker.sock"},
		{env(), "-c nope ps", "", `context "nope": not found`},
		{env(), "-c one -H ssh://x ps", "", "conflicting options"},
		{env("CLEAT_HOST", "bad"), "ps", "", "ssh://[USER@]HOST[:PORT]"},
	} {
		got, r := tryRemote(t, tt.env, strings.Fields(tt.line)...)
		host := ""
		if r != nil {
			host = r.host.String()
		}
		if host != tt.want || !strings.Contains(got.Err, tt.err) {
			t.Errorf("%s with %v: %q, %+v; want %q, %q", tt.line, tt.env, host, got, tt.want, tt.err)
		}
	}
}

func TestContexts(t *testing.T) {
	t.Parallel()
	env := map[string]string{"HOME": t.TempDir()}
	for _, tt := range []struct {
		line     string
		out, err string
		code     int
	}{
		{"context show", "default\n", "", 0},
		{"context create a --docker host=ssh://a --description A", "a\n", "Successfully created", 0},
		{"context create a --docker host=ssh://a", "", "already exists", 1},
		{"context create b", "", "no host given", 1},
		{"context create b --docker host=tcp://h,ca=x", "", "ca is not supported", 1},
		{"context create b --docker host=tcp://h", "", "ssh alone", 1},
		{"context create b --docker foo=x", "", "want host=", 1},
		{"context use nope", "", "not found", 1},
		{"context use a", "a\n", `Current context is now "a"`, 0},
		{"context show", "a\n", "", 0},
		{"-H ssh://x context show", "default\n", "", 0},
		{"context ls", "NAME      DESCRIPTION    DOCKER ENDPOINT   ERROR\ndefault   This machine                     \na *       A              ssh://a           \n", "", 0},
		{"context ls -q", "default\na\n", "", 0},
		{"context ls --format {{.Name}}={{.DockerEndpoint}}", "default=\na=ssh://a\n", "", 0},
		{"context inspect -f {{.Endpoints.docker.Host}}", "ssh://a\n", "", 0},
		{"context inspect nope", "", "not found", 1},
		{"context update a --description B --docker host=ssh://b", "a\n", "Successfully updated", 0},
		{"context inspect a -f {{.Metadata.Description}}|{{.Endpoints.Docker.Host}}", "B|ssh://b\n", "", 0},
		{"context rm a", "", "in use", 1},
		{"context rm -f a nope", "a\n", "not found", 1},
		{"context show", "default\n", "", 0},
	} {
		got, r := tryRemote(t, env, strings.Fields(tt.line)...)
		if r != nil || got.Out != tt.out || !strings.Contains(got.Err, tt.err) || got.Code != tt.code {
			t.Errorf("%s: %+v, want %+v", tt.line, got, tt)
		}
	}
}

func TestRemoteShell(t *testing.T) {
	t.Parallel()
	r := remoteCommand{args: []string{"run", "--env=A=it's", "--", "b", "sh", "-c", "echo $HOME; ls"}}
	want := `exec $([ "$(id -u)" = 0 ] || echo sudo) cleat run '--env=A=it'\''s' -- b sh -c 'echo $HOME; ls'`
	if diff := cmp.Diff(want, r.shell()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
