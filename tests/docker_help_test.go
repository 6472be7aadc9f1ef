package tests

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Where cleat's help is meant to differ from Docker's, by the command or its last
// word, and what of it.
var meantHelp = map[string]string{
	"docker usage":              "as Docker's own messages have it, with the arguments",
	"docker short":              "another program",
	"build usage":               "contexts at a URL are refused",
	"builder prune usage":       "Docker's of builder prune leaves [OPTIONS] out",
	"manifest inspect usage":    "cleat looks into no list of manifests that was made here",
	"inspect short":             "there are no Docker objects",
	"manifest short":            "Docker's is a page",
	"system df short":           "another program",
	"system short":              "another program",
	"version short":             "another program",
	"rm --platform type":        "an image is for one platform",
	"rmi --platform type":       "an image is for one platform",
	"connect --driver-opt type": "given several times, it is a list",
	"images --all default":      "there are no intermediate images to hide",
	"ls --all default":          "there are no intermediate images to hide",

	"build --cache-from type":         "given several times, it is a list",
	"--config default":                "the home directory may be another one's",
	"--health-interval default":       "the value that is in force, which Docker's daemon puts in",
	"--health-retries default":        "the value that is in force, which Docker's daemon puts in",
	"--health-start-interval default": "the value that is in force, which Docker's daemon puts in",
	"--health-timeout default":        "the value that is in force, which Docker's daemon puts in",
}

// Flags that Docker has and does not show.
var hiddenFlags = map[string][]string{
	"run":    {"dns-opt", "net", "net-alias", "cpu-count", "cpu-percent", "isolation", "io-maxiops", "io-maxbandwidth", "kernel-memory"},
	"create": {"dns-opt", "net", "net-alias"},
	"stop":   {"time"}, "restart": {"time"},
	"update":    {"kernel-memory"},
	"container": nil,
}

// TestHelpLikeDocker compares the help of every command of Docker's client with
// cleat's: names, aliases, arguments, flags with their shorthands, types and
// defaults. What cleat has not has to be refused by name.
func TestHelpLikeDocker(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("no docker to compare with")
	}
	cleat := filepath.Join(env.bin, "cleat")
	commands := walkHelp(t, "docker", nil)
	if len(commands) < 100 {
		t.Fatalf("docker has %d commands: its help is not understood", len(commands))
	}
	flags := 0
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		words := strings.Fields(name)
		r := finish(exec.Command(cleat, append(words, "--help")...))
		if r.code != 0 {
			if plain(t, r.stderr); !strings.Contains(r.stderr, "is not supported: ") {
				t.Errorf("cleat %s: %v", name, r)
			}
			continue
		}
		want, got := commands[name], parseHelp(r.out)
		for _, d := range helpDifferences(words, want, got) {
			t.Error(d)
		}
		for _, f := range append(slices.Sorted(maps.Keys(want.flags)), hiddenFlags[name]...) {
			if _, ok := got.flags[f]; ok {
				flags++
			} else {
				knowsFlag(t, cleat, words, f)
			}
		}
	}
	if flags < 500 {
		t.Errorf("only %d flags are compared", flags)
	}
}

// knowsFlag fails the test if a flag that the help does not show is unknown: it
// has to be refused, or be another name.
func knowsFlag(t *testing.T, cleat string, words []string, flag string) {
	t.Helper()
	r := finish(exec.Command(cleat, slices.Concat(words, []string{"--" + flag + "=x", "--help=maybe"})...))
	if r.code == 0 || strings.Contains(r.stderr, "unknown flag: --"+flag) {
		t.Errorf("cleat %s --%s: %v", strings.Join(words, " "), flag, r)
	}
	if !strings.Contains(r.stderr, "maybe") { // where it is another name, --help is what is wrong
		plain(t, r.stderr)
	}
}

// helpText is what a command's help says.
type helpText struct {
	usage, short, aliases string
	flags                 map[string]helpFlag
	members               []string
}

// helpFlag is a line of the options.
type helpFlag struct{ short, kind, usage string }

// walkHelp reads the help of a command and of those below it.
func walkHelp(t *testing.T, program string, words []string) map[string]helpText {
	t.Helper()
	r := finish(exec.Command(program, append(words, "--help")...))
	if r.code != 0 {
		t.Fatalf("%s %q: %v", program, words, r)
	}
	h := parseHelp(r.out)
	all := map[string]helpText{strings.Join(words, " "): h}
	for _, m := range h.members {
		maps.Copy(all, walkHelp(t, program, append(slices.Clone(words), m)))
	}
	return all
}

var (
	helpHeading = regexp.MustCompile(`^([A-Z][A-Za-z ]*):$`)
	helpOption  = regexp.MustCompile(`^  (?:(-\w), |    )--([\w-]+)(?: (\S+))?(?:\s{2,}(.*))?$`)
	helpMember  = regexp.MustCompile(`^  ([\w-]+)\*?\s{2,}\S`)
	helpDefault = regexp.MustCompile(`\(default ([^()]*)\)$`)
)

func parseHelp(text string) helpText {
	h := helpText{flags: map[string]helpFlag{}}
	section, flag := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if rest, ok := strings.CutPrefix(line, "Usage:"); ok {
			h.usage, section = strings.TrimSpace(rest), "short"
			continue
		}
		if m := helpHeading.FindStringSubmatch(line); m != nil {
			section, flag = m[1], ""
			continue
		}
		switch {
		case section == "short" && h.short == "":
			h.short = strings.TrimSpace(line)
		case section == "Aliases" && h.aliases == "":
			h.aliases = strings.TrimSpace(line)
		case strings.HasSuffix(section, "Commands"):
			if m := helpMember.FindStringSubmatch(line); m != nil {
				h.members = append(h.members, m[1])
			}
		case strings.HasSuffix(section, "Options"):
			if m := helpOption.FindStringSubmatch(line); m != nil {
				flag = m[2]
				h.flags[flag] = helpFlag{m[1], m[3], m[4]}
			} else if f, ok := h.flags[flag]; ok {
				f.usage += " " + strings.TrimSpace(line)
				h.flags[flag] = f
			}
		}
	}
	return h
}

// helpDifferences lists what is not meant.
func helpDifferences(words []string, want, got helpText) (out []string) {
	last := "docker"
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	compare := func(what, want, got string) {
		want = strings.TrimSuffix(strings.ReplaceAll(want, "docker", "cleat"), ".")
		first, _, _ := strings.Cut(want, ". ") // cleat has the rest in a line of its own
		if first == strings.TrimSuffix(got, ".") || meantHelp[last+" "+what] != "" || meantHelp[strings.Join(words, " ")+" "+what] != "" || meantHelp[what] != "" {
			return
		}
		out = append(out, fmt.Sprintf("cleat %s: %s is %q, Docker's is %q", strings.Join(words, " "), what, got, want))
	}
	compare("usage", want.usage, got.usage)
	compare("short", want.short, got.short)
	compare("aliases", want.aliases, got.aliases)
	for name, w := range want.flags {
		g, ok := got.flags[name]
		if !ok {
			continue
		}
		compare("--"+name+" shorthand", w.short, g.short)
		compare("--"+name+" type", w.kind, g.kind)
		compare("--"+name+" default", defaultOf(w), defaultOf(g))
	}
	for name, g := range got.flags { // an addition must not take a letter of Docker's
		for other, w := range want.flags {
			if g.short != "" && g.short == w.short && name != other {
				out = append(out, fmt.Sprintf("cleat %s: %s is --%s, Docker's is --%s", strings.Join(words, " "), g.short, name, other))
			}
		}
	}
	return out
}

// defaultOf returns the default that the help shows, unless it is that nothing is
// set.
func defaultOf(f helpFlag) string {
	m := helpDefault.FindStringSubmatch(f.usage)
	if m == nil || slices.Contains([]string{"[]", "map[]", "0", "0s"}, m[1]) {
		return ""
	}
	return m[1]
}
