package tests

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// classicCases are what the classic builder is asked for.
var classicCases = []struct {
	dockerfile string
	flags      string
	again      bool // once more, with a cache
}{
	{dockerfile: "ARG V=1\nFROM busybox AS base\nARG WHO\nENV A=1 B=$WHO\nLABEL k=v\nRUN echo out $WHO\nFROM busybox AS unused\nRUN echo unused\nFROM base\n" +
		"COPY f /f\nCOPY --from=unused /bin/sh /sh2\nWORKDIR /w/x\nRUN echo part; printf 'no newline'\nUSER root\nEXPOSE 80\nVOLUME /v\nENTRYPOINT [\"cat\"]\nCMD [\"/f\"]\n" +
		"HEALTHCHECK CMD true\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/sh\",\"-c\"]\nADD f /g\nMAINTAINER me\n", flags: "-t classic:1 -t classic2 --build-arg WHO=w --build-arg NOPE=x", again: true},
	{dockerfile: "FROM busybox\nRUN echo >&2 complaint\nCOPY . /all/\n", flags: "--label a=b --label c=d", again: true},
	{dockerfile: "FROM busybox\nRUN echo quiet\n", flags: "-q"},
	{dockerfile: "FROM busybox\nRUN echo before; exit 3\n", flags: "-t never"},
	{dockerfile: "FROM busybox\nRUN echo before; exit 3\n", flags: "-q"},
	{dockerfile: "FROM scratch\nCOPY f /\n", flags: "-t classic3"},
	{dockerfile: "FROM busybox AS one\nRUN echo 1\nFROM busybox AS two\nRUN echo 2\n", flags: "--target one"},
	{dockerfile: "# syntax=docker/dockerfile:1\n# escape=`\nFROM busybox\nRUN echo   a  `\n  b\n", flags: "--no-cache --force-rm"},
	{dockerfile: "FROM busybox\nONBUILD COPY f /trigger\nONBUILD RUN echo triggered\n", flags: "-t classic-trigger"},
	{dockerfile: "FROM classic-trigger\nRUN cat /trigger\n", flags: "-t classic-triggered"},
}

// TestDockerBuild builds the same things with the Docker client here and at a Docker
// daemon of its own, and compares what the client prints. It needs dockerd.
func TestDockerBuild(t *testing.T) {
	t.Parallel()
	docker := startDocker(t)
	s := newAPISite(t)
	for _, tt := range classicCases {
		dir := t.TempDir()
		for name, text := range map[string]string{"Dockerfile": tt.dockerfile, "f": "file\n", ".dockerignore": "ignored\n", "ignored": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for range map[bool]int{true: 2}[tt.again] + map[bool]int{false: 1}[tt.again] {
			args := slices.Concat([]string{"build", "--network", "none"}, strings.Fields(tt.flags), []string{dir})
			want, got := classic(docker(args...)), classic(s.docker(t, args...))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("docker %s of %q (-theirs +ours):\n%s", strings.Join(args, " "), tt.dockerfile, diff)
			}
		}
	}
	s.steps(t, []step{
		{line: "run --rm --network none classic:1", out: "file"},
		{line: "run --rm --network none classic:1 /g", out: "file"},
		{line: "image inspect -f {{.Author}}|{{.Config.WorkingDir}}|{{json_.Config.Env}} classic2", out: `me\|/w/x\|.*"B=w".*`},
	})
	s.clean(t)
}

// built is what the client printed.
type built struct {
	Code        int
	Out, Stderr string
}

var (
	buildIDs = regexp.MustCompile(`\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b`)
	tarSize  = regexp.MustCompile(`(?m)^Sending build context.*\r?\n`)

	// Docker runs no command for these either, but makes a container for each of them
	// all the same, and has each in its cache.
	noCommand = regexp.MustCompile(`(?m)^(Step \S+ : (?:ARG|ENV|LABEL|WORKDIR|USER|EXPOSE|VOLUME|ENTRYPOINT|CMD|HEALTHCHECK|STOPSIGNAL|SHELL|ONBUILD|MAINTAINER) .*\n)((?: ---> Running in ID\n)?(?:Removing intermediate container ID\n)?)( ---> Using cache\n)?`)
)

// classic runs a build, and takes out of what it prints what differs by nature.
func classic(cmd *exec.Cmd) built {
	cmd.Env = append(cmd.Environ(), "DOCKER_BUILDKIT=0")
	r := finish(cmd)
	plainText := func(s string) string {
		s = buildIDs.ReplaceAllString(tarSize.ReplaceAllString(s+"\n", ""), "ID")
		return noCommand.ReplaceAllString(s, "$1")
	}
	return built{r.code, plainText(r.out), plainText(r.stderr)}
}

// TestDockerBuildEnds ends builds in the middle: by their client's end, by name, and
// by the server's.
func TestDockerBuildEnds(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	var body bytes.Buffer
	tw := tar.NewWriter(&body)
	text := "FROM busybox\nRUN echo begun; sleep 1000\n"
	if err := tw.WriteHeader(&tar.Header{Name: "Dockerfile", Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(tw, text); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	// begin returns when the command of the build runs.
	begin := func(id string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://d/v1.44/build?networkmode=none&buildid="+id, bytes.NewReader(body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var seen []byte
		for buf := make([]byte, 4096); !bytes.Contains(seen, []byte(`begun\n`)); {
			n, err := resp.Body.Read(buf)
			if seen = append(seen, buf[:n]...); err != nil {
				t.Fatalf("the build ends with %v after %s", err, seen)
			}
		}
		return resp
	}
	ended := func(how string) {
		t.Helper()
		until(t, how+": nothing of the build runs", func() bool {
			units := s.systemctl(t, "list-units", "--plain", "--no-legend", "cleat-build-*.service")
			return units == "" && !strings.Contains(s.server(t, "systemctl status --no-pager --lines=0 cleat-apid.service 2>/dev/null || true"), "cleat-build")
		})
	}
	resp := begin("")
	_ = resp.Body.Close()
	ended("the client is gone")

	resp = begin("mine")
	if code, answer := s.call(t, "POST", "/v1.44/build/cancel?id=mine", ""); code != http.StatusOK {
		t.Errorf("cancel: %d %s", code, answer)
	}
	rest, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(rest), "cancelled") {
		t.Errorf("a cancelled build says %s, %v", rest, err)
	}
	ended("it was cancelled")

	resp = begin("")
	s.kill(t)
	_, _ = io.Copy(io.Discard, resp.Body) // its end is what counts
	_ = resp.Body.Close()
	ended("the server was killed")
	s.client.CloseIdleConnections()

	// What a build has done is there for the next one, and can be removed.
	s.steps(t, []step{
		{line: "system df --format {{.Type}}", out: "Images\nContainers\nLocal Volumes\nBuild Cache"},
		{line: "builder prune -af", out: "Total reclaimed space: .*"},
	})
	s.clean(t)
}

// TestBuildHostileInput sends what no client should.
func TestBuildHostileInput(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	canary := filepath.Join(s.root, "canary")
	if err := os.WriteFile(canary, []byte("FROM busybox\nRUN echo secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ query, want string }{
		{"remote=" + canary, "invalid remote context"},
		{"dockerfile=../../../../../../../.." + canary, "Dockerfile"},
		{"dockerfile=link", "Dockerfile"},
		{"dockerfile=%00", "NUL"},
		{"version=2", "BuildKit"},
		{"buildargs=" + strings.Repeat("x", 300000), "invalid JSON"},
		{"networkmode=--help&t=x", "network"},
		{"t=--help", "invalid image reference"},
	} {
		var body bytes.Buffer
		tw := tar.NewWriter(&body)
		text := "FROM busybox\nRUN true\n"
		for _, h := range []tar.Header{
			{Name: "Dockerfile", Size: int64(len(text)), Mode: 0o644},
			{Name: "link", Typeflag: tar.TypeSymlink, Linkname: canary},
		} {
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := io.WriteString(tw, text); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://d/build?"+tt.query, &body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", clip(tt.query), err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(answer), tt.want) || strings.Contains(string(answer), "secret") || resp.StatusCode == 200 && !strings.Contains(string(answer), "errorDetail") {
			t.Errorf("%s: %d %s, %v", clip(tt.query), resp.StatusCode, answer, err)
		}
		plain(t, string(answer))
	}
	for _, body := range []string{"", "garbage", strings.Repeat("\x00", 4096)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://d/build", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q as a context: %d %s, %v", clip(body), resp.StatusCode, answer, err)
		}
	}
	s.clean(t)
}
