package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuadletBuild describes an image by the Dockerfile that it is built of, and a
// container of it.
func TestQuadletBuild(t *testing.T) {
	s := shared()
	context := t.TempDir()
	dockerfile := func(word string) {
		t.Helper()
		text := "FROM busybox\nARG WHOM\nRUN echo " + word + " $WHOM >/greeting\nCMD cat /greeting && exec sleep 1000\n"
		if err := os.WriteFile(filepath.Join(context, "Containerfile"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dockerfile("hello")
	t.Cleanup(func() {
		s.try("rm", "-f", "systemd-qbuilt")
		s.try("rmi", "-f", "qsite", "qsite:also")
		s.try("host", "shell", "systemctl", "stop", "qsite-build.service")
	})
	s.describe(t, "qsite.build", "[Build]\nImageTag=qsite\nImageTag=qsite:also\nSetWorkingDirectory="+context+"\nBuildArg=WHOM=you\nNetwork=none\nLabel=kind=site\n")
	s.describe(t, "qbuilt.container", "[Container]\nImage=qsite.build\nNetwork=none\nStopSignal=SIGKILL\n")
	s.systemctl(t, "daemon-reload")
	s.systemctl(t, "start", "qbuilt.service")
	until(t, "its output", func() bool { return s.must(t, "logs", "systemd-qbuilt") == "hello you" })
	if got := s.must(t, "image", "inspect", "-f", "{{.Config.Labels.kind}}", "qsite:also"); got != "site" {
		t.Errorf("label %q", got)
	}
	dockerfile("again")
	s.systemctl(t, "restart", "qsite-build.service")
	s.systemctl(t, "restart", "qbuilt.service")
	until(t, "the new output", func() bool { return s.must(t, "logs", "systemd-qbuilt") == "again you" })

	if err := os.WriteFile(filepath.Join(context, "Containerfile"), []byte("FROM busybox\nRUN exit 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.try("host", "shell", "systemctl", "restart", "qsite-build.service"); r.code == 0 {
		t.Error("a build that fails is a unit that starts")
	}
	if r := s.try("host", "shell", "systemctl", "status", "qsite-build.service"); !strings.Contains(r.out, "exit code: 3") {
		t.Errorf("systemctl status:\n%s", r.out)
	}
	s.clean(t)
}
