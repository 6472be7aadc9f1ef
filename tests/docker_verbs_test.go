package tests

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What differs from Docker's output and is meant to, by the beginning of the path
// in the JSON of inspect, of containers, volumes and images.
var meantInspect = []struct{ path, why string }{
	{"AppArmorProfile", "depends on the machine"},
	{"Config.AttachStd", "that of a client that is gone"},
	{"GraphDriver", "Docker's storage driver here is vfs"},
	{"Driver", "Docker's storage driver here is vfs"},
	{"HostConfig.CgroupParent", "a container is a systemd unit"},
	{"HostConfig.CgroupnsMode", "Docker is on cgroup v1 here, where the default is host"},
	{"HostConfig.Runtime", "there is no runc"},
	{"HostConfig.LogConfig", "the journal is where logs go"},
	{"HostConfig.KernelMemory", "gone from newer Docker"},
	{"HostConfig.MaskedPaths", "newer Docker masks more"},
	{"HostConfig.OomKillDisable", "cgroup v2 has no such control; Docker says null there as well"},
	{"Config.Env", "null or an empty list"},
	{"HostnamePath", "cleat writes it when the container is created"},
	{"HostsPath", "cleat writes it when the container is created"},
	{"ResolvConfPath", "cleat writes it when the container is created"},
	{"NetworkSettings", "compared by the tests of networks"},
	{"LogPath", "the journal is where logs go"},
	{"Unit", "what systemd says of the unit; Docker has none"},
	{"HostConfig.Tmpfs", "the size is in bytes"},
	{"State.Pid", "each has its own"},
	{"Config.", "newer Docker leaves out what an image does not set"},
	{"Container", "gone from newer Docker"},
	{"DockerVersion", "who made the image; gone from newer Docker"},
	{"VirtualSize", "gone from newer Docker"},
}

// TestVerbsLikeDocker gives the same commands to cleat and to a Docker daemon of
// its own, and compares what they print and how they end.
func TestVerbsLikeDocker(t *testing.T) {
	docker := startDocker(t)
	s := newSite(t)
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	compare := func(args ...string) {
		t.Helper()
		sameResult(t, args, finish(docker(args...)), s.try(args...))
	}
	for _, line := range dockerSession {
		compare(sessionWords(line)...)
	}
	for _, object := range []string{"one", "first", "up", "busybox"} {
		want, got := flatObject(t, finish(docker("inspect", object))), flatObject(t, s.try("inspect", object))
		for _, d := range differing(want, got) {
			if why, meant := meantDifference(d, object == "busybox"); meant {
				t.Logf("inspect %s: %s differs: %s", object, d, why)
			} else {
				t.Errorf("inspect %s: %s is %s, Docker's is %s", object, d, orMissing(got, d), orMissing(want, d))
			}
		}
	}
	compare("rm", "-f", "up")
	compare("container", "prune", "-f")
	compare("volume", "rm", "two", "one")
	compare("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}")
}

// sameResult compares how a command ended with both engines.
func sameResult(t *testing.T, args []string, theirs, ours result) {
	t.Helper()
	want, got := normal(theirs.out), normal(ours.out)
	if want != got || theirs.code != ours.code || theirs.code != 0 && (theirs.stderr == "") != (ours.stderr == "") {
		t.Errorf("%q: cleat ends with %d and prints\n%s\n%s\nDocker ends with %d and prints\n%s\n%s", args, ours.code, got, ours.stderr, theirs.code, want, theirs.stderr)
	}
	plain(t, strings.NewReplacer("ENTRYPOINT", "", "EXPOSE", "").Replace(ours.stderr)) // which are no errno
}

// dockerSession are command lines, in which "_" stands for a space within a word.
var dockerSession = []string{
	"volume create one",
	"volume create one",
	"volume create --label tier=front two",
	"volume create a",
	"volume create a/b",
	"volume create -o foo=bar x",
	"volume create -o type=tmpfs x",
	"volume create -d nope x",
	"volume create -o type=tmpfs -o device=tmpfs -o o=size=1m mem",
	"volume ls",
	"volume ls -q",
	"volume ls --format json",
	"volume ls --format {{.Name}}:{{.Driver}}:{{.Scope}}:{{.Labels}}:{{.Label_\"tier\"}}",
	"volume ls --format table_{{.Name}}\\t{{.Labels}}",
	"volume ls -f label=tier -q",
	"volume ls -f label=tier=back",
	"volume ls -f name=o -q",
	"volume ls -f dangling=maybe",
	"volume ls -f odd=1",
	"volume ls -f odd",
	"volume inspect one two mem",
	"volume inspect -f {{.Name}}={{.Options}} mem nope",
	"volume inspect nope",
	"volume rm nope",
	"volume rm -f nope",
	"volume rm mem",
	"ps",
	"ps -aq",
	"create --name first --network none -v two:/data -v /anon -l tier=front busybox sh -c true_--word",
	"run --name done --network none busybox sh -c exit_3",
	"run -d --name up --network none --hostname box -e A=b -w /tmp -u 1000 -m 64m --cpus 0.5 --restart on-failure:3 -v one:/vol:ro --tmpfs /scratch:size=1m --cap-add SYSLOG --init busybox sleep 1000",
	"volume rm two",
	"volume rm -f two",
	"volume ls -q -f dangling=true",
	"volume ls -q -f dangling=false -f name=o",
	"ps",
	"ps -a",
	"ps -a --no-trunc --format {{.ID}}_{{.Image}}_{{.Command}}_{{.Names}}_{{.State}}_{{.LocalVolumes}}_{{.Networks}}_{{.Labels}}",
	"ps -a --format {{.ID}}_{{.Image}}_{{.Command}}_{{.Size}}_{{.Label_\"tier\"}}_{{.RunningFor}}",
	"ps -a --format table_{{.Names}}\\t{{.State}}\\t{{.Ports}}",
	"ps -l -q --no-trunc",
	"ps -n 2 --format {{.Names}}",
	"ps -a -f status=exited --format {{.Names}}",
	"ps -a -f status=created --format {{.Names}}",
	"ps -a -f exited=3 --format {{.Names}}",
	"ps -a -f label=tier=front --format {{.Names}}",
	"ps -a -f volume=two --format {{.Names}}",
	"ps -a -f volume=/vol --format {{.Names}}",
	"ps -a -f ancestor=busybox --format {{.Names}}",
	"ps -a -f network=none --format {{.Names}}",
	"ps -a -f before=up --format {{.Names}}",
	"ps -a -f since=first --format {{.Names}}",
	"ps -a -f name=^/up$ --format {{.Names}}",
	"ps -a -f health=none --format {{.Names}}",
	"ps -a -f health=odd",
	"ps -a -f status=odd",
	"ps -a -f exited=odd",
	"ps -a -f before=nope",
	"ps -a -f odd=1",
	"ps -a -f expose=80 -q",
	"ps -a -f isolation=default --format {{.Names}}",
	"ps -a -f is-task=false --format {{.Names}}",
	"ps -a -f is-task=true --format {{.Names}}",
	"inspect -f {{.Name}}_{{.State.Status}}_{{.State.ExitCode}} done first",
	"inspect -f {{.Config.Hostname}}_{{.HostConfig.Memory}}_{{.HostConfig.NanoCpus}}_{{json_.HostConfig.RestartPolicy}} up",
	"inspect --type volume -f {{.Name}} one",
	"inspect --type image -f {{.Os}} busybox",
	"inspect --type container one",
	"inspect --type odd one",
	"inspect nope",
	"inspect -f {{.Nope}} up",
	"container inspect -f {{.HostConfig.Binds}}_{{len_.Mounts}} up",
	"image inspect -f {{.Architecture}}_{{.RepoTags}} busybox",
	"system df --format {{.Type}}_{{.TotalCount}}_{{.Active}}",
	"system prune -f --volumes --filter until=1h",
	"system prune -f --filter odd=1",
	"container prune -f --filter until=24h",
	"container prune -f --filter odd=1",
	"volume prune -f --filter odd=1",
	"volume nope",
	"container ls -q --no-trunc",
	"container list -q",
	"info -f {{.Containers}}_{{.ContainersRunning}}_{{.ContainersPaused}}_{{.ContainersStopped}}_{{.Images}}_{{.NCPU}}_{{.MemTotal}}_{{.OSType}}_{{.Architecture}}_{{.KernelVersion}}_{{.OperatingSystem}}_{{.Swarm.LocalNodeState}}",
	"version -f {{.Server.Os}}_{{.Server.Arch}}_{{.Server.KernelVersion}}",
	"volume rm",
	"volume create x y",
}

func sessionWords(line string) []string {
	words := strings.Fields(line)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "_", " ")
	}
	return words
}

// What is another one with each engine and each run.
var variable = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "SHORTID     "[:12]},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d{4} [A-Z]+)`), "TIME"},
	{regexp.MustCompile(`(Less than a second|About a minute|\d+ seconds?|\d+ minutes?)`), "WHILE"},
	{regexp.MustCompile(`/[^" ]*/(volumes|containers)/`), "/$1/"},
	{regexp.MustCompile(` {2,}`), "  "},
}

// normal makes the outputs of different engines comparable.
func normal(out string) string {
	for _, v := range variable {
		out = v.find.ReplaceAllString(out, v.put)
	}
	return out
}

// flatObject returns the values of the one object that inspect has printed, by
// their paths. Lists are values.
func flatObject(t *testing.T, r result) map[string]string {
	t.Helper()
	var objects []map[string]any
	if err := json.Unmarshal([]byte(r.out), &objects); err != nil || len(objects) != 1 {
		t.Fatalf("inspect: %v, %v", err, r)
	}
	flat := map[string]string{}
	flatten("", objects[0], flat)
	return flat
}

func flatten(path string, v any, into map[string]string) {
	m, ok := v.(map[string]any)
	if mounts, isList := v.([]any); isList && path == "Mounts" { // in any order, in Docker
		slices.SortFunc(mounts, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if !ok {
		text, _ := json.Marshal(v)
		into[path] = normal(string(text))
		return
	}
	if len(m) == 0 {
		into[path] = "{}"
	}
	for k, inner := range m {
		flatten(strings.TrimPrefix(path+"."+k, "."), inner, into)
	}
}

// meantDifference returns why the value at path differs. The configuration of a
// container has to be the same.
func meantDifference(path string, ofImage bool) (why string, meant bool) {
	for _, d := range meantInspect {
		if strings.HasPrefix(path, d.path) && (ofImage || d.path != "Config.") {
			return d.why, true
		}
	}
	return "", false
}

func orMissing(m map[string]string, path string) string {
	if v, ok := m[path]; ok {
		return v
	}
	return "missing"
}
