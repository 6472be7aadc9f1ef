package registry_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
)

// The test program pulls instead of testing if this variable has a store's root
// and a reference.
const pullVariable = "CLEAT_TEST_PULL"

func TestMain(m *testing.M) {
	if root, name, ok := strings.Cut(os.Getenv(pullVariable), " "); ok {
		os.Exit(pullForParent(root, name))
	}
	os.Exit(m.Run())
}

// pullForParent pulls and prints a line for each layer that is done.
func pullForParent(root, name string) int {
	ref, err := image.ParseReference(name)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c := registry.New(registry.Options{ConfigDir: root, CertDir: root})
	_, err = c.Pull(context.Background(), image.New(root, image.Options{}), ref, registry.PullOptions{
		Unpack: imagetest.Unpack,
		Progress: func(e image.Event) {
			if e.Phase == image.Done {
				fmt.Println("done", e.Layer)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// startPull pulls in a process of its own.
func startPull(t *testing.T, s target, ref image.Reference) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), pullVariable+"="+s.root+" "+ref.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// A pull that is killed leaves nothing visible, and the next one does not load
// again what was complete.
func TestKilledPullIsTakenUp(t *testing.T) {
	h := newHub(t)
	small, big := bigLayer(t, 100_000, 1), bigLayer(t, 2<<20, 2)
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, small, big))
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, image.DigestOf(big.Blob).Hex()) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(big.Blob)))
		_, _ = w.Write(big.Blob[:len(big.Blob)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the client is killed
		return true
	})
	s := newTarget(t)
	cmd, lines := startPull(t, s, h.ref(t, "app"))
	if !lines.Scan() || lines.Text() != "done "+string(image.DigestOf(small.Blob)) {
		t.Fatalf("the child says %q", lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatalf("listed after the kill: %v, %v", list, err)
	}
	h.misbehave(nil)
	if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app")); err != nil {
		t.Fatal(err)
	}
	if n := h.count(image.DigestOf(small.Blob).Hex()); n != 0 {
		t.Errorf("the complete layer was loaded again, %d times", n)
	}
	s.checkWhole(t)
}

// Kills at random moments, the first ones before and the last ones after the end.
func TestPullKilledAnywhere(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 3<<20, 1), bigLayer(t, 1<<20, 2), bigLayer(t, 300_000, 3), bigLayer(t, 10, 4))
	push(t, h.URL, "app", "latest", made)
	s := newTarget(t)
	rounds := 25
	if testing.Short() {
		rounds = 8
	}
	completed := 0
	for range rounds {
		cmd, _ := startPull(t, s, h.ref(t, "app"))
		timer := time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		if cmd.Wait() == nil {
			completed++
		}
		timer.Stop()
		list, err := s.List()
		if err != nil || completed > 0 && len(list) == 0 {
			t.Fatalf("listed after a kill: %v, %v", list, err)
		}
		s.checkWhole(t)
		if len(list) > 0 && rand.IntN(2) == 0 {
			if _, err := s.Remove(t.Context(), string(made.ID()), image.RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			completed = 0
		}
	}
	if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app")); err != nil {
		t.Fatal(err)
	}
	s.checkWhole(t)
	if _, err := s.Remove(t.Context(), string(made.ID()), image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Sweep(t.Context()); !ok || err != nil {
		t.Fatalf("Sweep = %v, %v", ok, err)
	}
	for _, pattern := range []string{"layers/*", "layers/.*", "images/blobs/sha256/*", "images/staging/*/*", "images/.*", "images/sizes/*", "images/locks/*"} {
		if left, _ := filepath.Glob(filepath.Join(s.root, pattern)); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}
