package quadlet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var program = Program{Cleat: "/usr/bin/cleat"}

// The files in testdata say themselves what is expected of them:
//
//	## name NAME, ## image IMAGE      of the object
//	## flag FLAG VALUE, ## arg WORD   all of them, in any order
//	## line LINE, ## link PATH        of the unit, among others
//	## problem LINE TEXT              all of them
func TestFixtures(t *testing.T) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	set, files, problems := Set{}, map[string]*File{}, map[string]error{}
	texts := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join("testdata", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[e.Name()] = string(data)
		f, err := Parse("/etc/quadlets/"+e.Name(), string(data))
		problems[e.Name()] = err
		if f != nil {
			files[e.Name()] = f
		}
		if err == nil {
			set[e.Name()] = f
		}
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			want, err := expectations(text), problems[name]
			var o *Object
			if f := files[name]; f != nil {
				var more error
				o, more = set.Object(f)
				err = errors.Join(err, more)
			}
			checkProblems(t, want["problem"], err)
			if err == nil {
				checkObject(t, want, o)
			}
		})
	}
}

// expectations returns what a fixture says after each word.
func expectations(text string) map[string][]string {
	want := map[string][]string{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			word, value, _ := strings.Cut(rest, " ")
			want[word] = append(want[word], value)
		}
	}
	return want
}

func checkProblems(t *testing.T, want []string, err error) {
	t.Helper()
	got := flatten(err)
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d", len(got), len(want))
	}
	for _, p := range got {
		text := fmt.Sprintf("%d %s", p.Line, p.Text)
		fits := func(w string) bool {
			line, words, _ := strings.Cut(w, " ")
			return strings.HasPrefix(text, line+" ") && strings.Contains(text, words)
		}
		if !slices.ContainsFunc(want, fits) {
			t.Errorf("not expected: %s", text)
		}
	}
}

func flatten(err error) []*Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Problem
		for _, one := range joined.Unwrap() {
			all = append(all, flatten(one)...)
		}
		return all
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		return []*Problem{p}
	}
	return nil
}

func checkObject(t *testing.T, want map[string][]string, o *Object) {
	t.Helper()
	if want["name"] != nil && o.Name != want["name"][0] {
		t.Errorf("name %q", o.Name)
	}
	if want["image"] != nil && o.Image != want["image"][0] {
		t.Errorf("image %q", o.Image)
	}
	var flags []string
	for _, s := range o.Settings {
		flags = append(flags, s.Flag+" "+s.Value)
	}
	slices.Sort(flags)
	slices.Sort(want["flag"])
	if diff := cmp.Diff(want["flag"], flags); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want["arg"], o.Args); diff != "" {
		t.Errorf("words of the command (-want +got):\n%s", diff)
	}
	unit := o.Service("", program)
	for _, line := range want["line"] {
		if !slices.Contains(strings.Split(unit, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, unit)
		}
	}
	links := o.Links("UNIT")
	for _, link := range want["link"] {
		if links[link] == "" {
			t.Errorf("no link %s among %v", link, links)
		}
	}
	for link := range links {
		if strings.Contains(link, "..") {
			t.Errorf("link %s", link)
		}
	}
}

// A changed description has another digest, and so has one whose volume changed.
func TestDigest(t *testing.T) {
	digest := func(web, data string) string {
		set := Set{}
		for name, text := range map[string]string{"web.container": "[Container]\nImage=x\nVolume=data.volume:/d\n" + web, "data.volume": "[Volume]\n" + data} {
			f, err := Parse("/q/"+name, text)
			if err != nil {
				t.Fatal(err)
			}
			set[name] = f
		}
		o, err := set.Object(set["web.container"])
		if err != nil {
			t.Fatal(err)
		}
		return set.Digest(o)
	}
	a, b, c := digest("", ""), digest("Label=a=b\n", ""), digest("", "Label=a=b\n")
	if a != digest("", "") || a == b || a == c || b == c {
		t.Errorf("digests %s, %s, %s", a, b, c)
	}
}

// The first directory counts, drop-ins add, and files of other kinds are left alone.
func TestReadDirs(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		first + "/web.container":                  "[Container]\nImage=first\n",
		second + "/web.container":                 "[Container]\nImage=second\n",
		second + "/web.container.d/10-label.conf": "[Container]\nLabel=a=b\n",
		second + "/sub/other.container":           "[Container]\nImage=other\n",
		second + "/cleat.yaml":                    "not: a quadlet\n",
		second + "/bad.container":                 "nonsense\n",
		second + "/old.kube":                      "[Kube]\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := ReadDirs([]string{first, second, first + "/there-is-no-such-directory"})
	if diff := cmp.Diff([]string{"other.container", "web.container"}, set.Names()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if len(flatten(err)) != 2 {
		t.Errorf("problems: %v", err)
	}
	o, err := set.Object(set["web.container"])
	if err != nil || o.Image != "first" || len(o.Settings) != 1 || o.Settings[0].Value != "a=b" {
		t.Errorf("object %+v, %v", o, err)
	}
}

// Whatever a file says, it makes no panic, and no line in the unit but for its own.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"everything.container", "problems.container", "refers.container"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("[Container]\nImage=x\n[Unit]\nDescription=a\\")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("/q/web.container", text)
		if err != nil {
			return
		}
		o, err := Set{"web.container": file}.Object(file)
		if err != nil {
			return
		}
		unit := o.Service("", program)
		entries := 0
		for _, section := range []string{"Unit", "Service", "Container"} {
			entries += len(file.sections[section])
		}
		const own = 11 // of a container: comment, sections, blank lines, SourcePath=, After=, Environment=, two commands
		if lines := strings.Count(unit, "\n"); lines-entries > own+2 {
			t.Errorf("%d lines for %d entries:\n%s", lines, entries, unit)
		}
		for line := range strings.Lines(unit) {
			if strings.HasSuffix(line, "\\\n") {
				t.Errorf("line %q goes on", line)
			}
		}
		_ = o.Links("cleat-web.service")
	})
}
