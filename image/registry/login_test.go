package registry_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// guard makes h ask for user "user" with password "secret": directly, or through
// a token server at /token of the same host.
func guard(h *hub, scheme string) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		auth := r.Header.Get("Authorization")
		switch {
		case r.URL.Path == "/token" && auth == basic:
			_, _ = w.Write([]byte(`{"token":"good-token"}`))
			return true
		case r.URL.Path == "/token":
			answer(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
			return true
		case scheme == "Basic" && auth == basic, scheme == "Bearer" && auth == "Bearer good-token":
			return false
		case scheme == "Basic":
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+h.URL+`/token",service="hub"`)
		}
		answer(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return true
	})
}

func TestLoginPullLogout(t *testing.T) {
	for _, scheme := range []string{"Basic", "Bearer"} {
		t.Run(scheme, func(t *testing.T) {
			h := newHub(t)
			push(t, h.URL, "app", "latest", imagetest.New(t, nil, bigLayer(t, 1000, 1)))
			guard(h, scheme)
			dir := t.TempDir()
			c := newClientWith(t, registry.Options{ConfigDir: dir})
			s := newTarget(t)
			if _, err := s.pull(t.Context(), c, h.ref(t, "app")); !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "cleat login") {
				t.Errorf("pull before login: %v", err)
			}
			if err := c.Login(t.Context(), h.host(), "user", "wrong"); !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "incorrect username or password") {
				t.Errorf("login with wrong password: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil {
				t.Error("a refused login was stored")
			}
			if err := c.Login(t.Context(), h.host(), "user", "secret"); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(filepath.Join(dir, "config.json"))
			if err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("config.json: %v, %v", fi.Mode(), err)
			}
			if _, err := s.pull(t.Context(), c, h.ref(t, "app")); err != nil {
				t.Errorf("pull after login: %v", err)
			}
			if had, err := c.Logout(t.Context(), h.host()); !had || err != nil {
				t.Errorf("logout: %v, %v", had, err)
			}
			if had, err := c.Logout(t.Context(), h.host()); had || err != nil {
				t.Errorf("second logout: %v, %v", had, err)
			}
			if _, err := s.pull(t.Context(), c, h.ref(t, "app")); !errors.Is(err, spec.ErrDenied) {
				t.Errorf("pull after logout: %v", err)
			}
		})
	}
}

func TestLoginFailures(t *testing.T) {
	h := newHub(t)
	c := newClient(t, nil)
	if err := c.Login(t.Context(), h.host(), "user", ""); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("without password: %v", err)
	}
	if err := c.Login(t.Context(), "bad host", "u", "p"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("bad host: %v", err)
	}
	h.Close()
	if err := c.Login(t.Context(), h.host(), "u", "p"); !errors.Is(err, spec.ErrUnavail) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("unreachable: %v", err)
	}
}

// A credential helper stores, gives and forgets the password.
func TestCredentialHelper(t *testing.T) {
	h := newHub(t)
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, bigLayer(t, 1000, 1)))
	guard(h, "Basic")
	bin, dir := t.TempDir(), t.TempDir()
	script := `#!/bin/sh
cd ` + bin + `
case $1 in
store) cat >stored ;;
get) cat >/dev/null; if [ -e stored ]; then cat stored; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) cat >/dev/null; rm stored ;;
list) echo '{}' ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-cleattest"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	config := imagetest.JSON(t, map[string]any{"credHelpers": map[string]string{h.host(): "cleattest"}})
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClientWith(t, registry.Options{ConfigDir: dir})
	if err := c.Login(t.Context(), h.host(), "user", "secret"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil || strings.Contains(string(data), base64.StdEncoding.EncodeToString([]byte("user:secret"))) {
		t.Errorf("the password lies in config.json: %s, %v", data, err)
	}
	s := newTarget(t)
	if _, err := s.pull(t.Context(), c, h.ref(t, "app")); err != nil {
		t.Error(err)
	}
	if had, err := c.Logout(t.Context(), h.host()); !had || err != nil {
		t.Errorf("logout: %v, %v", had, err)
	}
	if _, err := os.Stat(filepath.Join(bin, "stored")); err == nil {
		t.Error("the helper still has the password")
	}
}

// Docker Hub's credentials lie under a URL; its images are asked for by short names.
func TestDefaultServerKey(t *testing.T) {
	mirror := newHub(t)
	push(t, mirror.URL, "library/app", "latest", imagetest.New(t, nil, bigLayer(t, 1000, 1)))
	c := newClient(t, map[string]registry.Host{"docker.io": {Mirrors: []string{mirror.host()}}})
	s := newTarget(t)
	got, err := s.pull(t.Context(), c, imagetest.Ref(t, "app"))
	if err != nil || got.Image.References[0] != (imagetest.Ref(t, "app:latest")) {
		t.Errorf("pull through a mirror: %v, %v", got.Image.References, err)
	}
	dir := configWith(t, "https://index.docker.io/v1/", "user", "secret")
	if had, err := newClientWith(t, registry.Options{ConfigDir: dir}).Logout(t.Context(), ""); !had || err != nil {
		t.Errorf("logout of the default server: %v, %v", had, err)
	}
}
