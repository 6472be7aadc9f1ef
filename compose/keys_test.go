package compose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// exampleOfKey has an example of every key of a service. What is done changes what
// the engine is asked for, or what compose does; what is not done is refused.
var exampleOfKey = map[string]string{
	"annotations":         "{a: b}",
	"attach":              "false",
	"blkio_config":        "{weight: 300}",
	"build":               "{context: .}",
	"cap_add":             "[NET_ADMIN]",
	"cap_drop":            "[ALL]",
	"cgroup":              "host",
	"cgroup_parent":       "x",
	"command":             "[a, b]",
	"configs":             "[thing]",
	"container_name":      "other",
	"cpu_count":           "2",
	"cpu_percent":         "10",
	"cpu_period":          "50000",
	"cpu_quota":           "20000",
	"cpu_rt_period":       "1000",
	"cpu_rt_runtime":      "1000",
	"cpu_shares":          "512",
	"cpus":                "1.5",
	"cpuset":              "'0'",
	"credential_spec":     "{file: x}",
	"depends_on":          "[other]",
	"deploy":              "{resources: {limits: {memory: 64m}}}",
	"develop":             "{watch: [{path: ., action: sync, target: /x}]}",
	"device_cgroup_rules": "['c 1:3 mr']",
	"devices":             "['/dev/null:/dev/x']",
	"dns":                 "[1.1.1.1]",
	"dns_opt":             "['ndots:1']",
	"dns_search":          "[example.net]",
	"dockerfile":          "x",
	"domainname":          "d",
	"entrypoint":          "[a]",
	"env_file":            "[DIR/env]",
	"environment":         "{A: b}",
	"expose":              "['80']",
	"extends":             "{service: other}",
	"external_links":      "[x]",
	"extra_hosts":         "['a:10.0.0.1']",
	"gpus":                "all",
	"group_add":           "['5']",
	"healthcheck":         "{test: a}",
	"hostname":            "h",
	"image":               "another",
	"init":                "true",
	"ipc":                 "host",
	"isolation":           "process",
	"label_file":          "[DIR/env]",
	"labels":              "{a: b}",
	"links":               "[other]",
	"log_driver":          "journald",
	"log_opt":             "{a: b}",
	"logging":             "{driver: none}",
	"mac_address":         "02:00:00:00:00:01",
	"mem_limit":           "64m",
	"mem_reservation":     "32m",
	"mem_swappiness":      "10",
	"memswap_limit":       "128m\n    mem_limit: 64m",
	"models":              "[m]",
	"net":                 "host",
	"network_mode":        "host",
	"networks":            "[extra]",
	"oom_kill_disable":    "true",
	"oom_score_adj":       "100",
	"pid":                 "host",
	"pids_limit":          "10",
	"platform":            "linux/amd64",
	"ports":               "['80:80']",
	"post_start":          "[{command: [a]}]",
	"pre_start":           "[{image: x, command: [a]}]",
	"pre_stop":            "[{command: [a]}]",
	"privileged":          "true",
	"profiles":            "[p]",
	"provider":            "{type: x}",
	"pull_policy":         "always",
	"pull_refresh_after":  "24h",
	"read_only":           "true",
	"restart":             "always",
	"runtime":             "runc",
	"scale":               "2",
	"secrets":             "[thing]",
	"security_opt":        "['no-new-privileges:true']",
	"shm_size":            "1m",
	"stdin_open":          "true",
	"stop_grace_period":   "3s",
	"stop_signal":         "SIGINT",
	"storage_opt":         "{size: 1g}",
	"sysctls":             "{net.core.somaxconn: 1}",
	"tmpfs":               "[/t]",
	"tty":                 "true",
	"ulimits":             "{nofile: 10}",
	"umask":               "18",
	"use_api_socket":      "true",
	"user":                "'1'",
	"userns_mode":         "private",
	"uts":                 "host",
	"volume_driver":       "local",
	"volumes":             "['/tmp:/x']",
	"volumes_from":        "[other]",
	"working_dir":         "/w",
}

// keysOfService lists the keys that compose-go knows of a service.
func keysOfService(t reflect.Type) (keys []string) {
	for f := range fieldsOf(t) {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous || name == "" && strings.Contains(options, "inline"):
			keys = append(keys, keysOfService(f.Type)...)
		case name != "-" && name != "" && name[0] != '#' && f.Name != "Name":
			keys = append(keys, name)
		}
	}
	return keys
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// meaning is all that compose makes of a project.
func meaning(t *testing.T, p *Project) (string, error) {
	t.Helper()
	var all []any
	for _, name := range p.Services() {
		w, err := p.convert(p.model.Services[name])
		if err != nil {
			return "", err
		}
		opt := p.createOptions(w, 1, p.containerName(w.service, 1), nil)
		opt.Container.Labels = w.service.Labels // without hashes
		all = append(all, name, p.imageOf(w.service), opt.Container, opt.Image, opt.Platform, opt.Pull, opt.Networks, opt.NoEntrypoint, opt.VolumesFrom, opt.LogTag, opt.LogLabels, opt.LogEnv, w.hooks, w.files, dependsOnLabel(w.depends), w.service.GetScale(), p.Attached(name))
	}
	st := &State{SliceDone: true}
	builds, err := p.Builds(st, true)
	if err != nil {
		t.Fatal(err)
	}
	pulls, err := PlanPull(p, &State{Images: map[string]string{"x": "", "shop-web": "", "another": ""}}, UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watched, err := p.Watched()
	all = append(all, builds, pulls.String(), err == nil && len(watched.Roots) > 0)
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), nil
}

// Every key of a service is done or refused with its place, and none is ignored.
func TestEveryKeyOfAService(t *testing.T) {
	keys := keysOfService(reflect.TypeFor[types.ServiceConfig]())
	if len(keys) < 80 {
		t.Fatalf("only %d keys are found: %q", len(keys), keys)
	}
	for key := range exampleOfKey {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is no key any more", key)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "env"), []byte("FROM=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const rest = "  other: {image: x, hostname: o}\nnetworks: {extra: {}}\nsecrets: {thing: {file: /etc/hostname}}\nconfigs: {thing: {content: c}}\n"
	plain, err := meaning(t, load(t, "services:\n  web:\n    image: x\n"+rest))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		example, ok := exampleOfKey[key]
		if !ok {
			t.Errorf("the key %s is new: do it or refuse it, and give an example", key)
			continue
		}
		image := "    image: x\n"
		if key == "image" {
			image = ""
		}
		p, err := tryLoad(t, LoadOptions{}, "services:\n  web:\n"+image+"    "+key+": "+strings.ReplaceAll(example, "DIR", dir)+"\n"+rest)
		if err == nil {
			err = p.Check()
		}
		means := ""
		if err == nil {
			means, err = meaning(t, p)
		}
		switch {
		case err != nil && !strings.Contains(err.Error(), strings.TrimSuffix(key, "s")):
			t.Errorf("%s: refused without its name: %v", key, err)
		case err == nil && means == plain:
			t.Errorf("%s: %s is ignored", key, example)
		}
	}
}
