package tests

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestMoreVerbsLikeDocker goes on where TestVerbsLikeDocker ends: what is done with
// files and images, events, networks, templates, and exit codes.
func TestMoreVerbsLikeDocker(t *testing.T) {
	docker := startDocker(t)
	s := newSite(t, "--private-network")
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	if err := writeBusybox(&layer); err != nil {
		t.Fatal(err)
	}
	for _, line := range moreSession {
		args, sorted := sessionWords(line), false
		if args[0] == "sorted" { // Docker's order is none
			args, sorted = args[1:], true
		}
		run := func(cmd *exec.Cmd) result {
			if slices.Contains(args, "-") {
				cmd.Stdin = bytes.NewReader(layer.Bytes())
			}
			r := finish(cmd)
			if sorted {
				lines := strings.Split(r.out, "\n")
				slices.Sort(lines)
				r.out = strings.Join(lines, "\n")
			}
			return r
		}
		sameResult(t, args, run(docker(args...)), run(s.cmd(args...)))
	}
	for _, network := range []string{"none", "host", "lan"} {
		want, got := flatObject(t, finish(docker("network", "inspect", network))), flatObject(t, s.try("network", "inspect", network))
		for _, d := range differing(want, got) {
			if d != "EnableIPv4" { // in newer Docker
				t.Errorf("network inspect %s: %s is %s, Docker's is %s", network, d, orMissing(got, d), orMissing(want, d))
			}
		}
	}
	sameKeys(t, docker, s)
	for _, image := range []string{"imported:1", "im:v2"} {
		want, got := flatObject(t, finish(docker("image", "inspect", image))), flatObject(t, s.try("image", "inspect", image))
		for _, d := range differing(want, got) {
			if _, meant := meantDifference(d, true); !meant && d != "Parent" { // there are no intermediate images
				t.Errorf("image inspect %s: %s is %s, Docker's is %s", image, d, orMissing(got, d), orMissing(want, d))
			}
		}
	}
}

// sameKeys compares the names of what each verb gives in JSON, which are those of
// templates.
func sameKeys(t *testing.T, docker func(...string) *exec.Cmd, s site) {
	t.Helper()
	for _, args := range []string{"create --name keys busybox", "volume create keys"} {
		words := strings.Fields(args)
		if theirs, ours := finish(docker(words...)), s.try(words...); theirs.code != 0 || ours.code != 0 {
			t.Fatalf("%s: %v, %v", args, theirs, ours)
		}
	}
	for _, verb := range []string{"ps -a", "images", "volume ls", "network ls", "history busybox", "system df", "system df -v", "stats --no-stream -a", "events --since 1h --until 0s", "version", "info"} {
		for _, format := range []string{"json", "{{json .}}"} {
			if verb == "system df -v" && format == "json" {
				continue // each row by itself, in Docker
			}
			words := append(strings.Fields(verb), "--format", format)
			want, got := firstKeys(t, finish(docker(words...))), firstKeys(t, s.try(words...))
			for _, d := range differing(want, got) {
				if why := meantKey(verb, d); why == "" && want[d] != "" {
					t.Errorf("%s --format %s has no %s", verb, format, d)
				}
			}
		}
	}
}

// firstKeys returns the names in the first line of JSON.
func firstKeys(t *testing.T, r result) map[string]string {
	t.Helper()
	line, _, _ := strings.Cut(r.out, "\n")
	var object map[string]any
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		t.Fatalf("%v, %v", err, r)
	}
	keys := map[string]string{}
	noteKeys("", object, keys)
	return keys
}

func noteKeys(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			into[path+k] = "there"
			noteKeys(path+k+".", inner, into)
		}
	case []any:
		if len(v) > 0 {
			noteKeys(path, v[0], into)
		}
	}
}

// meantKey returns why a name is missing.
func meantKey(verb, key string) string {
	if verb != "info" {
		return map[string]string{"events.Actor.Attributes.": "of the objects that there were"}[strings.Fields(verb)[0]+"."+key[:strings.LastIndexByte(key, '.')+1]]
	}
	for prefix, why := range map[string]string{
		"ClientInfo": "client and server are one", "Runtimes.": "there is no runc", "Swarm.": "there is no swarm", "N": "there is no daemon", "KernelMemory": "gone from newer Docker",
		"ContainerdCommit": "there is no containerd", "RuncCommit": "there is no runc", "InitCommit": "it is cleat's own", "GenericResources": "of swarm", "CDISpecDirs": "no CDI devices",
	} {
		if strings.HasPrefix(key, prefix) && key != "NCPU" && key != "Name" && key != "NoProxy" {
			return why
		}
	}
	return ""
}

// moreSession is as dockerSession. The names of objects are never told apart by
// their age: what is made in the same second has no order.
var moreSession = []string{
	"create --name k busybox true",
	"run --name one --network none busybox sh -c echo_hi_>/new;_rm_/bin/touch;_mkdir_/d;_echo_x_>/d/f;_echo_out",
	"run -d --name up --network none -l a=b -v vol:/v busybox sleep 1000",
	"sorted diff one", "diff up", "diff nope",
	"top nope", "top one", "top up -o bogus", "top up -o args",
	"rename one two", "rename two two", "rename nope xx", "rename two up", "rename two a_b",
	"port up", "port up 80", "port nope",
	"stats --no-stream --format {{.Name}}_{{.Container}} up", "stats --no-stream nope",
	"commit two im:v1", "commit -m msg -a me -c CMD_[\"echo\",\"x\"] two im:v2", "commit -c BOGUS_x two", "commit nope", "commit two Bad_Name",
	"history im:v2 --format {{.CreatedBy}}|{{.Size}}|{{.Comment}}", "history -H=false im:v2 --format {{.Size}}", "history nope",
	"image inspect im:v2 --format {{.Author}}|{{.Comment}}|{{json_.Config.Cmd}}|{{len_.RootFS.Layers}}|{{.Size}}|{{json_.RepoTags}}",
	"run --rm --network none im:v2",
	"images im:v1", "images nope", "images im:v1 --format {{.Repository}}_{{.Tag}}_{{.ID}}_{{.Size}}_{{.Digest}}_{{.VirtualSize}}",
	"sorted images --format {{.Repository}}", "images -f dangling=true", "sorted images -f reference=im* --format {{.Tag}}", "images -f label=x -q",
	"images -f odd=1", "images -f before=nope", "images -f since=nope", "images -q --no-trunc im:v1", "images --format table_{{.Repository}}\\t{{.ID}} im:v1",
	"tag im:v1 im:v3", "tag nope x", "tag im:v1 Bad:x", "tag im:v1 sha256:x", "rmi im:v3", "rmi nope", "rmi -f nope", "rmi busybox",
	"import -m hello -c ENV_A=B - imported:1", "import - imported:2", "import /nowhere x", "import - Bad",
	"history --format {{.Comment}}|{{.CreatedBy}}|{{.Size}} imported:1", "image inspect imported:2 --format {{.Comment}}_{{.Os}}_{{.Size}}", "rmi imported:2",
	"save nope", "save -o /nowhere/x busybox", "load -i /nowhere", "export nope", "push nope", "pull Bad",
	"pause two", "pause up", "pause up", "ps --format {{.Names}}_{{.Status}}_{{.State}}", "exec up true", "unpause up", "unpause up",
	"kill two", "kill -s BOGUS up", "kill nope", "kill -s HUP up",
	"exec nope true", "exec two true", "exec up sh -c exit_7", "exec up sh -c kill_-9_$$", "exec -e A=b up sh -c echo_$A",
	"wait two", "wait two nope", "logs two", "logs nope", "logs -n 1 two", "logs --since bogus two",
	"start two", "start nope", "restart -t 0 two", "restart nope", "stop two", "stop nope", "update nope --memory 64m", "update up",
	"inspect -f {{json_.State.Status}}_{{.Name_|_upper}}_{{title_.Config.Image}}_{{join_.Config.Cmd_\"-\"}}_{{pad_.Config.Image_1_2}}|{{truncate_.Config.Image_3}}_{{index_.Config.Labels_\"a\"}}_{{len_.Mounts}}_{{println_.Name}}_{{split_.Name_\"u\"}} up",
	"inspect -f {{.Nope}} up", "inspect -f {{bogus}} up", "inspect -f {{ up", "inspect --size -f {{.SizeRw}}_{{.SizeRootFs}} two", "inspect --type image up",
	"inspect up nope -f {{.Name}}", "inspect --type network none -f {{.Name}}",
	"ps -a --format {{upper_.Names}}_{{truncate_.Image_3}}_{{.Mounts}}_{{.LocalVolumes}}_{{.Size}}", "ps --format {{.Nope}}", "ps --format {{", "ps -s --format {{.Size}}",
	"ps --format table_{{.ID}}\\t{{.Names}}\\t{{.Label_\"a\"}}", "ps -a -f label=a=c -q", "sorted ps -a -f status=running -f status=exited --format {{.Names}}",
	"ps -f publish=80 -q", "ps -a -f since=nope", "ps -n 0 -q", "ps --last x", "ps -a -f id=zzz",
	"network create lan", "network create --label a=b wan", "network create lan", "network ls -q -f name=lan --no-trunc", "network ls -f type=custom --format {{.Name}}_{{.Driver}}",
	"network ls -f label=a --format {{.Name}}_{{.Labels}}_{{.Scope}}_{{.Internal}}", "network ls -f odd=1", "network ls -f type=odd", "network inspect -f {{.Name}}_{{json_.Labels}} wan nope",
	"network rm wan nope", "network rm host", "network prune -f --filter odd=1", "network connect nope up", "network disconnect nope up", "network create --subnet bogus x",
	"run --rm --network none busybox nosuch", "run --rm --network none busybox /bin", "run --rm --network none busybox sh -c exit_9",
	"run --rm --network none --init busybox sh -c kill_-15_$$", "run --rm --network none -w relative busybox true", "run --rm --network none -u nosuch busybox true",
	"run --rm --network none --entrypoint= busybox echo x", "run --name two --network none busybox true", "create --name two busybox true",
	"search --limit 200 x", "search -f stars=x y", "search -f odd=1 y", "image prune -f --filter odd=1",
	"events --since 1h --until 0s --filter container=up --filter type=container --format {{.Type}}_{{.Action}}",
	"events --since 1h --until 0s --filter type=network --filter container=up --format {{.Action}}_{{.Actor.Attributes.name}}",
	"events --since 1h --until 0s --filter event=rename --format {{.Actor.Attributes.name}}_{{.Actor.Attributes.oldName}}",
	"events --since 1h --until 0s --filter event=tag --filter image=im --format {{.Type}}_{{.Action}}",
	"events --since 2h --until 3h", "events --format {{",
	"cp nope:/x .", "cp a b", "cp up:/x", "cp up:/nowhere /tmp",
	"rm up", "rm nope", "rm -f nope", "rm two", "rm -f up", "ps -aq", "volume ls -q",
	"container nope", "image nope", "network nope", "container rm", "image rm", "inspect", "cp", "logs", "tag x",
}
