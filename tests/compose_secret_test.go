package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Secrets of a project are in its containers, as files, and nowhere else.
func TestComposeSecrets(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "hush", `
services:
  web:
    image: busybox
    user: "1000"
    read_only: true
    restart: always
    command: [sh, -c, "cd /run/secrets; for f in *; do stat -c '%n %u %g %a' $$f; cat $$f; echo; done; trap 'exit 0' TERM; while :; do sleep 1d & wait; done"]
    secrets: [{source: file, uid: "1000", gid: "7", mode: 0o400}, {source: variable, target: token}]
  other:
    image: busybox
    secrets: [stored]
    configs: [{source: inline, target: /etc/app.conf, mode: 0o640}]
    command: [cat, /run/secrets/stored, /etc/app.conf]
secrets:
  file: {file: ./password}
  variable: {environment: HUSH_TOKEN}
  stored: {external: true}
configs: {inline: {content: "greeting=$${HOME}"}}
`)
	const first, second, token = "rosebud-4711", "swordfish-0815", "shibboleth-42"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.dir, "password"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	up := func(value string, args ...string) result {
		cmd := p.cmd(args...)
		cmd.Env = append(os.Environ(), "HUSH_TOKEN="+value)
		return finish(cmd)
	}
	if r := up(token, "up", "-d"); r.code == 0 || !strings.Contains(r.stderr, `no such credential in /etc/credstore`) {
		t.Errorf("up without the external secret: %v", r)
	}
	s.must(t, "host", "shell", "sh", "-c", "mkdir -m 700 /run/credstore; echo of the store >/run/credstore/stored")
	if r := up(token, "up", "-d"); r.code != 0 {
		t.Fatalf("up: %v", r)
	}
	want := "file 1000 7 400\n" + first + "\ntoken 0 0 444\n" + token
	until(t, "the secrets are there", func() bool { return s.must(t, "logs", "hush-web-1") == want })
	until(t, "a secret and a config", func() bool { return s.must(t, "logs", "hush-other-1") == "of the store\ngreeting=${HOME}" })
	for what, where := range map[string]string{
		"inspect": s.must(t, "inspect", "hush-web-1"), "unit": s.systemctl(t, "show", "cleat-hush-web-1.service"),
		"unit file":   s.systemctl(t, "cat", "cleat-hush-web-1.service"),
		"environment": s.must(t, "exec", "-u", "0", "hush-web-1", "sh", "-c", "cat /proc/1/environ; env"),
		"export":      s.must(t, "host", "shell", "sh", "-c", "grep -rl "+token+" "+s.root+"/containers/*/upper "+s.root+"/containers/*/*.json; true"),
		"readable":    s.must(t, "host", "shell", "sh", "-c", "find "+s.root+"/containers -name 'secret.*' -perm /077"),
	} {
		if strings.Contains(where, first) || strings.Contains(where, token) || what == "readable" && where != "" {
			t.Errorf("the secret is in the %s: %s", what, where)
		}
	}
	before := p.ids(t)
	if r := up(token, "up", "-d", "web"); r.code != 0 || p.ids(t)["hush-web-1"] != before["hush-web-1"] {
		t.Errorf("up again: %v", r)
	}
	if r := up(second, "up", "-d", "web"); r.code != 0 || strings.Fields(p.ids(t)["hush-web-1"])[0] == strings.Fields(before["hush-web-1"])[0] {
		t.Errorf("up with another secret: %v", r)
	}
	until(t, "the new secret", func() bool { return strings.Contains(s.must(t, "logs", "hush-web-1"), second) })
	if out := p.mustCompose(t, "run", "--rm", "-T", "other", "stat", "-c", "%a", "/etc/app.conf"); out != "640" {
		t.Errorf("a one-off container has a config of mode %s", out)
	}
	p.mustCompose(t, "down", "-t", "0")
	s.clean(t)
}
