package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// describe writes files and returns their directory.
func describe(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestQuadletCheck(t *testing.T) {
	t.Parallel()
	dir := describe(t, map[string]string{
		"good.container": "[Container]\nImage=x\nPublishPort=8080:80\nEnvironmentFile=not-there\n",
		"bad.container":  "[Container]\nImage=x\nMemory=lots\nUlimit=nosuch=1\nPodmanArgs=--x\n",
		"bad.network":    "[Network]\nInternal=maybe\n",
		"x.kube":         "[Kube]\n",
	})
	want(t, try(t, bystander{}, "quadlet", "check", dir+"/good.container"), outcome{Out: "1 files are in order.\n"})
	got := try(t, bystander{}, "quadlet", "check", dir+"/good.container", dir+"/bad.container", dir+"/bad.network", dir+"/x.kube", dir+"/nosuch.container")
	if got.Code != 1 || got.Out != "" {
		t.Errorf("%+v", got)
	}
	for _, line := range []string{
		dir + "/bad.container:5: PodmanArgs= is not supported", dir + "/bad.network:2: Internal=: \"maybe\" is neither yes nor no",
		dir + "/x.kube: Kubernetes YAML is not read", dir + "/nosuch.container: no such file",
	} {
		if !strings.Contains(got.Err, line) {
			t.Errorf("no %q in\n%s", line, got.Err)
		}
	}
	got = try(t, bystander{}, "quadlet", "check", describe(t, map[string]string{"v.container": "[Container]\nImage=x\nMemory=lots\nUlimit=nosuch=1\n"})+"/v.container")
	for _, line := range []string{"v.container:3: Memory=: invalid size: 'lots'", "v.container:4: Ulimit=: "} {
		if !strings.Contains(got.Err, line) {
			t.Errorf("no %q in\n%s", line, got.Err)
		}
	}
}

// A name that no image can have is found before the unit is started.
func TestQuadletReferences(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"i.image": "[Image]\nImage=x/UPPER\n", "b.build": "[Build]\nImageTag=x:\nFile=/x/Dockerfile\n", "c.container": "[Container]\nImage=x@y\n",
	} {
		dir := describe(t, map[string]string{name: text})
		if got := try(t, bystander{}, "quadlet", "check", dir+"/"+name); got.Code != 1 || !strings.Contains(got.Err, name+":2: Image") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestQuadletGenerate(t *testing.T) {
	t.Parallel()
	dir := describe(t, map[string]string{
		"web.container":   "[Container]\nImage=x\nPublishPort=8080:80\nStopSignal=SIGQUIT\n[Install]\nWantedBy=multi-user.target\n",
		"alone.container": "[Container]\nImage=x\nNetwork=none\nPublishPort=8081:80\n",
		"data.volume":     "[Volume]\n",
		"bad.container":   "[Container]\nImage=x\nMemory=lots\n",
		"zwin.container":  "[Container]\nContainerName=systemd-web\nImage=x\n",
	})
	out := t.TempDir()
	got := try(t, bystander{}, "quadlet", "generate", "--directory", dir, out, out, out)
	if got.Code != 1 || !strings.Contains(got.Err, "bad.container:3: Memory=") || !strings.Contains(got.Err, "of the same name") {
		t.Errorf("%+v", got)
	}
	var files []string
	err := filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, out+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const names = "alone.service cleat-quadlet-sweep.service cleat-systemd-alone.service cleat-systemd-web.service cleat-systemd-web.socket data-volume.service " +
		"multi-user.target.wants/cleat-quadlet-sweep.service multi-user.target.wants/cleat-systemd-web.service web.service"
	if all := strings.Join(files, " "); all != names {
		t.Errorf("files %s\nwant  %s", all, names)
	}
	for name, lines := range map[string]string{
		"cleat-systemd-web.service": "KillSignal=SIGQUIT\nRequires=cleat-systemd-web.socket\nSourcePath=" + dir + "/web.container",
		"cleat-systemd-web.socket":  "ListenStream=0.0.0.0:8080",
	} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(lines, "\n") {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%s: no line %q in\n%s", name, line, text)
			}
		}
	}
}

func TestQuadletApply(t *testing.T) {
	t.Parallel()
	dir := describe(t, map[string]string{"web.container": "[Container]\nImage=x\n", "bad.container": "[Container]\nMemory=1\n"})
	r := &recorder{}
	want(t, try(t, r, "quadlet", "apply", dir+"/web.container"), outcome{})
	if len(r.calls) != 1 {
		t.Errorf("calls %v", r.calls)
	}
	if got := try(t, r, "quadlet", "apply", dir+"/bad.container"); got.Code != 1 || !strings.Contains(got.Err, "there is no Image=") {
		t.Errorf("%+v", got)
	}
	want(t, try(t, r, "quadlet", "sweep"), outcome{Out: "container web\n"})
}
