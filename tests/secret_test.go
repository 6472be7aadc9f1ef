package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A secret is in the container, as its file, and nowhere else.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	dir, err := os.MkdirTemp("/var/tmp", "cleat-secret-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const first, second = "rosebud-4711", "swordfish-0815"
	path := filepath.Join(dir, "pass 100%d word")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	const look = "cd /run/secrets && ls -ln && cat * && id -u && ! touch new 2>/dev/null && ! touch pw 2>/dev/null"
	flags := []string{"--secret", path + ",target=pw,uid=1000,gid=7,mode=0400", "--mount", "type=secret,source=" + path + ",target=/run/secrets/any,ro", "busybox", "sh", "-c", look}
	want := func(out, secret string) {
		t.Helper()
		for _, part := range []string{" any\n", "-r--r--r--", "-r--------    1 1000     7 ", secret + secret} {
			if !strings.Contains(out, part) {
				t.Errorf("no %q in\n%s", part, out)
			}
		}
	}
	want(s.must(t, append([]string{"run", "--rm", "--network", "none", "-u", "1000"}, flags...)...), first)

	// A boot service, whose unit is a file, reads it anew at each start.
	flags[len(flags)-1] += " && exec sleep 1000"
	s.run(t, "web", append([]string{"--restart", "unless-stopped"}, flags...)...)
	until(t, "output", func() bool { return strings.Contains(s.must(t, "logs", "web"), first+first) })
	if unit := s.systemctl(t, "cat", "cleat-web.service"); !strings.Contains(unit, "\nLoadCredential=pw:"+strings.ReplaceAll(path, "%", "%%")+"\n") {
		t.Errorf("unit file:\n%s", unit)
	}
	for what, where := range map[string]string{
		"inspect": s.must(t, "inspect", "web"), "unit": s.systemctl(t, "show", "cleat-web.service"),
		"environment": s.must(t, "exec", "web", "sh", "-c", "cat /proc/1/environ; env"),
		"records":     s.must(t, "host", "shell", "sh", "-c", "grep -r "+first+" "+s.root+"/containers "+s.root+"/run; true"),
		"layer":       s.must(t, "diff", "web"),
	} {
		if strings.Contains(where, first) {
			t.Errorf("the secret is in the %s", what)
		}
	}
	write(second)
	s.must(t, "restart", "-t", "0", "web")
	until(t, "new output", func() bool { return strings.Contains(s.must(t, "logs", "web"), second+second) })
	if got := s.must(t, "exec", "web", "cat", "/run/secrets/any"); got != second {
		t.Errorf("exec reads %q", got)
	}
	s.must(t, "stop", "-t", "0", "web")
	if got := s.must(t, "host", "shell", "sh", "-c", "find /run/credentials -type f; grep -c credentials /proc/self/mounts; true"); strings.Contains(got, "cleat-web") {
		t.Errorf("after the end there is %s", got)
	}

	// By name.
	s.must(t, "host", "shell", "sh", "-c", "mkdir -p -m 700 /run/credstore && echo -n "+first+" >/run/credstore/db")
	if got := s.must(t, "run", "--rm", "--network", "none", "--secret", "db", "busybox", "cat", "/run/secrets/db"); got != first {
		t.Errorf("by name: %q", got)
	}

	// Refused, in words.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r := s.try("start", "web"); r.code != 1 || !strings.Contains(r.stderr, "there is no such file") {
		t.Errorf("start without the source: %v", r)
	}
	for flag, text := range map[string]string{
		path + ",target=pw":        "there is no such file",
		"nosuch":                   `there is no such credential in /etc/credstore or /run/credstore`,
		dir:                        "is a directory",
		"/etc/passwd,target=../x":  "secrets are files in /run/secrets",
		"/etc/passwd,target=/x":    "secrets are files in /run/secrets",
		"/etc/passwd,target=..":    "not begin with a dot",
		"/etc/passwd,target=a:b":   "must be of letters, digits",
		"/etc/passwd,target=a\nb":  "must be of letters, digits",
		"/etc/passwd,type=env":     "type=env is not supported",
		"/etc/passwd,mode=4755":    "is not an octal number from 1 to 777",
		"/etc/passwd,uid=root":     "is not the number of a user or group",
		"a:b,target=x":             "or the name of a credential",
		"..":                       "must be of letters, digits",
		"/etc/passwd,target=x,foo": "is not of the form NAME=VALUE",
	} {
		r := s.try("run", "--rm", "--network", "none", "--secret", flag, "busybox", "true")
		if r.code != 125 || !strings.Contains(r.stderr, text) {
			t.Errorf("%q: %v, want %q", flag, r, text)
		}
		plain(t, r.stderr)
	}
	if r := s.try("run", "--rm", "--network", "none", "--secret", "/etc/passwd", "--tmpfs", "/run/secrets", "busybox", "true"); r.code != 125 || !strings.Contains(r.stderr, "needs that place itself") {
		t.Errorf("a mount over the secrets: %v", r)
	}
	s.must(t, "rm", "web")
	s.clean(t)
}
