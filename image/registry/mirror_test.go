package registry_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
)

func TestMirrors(t *testing.T) {
	origin, mirror, dead := newHub(t), newHub(t), newHub(t)
	dead.Close()
	l := bigLayer(t, 500_000, 1)
	made := imagetest.New(t, nil, l)
	push(t, origin.URL, "app", "latest", made)
	push(t, mirror.URL, "app", "latest", made)
	hosts := map[string]registry.Host{origin.host(): {Mirrors: []string{dead.host(), mirror.host()}}}
	t.Run("mirror is asked instead", func(t *testing.T) {
		origin.misbehave(nil)
		s := newTarget(t)
		if _, err := s.pull(t.Context(), newClient(t, hosts), origin.ref(t, "app")); err != nil {
			t.Fatal(err)
		}
		if n := origin.count(""); n > 0 {
			t.Errorf("%d requests went to the registry", n)
		}
		s.checkWhole(t)
	})
	t.Run("registry stands in for a mirror that breaks in the middle", func(t *testing.T) {
		origin.misbehave(nil)
		mirror.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !isBlob(r) || !strings.HasSuffix(r.URL.Path, image.DigestOf(l.Blob).Hex()) {
				return false
			}
			if r.Header.Get("Range") == "" {
				mirror.inner.ServeHTTP(&cutWriter{ResponseWriter: w, left: 200_000}, r)
			} else {
				answer(w, http.StatusNotFound, "BLOB_UNKNOWN", "gone")
			}
			return true
		})
		s := newTarget(t)
		if _, err := s.pull(t.Context(), newClient(t, hosts), origin.ref(t, "app")); err != nil {
			t.Fatal(err)
		}
		if n := origin.count("bytes="); n != 1 {
			t.Errorf("%d range requests went to the registry, want 1", n)
		}
		s.checkWhole(t)
	})
	t.Run("mirror that forges is not believed", func(t *testing.T) {
		mirror.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				_, _ = w.Write([]byte(strings.Repeat("x", len(l.Blob))))
			}
			return isBlob(r)
		})
		s := newTarget(t)
		if _, err := s.pull(t.Context(), newClient(t, hosts), origin.ref(t, "app")); err == nil {
			s.checkWhole(t) // the registry's configuration was taken, and only then the layer
		} else if _, ok := errors.AsType[*image.Mismatch](err); !ok {
			t.Errorf("pull: %v", err)
		}
	})
}
