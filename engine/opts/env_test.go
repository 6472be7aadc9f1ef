package opts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// caller is an environment with two variables.
func caller(name string) (string, bool) {
	switch name {
	case "SET":
		return "from caller", true
	case "EMPTY":
		return "", true
	}
	return "", false
}

func TestEnv(t *testing.T) {
	t.Parallel()
	check(t, EnvParser(caller), map[string]result[string]{
		"A=1":     ok("A=1"),
		"A=":      ok("A="),
		"A=b=c":   ok("A=b=c"),
		"A= \"q'": ok("A= \"q'"),
		"SET":     ok("SET=from caller"),
		"EMPTY":   ok("EMPTY="),
		"UNSET":   ok(""),
		"=1":      bad[string]("invalid environment variable: =1"),
		"":        bad[string]("invalid environment variable"),
	})
}

func TestReadEnvFile(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want []string
		err  string
	}{
		"pairs in order":                     {in: "B=2\nA=1\n", want: []string{"B=2", "A=1"}},
		"no line end at the end":             {in: "A=1", want: []string{"A=1"}},
		"comments and empty lines":           {in: "# c\n\n  \t\n  # d\nA=1 # kept\n", want: []string{"A=1 # kept"}},
		"quotes mean nothing":                {in: `A="x y"`, want: []string{`A="x y"`}},
		"space before a name is cut":         {in: "  A= x ", want: []string{"A= x "}},
		"a name alone is the caller's":       {in: "SET\nEMPTY\nUNSET\n", want: []string{"SET=from caller", "EMPTY="}},
		"a byte order mark is cut":           {in: "\xef\xbb\xbfA=1", want: []string{"A=1"}},
		"carriage returns end lines":         {in: "A=1\r\nB=2\r\n", want: []string{"A=1", "B=2"}},
		"white space in a name is refused":   {in: "A B=1", err: "variable 'A B' contains whitespaces"},
		"space before = is refused":          {in: "A =1", err: "variable 'A ' contains whitespaces"},
		"an empty name is refused":           {in: "=1", err: "no variable name on line '=1'"},
		"bytes that are no text are refused": {in: "A=1\nB=\xff", err: "line 2"},
		"a line of several megabytes":        {in: "A=" + strings.Repeat("x", maxLine), err: "longer than"},
	}
	for name, tt := range tests {
		got, err := ReadEnvFile(strings.NewReader(tt.in), caller)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error is %v, want one with %q", name, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func FuzzReadEnvFile(f *testing.F) {
	f.Add("A=1\n# c\nSET\n")
	f.Add("\xef\xbb\xbf =")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ReadEnvFile(strings.NewReader(text), caller)
		if err != nil {
			return
		}
		for _, pair := range got {
			name, _, ok := strings.Cut(pair, "=")
			if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.Contains(pair, "\n") {
				t.Errorf("file %q gives %q", text, pair)
			}
		}
	})
}

func TestMergeEnv(t *testing.T) {
	t.Parallel()
	got := MergeEnv([]string{"A=file", "B=file", "A=file2"}, []string{"C=1", "A=flag", "", "D"})
	if diff := cmp.Diff([]string{"A=flag", "B=file", "C=1", "D"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := MergeEnv(nil, nil); got != nil {
		t.Errorf("nothing gives %v, want nil", got)
	}
}

func TestLabel(t *testing.T) {
	t.Parallel()
	check(t, Label, map[string]result[string]{
		"a=b c":  ok("a=b c"),
		"a":      ok("a"),
		"a.b/c=": ok("a.b/c="),
		"=3":     bad[string]("invalid label '=3': empty name"),
		" =3":    bad[string]("empty name"),
		"a b=3":  bad[string]("contains whitespaces"),
	})
	got, err := ReadLabelFile(strings.NewReader("a=1\nb\n# c\n"))
	if diff := cmp.Diff(map[string]string{"a": "flag", "b": ""}, Map(got, []string{"a=flag"})); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}
