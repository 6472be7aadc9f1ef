package build

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

func mustParse(t *testing.T, source string) *file {
	t.Helper()
	f, err := parse("Dockerfile", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestStagesAreAGraph(t *testing.T) {
	f := mustParse(t, `ARG IMG=base
FROM ${IMG} AS a
FROM scratch AS unused
COPY --from=a /x /x
FROM a AS b
RUN --mount=type=bind,from=2,target=/x true
FROM other AS c
COPY --from=B /x /x
COPY --from=0 /y /y
COPY --from=elsewhere:1 /z /z
`)
	if err := f.link([]string{"IMG=real"}); err != nil {
		t.Fatal(err)
	}
	if f.stages[0].BaseName != "real" {
		t.Errorf("base %q", f.stages[0].BaseName)
	}
	target, err := f.target("")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]bool{0: true, 2: true, 3: true}, f.needed(target)); diff != "" {
		t.Errorf("needed stages (-want +got):\n%s", diff)
	}
	for name, want := range map[string]int{"a": 0, "B": 2, "1": 1} {
		if got, err := f.target(name); err != nil || got != want {
			t.Errorf("target %q: %d %v", name, got, err)
		}
	}
	if _, err := f.target("nope"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("target nope: %v", err)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for source, want := range map[string]string{
		"FROM x\nRUNN y\n":         "unknown instruction: RUNN",
		"FROM x\nCOPY a\n":         "COPY requires at least two arguments",
		"FROM x\nRUN --mount=a=b":  "",
		"RUN x\n":                  "no build stage",
		"FROM x\nADD --foo=1 a b ": "unknown flag: --foo",
	} {
		_, err := parse("Dockerfile", []byte(source))
		var at *SourceError
		if want == "" {
			continue // judged when the step is done
		}
		if !errors.As(err, &at) || !strings.Contains(err.Error(), want) || !strings.Contains(at.Excerpt, ">>>") || !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v", source, err)
		}
	}
	for _, source := range []string{"", "\n\n", "# only a comment\n", "ARG x=1\n"} {
		if _, err := parse("Dockerfile", []byte(source)); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestGlobalArguments(t *testing.T) {
	f := mustParse(t, "ARG A=1\nARG B=$A-2 C\nARG D=${TARGETARCH}\nFROM x\n")
	got, err := f.globals(map[string]string{"A": "given", "C": "c", "X": "unknown"}, platformArgs(engine.Platform{OS: "linux", Architecture: "amd64"}, ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "given", "B": "given-2", "C": "c", "D": "amd64", "X": "", "BUILDPLATFORM": "linux/amd64"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

func TestEnvironmentOutweighsArguments(t *testing.T) {
	s := &state{config: engine.RunConfig{Env: []string{"A=env"}}, args: []string{"A=arg", "B=arg"}}
	if got := s.env(); !slices.Equal(got, []string{"A=env", "B=arg"}) {
		t.Errorf("%q", got)
	}
}

func TestDestinations(t *testing.T) {
	s := &state{config: engine.RunConfig{WorkingDir: "/w"}}
	for dest, want := range map[string]string{"x": "/w/x", "x/": "/w/x/", ".": "/w/", "./": "/w/", "/": "/", "/a/../b": "/b", "../../..": "/", "/a/.": "/a/"} {
		if got, err := s.destination(dest, 1); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", dest, got, err, want)
		}
	}
	if _, err := s.destination("/x", 2); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("two sources: %v", err)
	}
}

func TestModes(t *testing.T) {
	for s, ok := range map[string]bool{"": true, "755": true, "0644": true, "4755": true, "1777": true, "u+x": false, "999": false, "77777": false, "-1": false} {
		if _, err := parseMode(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// The parser is BuildKit's; what is done with its result is ours.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"FROM x\nRUN y\n", "ARG A\nFROM $A AS b\nCOPY --from=0 a b\n", "# escape=`\nFROM x\nRUN a `\n b\n",
		"FROM x\nRUN <<A cat <<B\na\nA\nb\nB\n", "FROM x\nHEALTHCHECK --interval=1s CMD a\nONBUILD RUN x\n",
		"FROM x\nRUN --mount=type=cache,target=/x,id=$A a\n", "FROM x\nEXPOSE ${P:-1}-2/udp\nSHELL [\"a\"]\nENV a=b c=\"d e\"\nARG q=${a#x}\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		file, err := parse("Dockerfile", []byte(source))
		if err != nil {
			if !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("%q: %v", source, err)
			}
			return
		}
		b := &builder{file: file, host: engine.Platform{OS: "linux", Architecture: "amd64"}, usedArgs: map[string]bool{}, opt: Options{Args: map[string]string{"A": "1"}}}
		if b.global, err = file.globals(b.opt.Args, platformArgs(b.host, "")); err != nil {
			return
		}
		if file.link(pairs(b.global)) != nil {
			return
		}
		for i := range file.stages {
			if len(file.needed(i)) == 0 {
				t.Errorf("stage %d does not need itself", i)
			}
			for _, d := range file.stages[i].deps {
				if d >= i {
					t.Errorf("stage %d needs stage %d", i, d)
				}
			}
			s := &state{config: engine.RunConfig{WorkingDir: "/"}}
			for _, cmd := range file.stages[i].Commands {
				_ = b.expand(s, cmd)
				if !isStep(cmd) {
					_ = s.set(cmd)
				}
			}
			if _, err := triggers(s.config.OnBuild); err != nil {
				_ = err.Error()
			}
		}
	})
}
