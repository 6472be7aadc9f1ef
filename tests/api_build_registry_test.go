package tests

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerBuildPrivate builds from an image that only those may pull who log in: the
// credentials are the client's, and stay nowhere.
func TestDockerBuildPrivate(t *testing.T) {
	t.Parallel()
	const user, password = "somebody", "a-secret-of-the-client"
	registry := startRegistry(t)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	defer guard.Close()
	private := strings.TrimPrefix(guard.URL, "http://")

	s := apiSite{site: newSite(t)}
	if err := importBusybox(s.site); err != nil {
		t.Fatal(err)
	}
	s.socket = fmt.Sprintf("/proc/%d/root/run/cleat/cleat.sock", s.hostPID(t))
	s.must(t, "tag", "busybox", registry+"/a/base:1")
	s.must(t, "push", "-q", registry+"/a/base:1")
	s.must(t, "rmi", registry+"/a/base:1", "busybox")

	dir, config := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+private+"/a/base:1\nCMD echo built\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := func() result {
		cmd := s.docker(t, "build", "-t", "of-private", dir)
		cmd.Env = append(cmd.Environ(), "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+config)
		return finish(cmd)
	}
	if r := build(); r.code == 0 || !strings.Contains(r.stderr, "base") {
		t.Errorf("without credentials: %v", r)
	}
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if err := os.WriteFile(filepath.Join(config, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, private, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	r := build()
	if r.code != 0 || !strings.Contains(r.out, "1: Pulling from a/base") || !strings.Contains(r.out, "Successfully tagged of-private:latest") || strings.Contains(r.out+r.stderr, password) {
		t.Errorf("with credentials: %v", r)
	}
	if got := s.must(t, "run", "--rm", "--network", "none", "of-private"); got != "built" {
		t.Errorf("what was built says %q", got)
	}
	s.clean(t)
}
