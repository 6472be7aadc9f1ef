package tree

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlaceFollowsDockersRules(t *testing.T) {
	t.Parallel()
	file, dir, content := Source{Path: "/src/f"}, Source{Path: "/src/d", IsDir: true}, Source{Path: "/src/d/.", IsDir: true}
	tests := map[string]struct {
		src       Source
		dst       Target
		dir, name string
		err       string
	}{
		"a file into a directory":                 {file, Target{"/dst", true, true}, "/dst", "f", ""},
		"a file onto a file":                      {file, Target{"/dst/g", true, false}, "/dst", "g", ""},
		"a file to a new name":                    {file, Target{Path: "/dst/g"}, "/dst", "g", ""},
		"a file to a new name in the root":        {file, Target{Path: "/g"}, "/", "g", ""},
		"a file to a directory that is not there": {file, Target{Path: "/dst/"}, "", "", `no such directory: "/dst/"`},
		"a file to a dot that is not there":       {file, Target{Path: "/dst/."}, "", "", `no such directory: "/dst/."`},
		"a directory into a directory":            {dir, Target{"/dst/", true, true}, "/dst/", "d", ""},
		"a directory to a new name":               {dir, Target{Path: "/dst/n"}, "/dst", "n", ""},
		"a directory to a new name with a slash":  {dir, Target{Path: "/dst/n/"}, "/dst", "n", ""},
		"a directory to a new name with a dot":    {dir, Target{Path: "/dst/n/."}, "/dst/n", ".", ""},
		"a directory onto a file":                 {dir, Target{"/dst/f", true, false}, "", "", `cannot copy directory "/src/d": "/dst/f" is a file`},
		"content into a directory":                {content, Target{"/dst", true, true}, "/dst", ".", ""},
		"content to a new name":                   {content, Target{Path: "/dst/n"}, "/dst", "n", ""},
		"the root into a directory":               {Source{Path: "/", IsDir: true}, Target{"/dst", true, true}, "/dst", "/", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, base, err := Place(tt.src, tt.dst)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff([]string{tt.dir, tt.name, tt.err}, []string{dir, base, text}); diff != "" {
				t.Errorf("Place (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCleanKeepsWhatMeansADirectory(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"": "/.", "/": "/", ".": "/.", "a": "/a", "a/": "/a/", "/a/.": "/a/.", "a/..": "/", "../../a": "/a",
		"a/../b/": "/b/", "/a//b": "/a/b", "a/./b": "/a/b", "/a/./": "/a/./",
	}
	for in, want := range tests {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}
