package tests

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// copyCases are commands whose effect is Docker's. C is the container, and each
// command runs in a directory with what copyFiles makes. "sh" runs a script in
// the container.
var copyCases = []string{
	"cp f C:/", "cp f C:/x", "cp f C:/dir", "cp f C:/dir/", "cp f C:/none/", "cp f C:/none/x", "cp f C:/dir/f", "cp f C:/ldir", "cp f C:/ldir/",
	"cp f C:/dangling", "cp f C:/lfile", "cp f C:dir", "cp f C:", "cp d C:/", "cp d C:/dir", "cp d C:/new", "cp d C:/new2/", "cp d C:/dir/f",
	"cp d/. C:/dir", "cp d/. C:/new3", "cp d/. C:/dir/f", "cp d/ C:/slash", "cp d C:/none/x", "cp l C:/l1", "cp -L l C:/l2", "cp -L l C:/dir",
	"cp ld C:/ld1", "cp ld/ C:/ld2", "cp -L ld C:/ld3", "cp missing C:/", "cp d C:/merge", "cp d2 C:/merge", "cp f C:/vol/f", "cp d C:/vol",
	"cp -a f C:/archived", "cp C:/dir o1", "cp C:/dir/ o2", "cp C:/dir/. o3", "cp C:/dir/. d2", "cp C:/dir d2", "cp C:/dir/f o4", "cp C:/dir/f d2", "cp C:/dir/f f2",
	"cp C:/dir f3", "cp C:/dir/f none/", "cp C:/dir/f none/x", "cp C:/dir/f o5/", "cp C:/ldir o6", "cp C:/ldir/ o7", "cp C:/ldir/. o8", "cp -L C:/ldir o9",
	"cp C:/lfile o10", "cp -L C:/lfile o11", "cp C:/dangling o12", "cp C:/none o13", "cp C:dir o14", "cp C:/dir/../dir/f o15", "cp C:/dir/f l", "cp C:/dir/sub dl",
	"cp C:/dir/f/ o16", "cp C:/vol o17",
	"cp C:/x C:/y", "cp f g", "diff C",
	"sh rm -r /lower/a; touch /lower/c; chmod 700 /lower/b; rm -r /dir; mkdir /dir; echo 1 >/dir/f; rm /ldir; mkdir /ldir; echo >/ldir/k", "diff C",
}

const copyImage = `mkdir -p dir/sub lower d; echo x >dir/f; echo y >dir/sub/g; echo a >lower/a; echo b >lower/b; ln -s dir ldir; ln -s nowhere dangling; ln -s /lower/b lfile`

const copyFiles = `mkdir -p d/s d2; echo hi >f; chown 1234:1235 f; chmod 640 f; cp f f2; cp f f3; echo 1 >d/s/one; ln d/s/one d/s/hard; ln -s one d/s/link; echo 2 >d2/two
ln -s f l; ln -s d ld; ln -s none dl; find . -exec touch -h -d @1700000000 {} +`

// TestCopyLikeDocker gives cleat and a Docker daemon the same commands, and
// compares exit codes, what is in the container, and what is on the host.
func TestCopyLikeDocker(t *testing.T) {
	docker, s := startDocker(t), shared()
	var image bytes.Buffer
	must(t, writeBusybox(&image))
	root := tempDir(t)
	unpack := exec.Command("sh", "-ec", "chmod 755 .; tar -x; "+copyImage)
	unpack.Dir, unpack.Stdin = root, &image
	must(t, unpack.Run())
	archive, err := exec.Command("tar", "-cC", root, ".").Output()
	must(t, err)
	t.Cleanup(func() { s.try("rm", "-f", "-v", copyName); s.try("rmi", "-f", copyName) })
	logs := map[string][]string{}
	for engine, command := range map[string]func(args ...string) *exec.Cmd{"docker": docker, "cleat": s.cmd} {
		dir := tempDir(t)
		local := exec.Command("sh", "-ec", copyFiles)
		local.Dir = dir
		must(t, local.Run())
		run := func(input []byte, args ...string) result {
			cmd := command(args...)
			cmd.Dir, cmd.Stdin = dir, bytes.NewReader(input)
			return finish(cmd)
		}
		for _, args := range [][]string{
			{"import", "-", copyName}, {"run", "-d", "--network", "none", "--name", copyName, "-v", "/vol", copyName, "sleep", "1000"},
		} {
			if r := run(archive, args...); r.code != 0 {
				t.Fatalf("%s %q: %v", engine, args, r)
			}
		}
		for _, line := range copyCases {
			logs[engine] = append(logs[engine], copyCase(run, line))
		}
		logs[engine] = append(logs[engine], lookAround(run, dir))
	}
	for i, line := range append(copyCases, "what has come of it") {
		if diff := cmp.Diff(logs["docker"][i], logs["cleat"][i]); diff != "" {
			t.Errorf("%s (-docker +cleat):\n%s", line, diff)
		}
	}
}

// copyCase runs one command and describes how it ended.
func copyCase(run func([]byte, ...string) result, line string) string {
	if script, ok := strings.CutPrefix(line, "sh "); ok {
		return run(nil, "exec", copyName, "sh", "-c", script).String()
	}
	args := strings.Fields(line)
	for i, a := range args {
		if rest, ok := strings.CutPrefix(a, "C"); ok {
			args[i] = copyName + rest
		}
	}
	r := run(nil, args...)
	if line != "diff C" {
		return strconv.FormatBool(r.code == 0)
	}
	lines := strings.Split(r.out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const copyName = "copy-like-docker"

// recent are times of files that a program made during the test.
const recent = `\b1(7[1-9]|[89]\d)\d{7}\b`

// lookAround lists the files in the container and those in dir.
func lookAround(run func([]byte, ...string) result, dir string) string {
	const list = `find . \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./bin -o -path ./etc -o -path ./.dockerenv \) -prune -o -print | sort |
		while read f; do echo "$f $(stat -c '%F %a %u:%g' "$f") $([ -L "$f" ] && readlink "$f") $([ -f "$f" ] && [ ! -L "$f" ] && stat -c '%Y %h' "$f" && cat "$f")"; done`
	in := run(nil, "exec", copyName, "sh", "-c", "cd /; "+list)
	cmd := exec.Command("sh", "-c", list)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return regexp.MustCompile(recent).ReplaceAllString(fmt.Sprintf("%s\n%s%s%v", in.out, in.stderr, out, err), "now")
}
