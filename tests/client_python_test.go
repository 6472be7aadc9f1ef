package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cleat-project/cleat/internal/nstest"
)

// distributionPython is the interpreter that Debian's Python packages are for; in
// front of it in $PATH there may be others.
const distributionPython = "/usr/bin/python3"

// TestPythonSDK drives the API with the docker SDK of Debian's python3-docker.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command(distributionPython, "-c", "import docker").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s(install python3-docker)", err, out)
	}
	s := newAPISite(t)
	cmd := exec.CommandContext(t.Context(), distributionPython, "-W", "ignore", "-B", "testdata/clients/python_sdk.py")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+s.socket, "DOCKER_CONFIG="+filepath.Join(s.root, "docker-config"),
		"REGISTRY="+s.registryInside(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("python_sdk.py: %v\n%s", err, out)
	}
	if r := s.try("ps", "-aq"); r.out != "" {
		t.Errorf("containers left: %v", r)
	}
	if r := s.try("volume", "ls", "-q"); r.out != "" {
		t.Errorf("volumes left: %v", r)
	}
	s.clean(t)
}

// registryInside starts a registry that the host alone can reach, until the test's
// end.
func (s apiSite) registryInside(t *testing.T) (address string) {
	t.Helper()
	var stop func()
	var err error
	dir := t.TempDir()
	nstest.Of(t, "host", s.hostPID(t)).Do(func() { address, stop, err = runRegistry(dir) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}
