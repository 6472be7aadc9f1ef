package tests

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// serveRegistry is the script command "registry": it starts Debian's
// docker-registry on loopback until the script's end, and sets $REG to its address.
func serveRegistry(ts *testscript.TestScript, _ bool, _ []string) {
	address, stop, err := runRegistry(ts.MkAbs("registry"))
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("REG", address)
}

// startRegistry is runRegistry for a test, until whose end it runs.
func startRegistry(t *testing.T) (address string) {
	t.Helper()
	address, stop, err := runRegistry(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// runRegistry starts Debian's docker-registry on loopback.
func runRegistry(dir string) (address string, stop func(), err error) {
	return runRegistryWith(dir, "")
}

// runRegistryWith is runRegistry with more configuration, run by the program
// around if there is one.
func runRegistryWith(dir, more string, around ...string) (address string, stop func(), err error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Appendf(nil, "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: 127.0.0.1:0\n%s", dir, more)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return "", nil, err
	}
	argv := append(around, program, "serve", config)
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() { // so that it never blocks on a full pipe
				}
			}()
			return m[1], stop, nil
		}
	}
	stop()
	return "", nil, errors.New("docker-registry did not start")
}

// signImage is the script command "sign KEY REPOSITORY FILE [SIGNED]": signs the
// manifest whose digest is in FILE in the registry $REG, as cosign does, with a
// new key whose public part is written to the file KEY. SIGNED is the digest that
// the signature is for, if it is another.
func signImage(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: sign KEY REPOSITORY FILE [SIGNED]")
	}
	repository, digest := args[1], strings.TrimSpace(ts.ReadFile(args[2]))
	signed := digest
	if len(args) > 3 {
		signed = args[3]
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	payload, err := json.Marshal(map[string]any{"critical": map[string]any{
		"identity": map[string]string{"docker-reference": ts.Getenv("REG") + "/" + repository},
		"image":    map[string]string{"docker-manifest-digest": signed},
		"type":     "cosign container image signature",
	}})
	ts.Check(err)
	sum := sha256.Sum256(payload)
	value, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	ts.Check(err)
	base := "http://" + ts.Getenv("REG") + "/v2/" + repository
	descriptor := func(mediaType string, blob []byte, annotations map[string]string) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": putBlob(ts, base, blob), "size": len(blob), "annotations": annotations}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest,
		"config": descriptor("application/vnd.oci.image.config.v1+json", []byte("{}"), nil),
		"layers": []any{descriptor("application/vnd.dev.cosign.simplesigning.v1+json", payload, map[string]string{
			"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(value),
		})},
	})
	ts.Check(err)
	putHTTP(ts, http.MethodPut, base+"/manifests/"+strings.Replace(digest, ":", "-", 1)+".sig", ociManifest, manifest)
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

func putBlob(ts *testscript.TestScript, base string, blob []byte) string {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(blob))
	to := putHTTP(ts, http.MethodPost, base+"/blobs/uploads/", "", nil)
	putHTTP(ts, http.MethodPut, to+"&digest="+digest, "application/octet-stream", blob)
	return digest
}

func putHTTP(ts *testscript.TestScript, method, to, mediaType string, body []byte) (location string) {
	req, err := http.NewRequest(method, to, bytes.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		ts.Fatalf("%s %s: %s", method, to, resp.Status)
	}
	return resp.Header.Get("Location")
}
