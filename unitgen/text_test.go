package unitgen

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestTextForms(t *testing.T) {
	tests := map[string]struct {
		property Property
		want     string
	}{
		"seconds":                         {Property{"TimeoutStopUSec", uint64(3_000_000)}, "TimeoutStopSec=3s"},
		"milliseconds":                    {Property{"RestartUSec", uint64(1500_000)}, "RestartSec=1500ms"},
		"microseconds":                    {Property{"RestartUSec", uint64(7)}, "RestartSec=7us"},
		"no time limit":                   {Property{"TimeoutStopUSec", Infinity}, "TimeoutStopSec=infinity"},
		"whole CPUs":                      {Property{"CPUQuotaPerSecUSec", uint64(2_000_000)}, "CPUQuota=200%"},
		"a thousandth of a CPU":           {Property{"CPUQuotaPerSecUSec", uint64(1000)}, "CPUQuota=0.10%"},
		"CPU ranges":                      {Property{"AllowedCPUs", []byte{0b10110111, 0b1}}, "AllowedCPUs=0-2 4-5 7-8"},
		"limit without a soft one":        {Property{"LimitCORE", uint64(5)}, "LimitCORE=5:5"},
		"boolean":                         {Property{"Delegate", true}, "Delegate=yes"},
		"percent sign in text":            {Property{"Description", "100%n"}, "Description=100%%n"},
		"newline in text":                 {Property{"Description", "a\nb"}, "Description=a?b"},
		"backslash at the end of text":    {Property{"Description", `a\`}, "Description=a?"},
		"spaces at the end of text":       {Property{"Description", " a "}, "Description=a"},
		"words with spaces":               {Property{"RequiresMountsFor", []string{"/a b", "/c"}}, `RequiresMountsFor="/a b" /c`},
		"command that may fail":           {Property{"ExecStart", []Exec{{Path: "/x", Args: []string{"/x"}, IgnoreFailure: true}}}, "ExecStart=-/x"},
		"command by another name":         {Property{"ExecStart", []Exec{{Path: "/x", Args: []string{"y", "z"}}}}, "ExecStart=@/x y z"},
		"variable, specifier and newline": {Property{"ExecStart", []Exec{{Path: "/x", Args: []string{"/x", "$A %n\n"}}}}, `ExecStart=/x "$$A %%n\x0a"`},
		"command separator":               {Property{"ExecStart", []Exec{{Path: "/x", Args: []string{"/x", ";", "/y"}}}}, `ExecStart=/x ";" /y`},
		"empty argument":                  {Property{"ExecStart", []Exec{{Path: "/x", Args: []string{"/x", ""}}}}, `ExecStart=/x ""`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text := Text(Unit{Name: "x.service", Properties: []Property{tt.property}})
			if !slices.Contains(strings.Split(text, "\n"), tt.want) {
				t.Errorf("no line %s in\n%s", tt.want, text)
			}
		})
	}
}

func TestTextSections(t *testing.T) {
	socket := Text(Unit{Name: "x.socket", Properties: []Property{{"Accept", false}, {"After", []string{"y.target"}}}, Install: []string{"sockets.target"}})
	if !strings.HasSuffix(socket, "\n[Unit]\nAfter=y.target\n\n[Socket]\nAccept=no\n\n[Install]\nWantedBy=sockets.target\n") {
		t.Errorf("socket:\n%s", socket)
	}
}

// hostile are strings that try to leave their place.
var hostile = []string{
	"a\nExecStartPre=/bin/false", "\\", "a\\", "a\\\nb", "\"", "'", "\" \"", "%h", "%", "%%", "$HOME", "${HOME}", "$$", "$",
	";", "a;b", " ; ", "#x", "[Service]", "\x00", "\x01\x7f", "\t", "\r\n", "é", "\u0085", "\u2028", "\xff", "-x", "@x", "!x", "+x", ":x", "*", "~", "`id`", "a=b", "",
}

func FuzzText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			t.Skip("neither D-Bus nor execve(2) can carry a NUL")
		}
		u := Unit{
			Name: "x.service", ID: "x" + a, Install: []string{"t.target"},
			Properties: []Property{
				{"Description", a},
				{"ExecStart", []Exec{{Path: "/x", Args: []string{"/x", a, b}}}},
				{"RequiresMountsFor", []string{"/" + a, "/" + b}},
				{"SyslogIdentifier", b},
			},
		}
		got := readUnit(t, Text(u))
		var keys []string
		for _, l := range got {
			keys = append(keys, l[0])
		}
		if diff := cmp.Diff([]string{"X-Cleat-Id", "Description", "RequiresMountsFor", "ExecStart", "SyslogIdentifier", "WantedBy"}, keys); diff != "" {
			t.Fatalf("settings (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"/x", a, b}, readWords(t, got[3][1], true)); diff != "" {
			t.Fatalf("argv (-want +got):\n%s", diff)
		}
		if strings.ContainsFunc(a, unprintable) || strings.ContainsFunc(b, unprintable) {
			return
		}
		if diff := cmp.Diff([]string{"/" + a, "/" + b}, readWords(t, got[2][1], false)); diff != "" {
			t.Fatalf("paths (-want +got):\n%s", diff)
		}
	})
}

// readUnit reads a unit file as systemd does: lines, continuations, comments,
// sections. What is not valid UTF-8 it drops.
func readUnit(t *testing.T, text string) (settings [][2]string) {
	t.Helper()
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' || line[0] == '[' {
			continue
		}
		if !utf8.ValidString(line) {
			t.Fatalf("line %q is not UTF-8", line)
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("line %q is no setting", line)
		}
		settings = append(settings, [2]string{key, value})
	}
	return settings
}

// readWords splits a list as systemd does; exec asks for what command lines
// have on top: escape sequences and variables.
func readWords(t *testing.T, s string, exec bool) (words []string) {
	t.Helper()
	for s = strings.TrimLeft(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		var w []byte
		var in byte
		i := 0
		for ; i < len(s) && (in != 0 || s[i] != ' ' && s[i] != '\t'); i++ {
			switch c := s[i]; {
			case in == 0 && (c == '"' || c == '\''):
				in = c
			case c == in:
				in = 0
			case c == '\\' && exec && s[i+1] == 'x':
				n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
				if err != nil {
					t.Fatal(err)
				}
				w, i = append(w, byte(n)), i+3
			case c == '\\':
				w, i = append(w, s[i+1]), i+1
			case c == '%', c == '$' && exec:
				if s[i+1] != c {
					t.Fatalf("%q is expanded", s[i:])
				}
				w, i = append(w, c), i+1
			default:
				w = append(w, c)
			}
		}
		if in != 0 {
			t.Fatalf("quote is not closed in %q", s)
		}
		words, s = append(words, string(w)), s[i:]
	}
	return words
}

// The real parser must find the same settings in a unit full of hostile text as
// in a harmless one.
func TestSystemdReadsNothingElse(t *testing.T) {
	const systemd = "/lib/systemd/systemd"
	if _, err := os.Stat(systemd); err != nil || os.Geteuid() != 0 {
		t.Skip("needs systemd, and root to run it as nobody")
	}
	dir := unitDir(t)
	var wants []string
	for i, s := range slices.Insert(slices.Clone(hostile), 0, "harmless") {
		if strings.ContainsRune(s, 0) {
			continue
		}
		c := with(func(c *spec.Container) {
			c.Name, c.Image.Reference = "n"+strconv.Itoa(i), s
			c.Mounts = []spec.Mount{{Type: spec.MountBind, Source: "/srv/" + strings.ToValidUTF8(s, ""), Target: "/x"}}
		})
		u, err := Service(c, testInput)
		if err != nil {
			t.Fatal(err)
		}
		exec := Exec{Path: "/bin/true", Args: []string{"/bin/true", s, strings.ToValidUTF8(s, "")}}
		for j, p := range u.Properties {
			if p.Name == "ExecStart" {
				u.Properties[j].Value = []Exec{exec}
			}
		}
		write(t, dir, u.Name, Text(u))
		wants = append(wants, u.Name)
	}
	write(t, dir, "t.target", "[Unit]\nWants="+strings.Join(wants, " ")+"\n")
	units := testRun(t, systemd, dir)
	want := normal(units[wants[0]])
	for _, name := range wants {
		if diff := cmp.Diff(want, normal(units[name])); diff != "" || len(want) < 100 {
			t.Errorf("%s (-harmless +hostile), %d lines:\n%s", name, len(want), diff)
		}
	}
}

// unitDir makes a directory that nobody may read.
func unitDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "unitgen")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // read by nobody
		t.Fatal(err)
	}
	write(t, dir, "cleat-stdiod.socket", "[Socket]\nListenStream=/run/x\nService=t.service\n")
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // read by nobody
		t.Fatal(err)
	}
}

// testRun makes systemd load the units and print what it read, by unit.
func testRun(t *testing.T, systemd, dir string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), systemd, "--test", "--system", "--unit=t.target")
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":/lib/systemd/system", "SYSTEMD_LOG_TARGET=console")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	units := map[string]string{}
	for part := range strings.SplitSeq(string(out), "-> Unit ") {
		name, text, _ := strings.Cut(part, ":\n")
		units[name] = text
	}
	return units
}

// normal removes what differs between two containers by design, and where
// systemd prints text with newlines in it.
func normal(dump string) (lines []string) {
	own := regexp.MustCompile(`cleat-n\d+|^\t\t(Description|RequiresMountsFor|\tCommand Line): .*`)
	text, _, _ := strings.Cut(dump, "\t\t-> Job ") // the next job's state differs
	for line := range strings.SplitSeq(text, "\n") {
		if key, _, _ := strings.Cut(line, ":"); strings.HasPrefix(key, "\t\t") {
			lines = append(lines, own.ReplaceAllString(line, "$1"))
		}
	}
	slices.Sort(lines)
	return lines
}
