package tests

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	moby "github.com/moby/moby/client"
)

// goClient drives the API with Docker's Go SDK.
type goClient struct {
	*moby.Client
	t *testing.T
}

func newGoClient(t *testing.T, s apiSite, opt ...moby.Opt) goClient {
	t.Helper()
	c, err := moby.New(append([]moby.Opt{moby.WithHost("unix://" + s.socket)}, opt...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	return goClient{c, t}
}

// need returns what a call returns that has to succeed.
func need[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// create makes a container without network, which is removed with the test.
func (c goClient) create(cfg container.Config) (id string) {
	c.t.Helper()
	cfg.Image = "busybox"
	made := need(c.ContainerCreate(c.t.Context(), moby.ContainerCreateOptions{Config: &cfg, HostConfig: &container.HostConfig{NetworkMode: "none"}}))(c.t)
	c.t.Cleanup(func() {
		_, err := c.ContainerRemove(context.WithoutCancel(c.t.Context()), made.ID, moby.ContainerRemoveOptions{Force: true})
		if err != nil && !errdefs.IsNotFound(err) {
			c.t.Errorf("remove: %v", err)
		}
	})
	return made.ID
}

func (c goClient) start(id string) {
	c.t.Helper()
	need(c.ContainerStart(c.t.Context(), id, moby.ContainerStartOptions{}))(c.t)
}

// code waits for the end of a container.
func (c goClient) code(wait moby.ContainerWaitResult) int64 {
	c.t.Helper()
	select {
	case r := <-wait.Result:
		return r.StatusCode
	case err := <-wait.Error:
		c.t.Fatalf("wait: %v", err)
	}
	return -1
}

// TestGoSDK drives the API with Docker's Go SDK, in the versions that it settles on
// by itself and that old programs ask for.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	for name, opt := range map[string][]moby.Opt{"newest": nil, "1.41": {moby.WithAPIVersion("1.41")}} {
		t.Run(name, func(t *testing.T) {
			for name, run := range map[string]func(*testing.T, goClient){
				"attach": sdkAttach, "logs": sdkLogs, "exec": sdkExec, "terminal": sdkTerminal, "events": sdkEvents, "stats": sdkStats, "copy": sdkCopy,
				"commit": sdkCommit, "network": sdkNetwork, "errors": sdkErrors, "images": sdkImages, "system": sdkSystem,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					run(t, newGoClient(t, s, opt...))
				})
			}
		})
	}
	s.clean(t)
}

func sdkAttach(t *testing.T, c goClient) {
	id := c.create(container.Config{Cmd: []string{"sh", "-c", "cat; echo err >&2; exit 5"}, OpenStdin: true, StdinOnce: true, AttachStdin: true})
	io1 := need(c.ContainerAttach(t.Context(), id, moby.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true}))(t)
	defer io1.Close()
	wait := c.ContainerWait(t.Context(), id, moby.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	c.start(id)
	text := strings.Repeat(strings.Repeat("0123456789", 100)+"\n", 2000)
	go func() {
		_, _ = io.WriteString(io1.Conn, text) // what arrives is compared
		_ = io1.CloseWrite()
	}()
	var stdout, stderr bytes.Buffer
	need(stdcopy.StdCopy(&stdout, &stderr, io1.Reader))(t)
	if stdout.String() != text || stderr.String() != "err\n" {
		t.Errorf("attach returns %d bytes and %q, want %d bytes", stdout.Len(), stderr.String(), len(text))
	}
	if code := c.code(wait); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
}

func sdkLogs(t *testing.T, c goClient) {
	id := c.create(container.Config{Cmd: []string{"sh", "-c", "seq 1000; echo err >&2; read x; echo last"}, OpenStdin: true})
	c.start(id)
	follow := need(c.ContainerLogs(t.Context(), id, moby.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true}))(t)
	defer follow.Close()
	stdin := need(c.ContainerAttach(t.Context(), id, moby.ContainerAttachOptions{Stream: true, Stdin: true}))(t)
	need(io.WriteString(stdin.Conn, "\n"))(t)
	stdin.Close()
	var stdout, stderr bytes.Buffer
	need(stdcopy.StdCopy(&stdout, &stderr, follow))(t)
	if n := strings.Count(stdout.String(), "\n"); n != 1001 || !strings.HasSuffix(stdout.String(), "1000\nlast\n") || stderr.String() != "err\n" {
		t.Errorf("logs return %d lines and %q, want 1001 and one", n, stderr.String())
	}
}

func sdkExec(t *testing.T, c goClient) {
	id := c.create(container.Config{Cmd: []string{"sleep", "1000"}})
	c.start(id)
	made := need(c.ExecCreate(t.Context(), id, moby.ExecCreateOptions{
		Cmd: []string{"sh", "-c", "cat; echo $A >&2; pwd; exit 6"}, Env: []string{"A=1"}, WorkingDir: "/tmp",
		AttachStdin: true, AttachStdout: true, AttachStderr: true,
	}))(t)
	x := need(c.ExecAttach(t.Context(), made.ID, moby.ExecAttachOptions{}))(t)
	defer x.Close()
	need(io.WriteString(x.Conn, "in\n"))(t)
	if err := x.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	need(stdcopy.StdCopy(&stdout, &stderr, x.Reader))(t)
	if stdout.String() != "in\n/tmp\n" || stderr.String() != "1\n" {
		t.Errorf("exec returns %q and %q", stdout.String(), stderr.String())
	}
	if got := need(c.ExecInspect(t.Context(), made.ID, moby.ExecInspectOptions{}))(t); got.ExitCode != 6 || got.Running || got.ContainerID != id {
		t.Errorf("exec inspect: %+v", got)
	}
	// What a client sends before it leaves without a word arrives.
	made = need(c.ExecCreate(t.Context(), id, moby.ExecCreateOptions{Cmd: []string{"sh", "-c", "cat >/left; echo end >>/left"}, AttachStdin: true}))(t)
	gone := need(c.ExecAttach(t.Context(), made.ID, moby.ExecAttachOptions{}))(t)
	need(io.WriteString(gone.Conn, "behind\n"))(t)
	gone.Close()
	until(t, "what a client sent before it left is there", func() bool {
		st, err := c.ContainerStatPath(t.Context(), id, moby.ContainerStatPathOptions{Path: "/left"})
		return err == nil && st.Stat.Size == int64(len("behind\nend\n"))
	})
}

func sdkTerminal(t *testing.T, c goClient) {
	id := c.create(container.Config{Cmd: []string{"sh"}, Tty: true, OpenStdin: true})
	x := need(c.ContainerAttach(t.Context(), id, moby.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true}))(t)
	defer x.Close()
	c.start(id)
	need(c.ContainerResize(t.Context(), id, moby.ContainerResizeOptions{Height: 33, Width: 77}))(t)
	need(io.WriteString(x.Conn, "stty size; exit\n"))(t)
	if out := string(need(io.ReadAll(x.Reader))(t)); !strings.Contains(out, "33 77") {
		t.Errorf("no size on the terminal: %q", out)
	}
}

func sdkEvents(t *testing.T, c goClient) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	label := "go-" + c.ClientVersion()
	seen := c.Events(ctx, moby.EventsListOptions{Filters: moby.Filters{}.Add("label", "ev="+label).Add("type", "container")})
	id := c.create(container.Config{Cmd: []string{"true"}, Labels: map[string]string{"ev": label}})
	wait := c.ContainerWait(t.Context(), id, moby.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	c.start(id)
	c.code(wait)
	need(c.ContainerRemove(t.Context(), id, moby.ContainerRemoveOptions{}))(t)
	var got []events.Action
	for !slices.Contains(got, events.ActionDestroy) {
		select {
		case ev := <-seen.Messages:
			got = append(got, ev.Action)
		case err := <-seen.Err:
			t.Fatalf("events end after %v: %v", got, err)
		}
	}
	want := []events.Action{events.ActionCreate, events.ActionStart, events.ActionDie, events.ActionDestroy}
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	cancel()
	if err := <-seen.Err; !errors.Is(err, context.Canceled) {
		t.Errorf("events, cancelled: %v", err)
	}
}

func sdkStats(t *testing.T, c goClient) {
	id := c.create(container.Config{Cmd: []string{"sh", "-c", "while :; do :; done"}})
	c.start(id)
	stream := need(c.ContainerStats(t.Context(), id, moby.ContainerStatsOptions{Stream: true}))(t)
	defer stream.Body.Close()
	var first, second container.StatsResponse
	dec := json.NewDecoder(stream.Body)
	if err := errors.Join(dec.Decode(&first), dec.Decode(&second)); err != nil {
		t.Fatal(err)
	}
	if first.ID != id || second.CPUStats.CPUUsage.TotalUsage <= first.CPUStats.CPUUsage.TotalUsage || second.PidsStats.Current == 0 {
		t.Errorf("stats: %+v and %+v", first, second)
	}
	once := need(c.ContainerStats(t.Context(), id, moby.ContainerStatsOptions{}))(t)
	defer once.Body.Close()
	if err := json.NewDecoder(once.Body).Decode(&first); err != nil || first.Read.IsZero() {
		t.Errorf("stats without a stream: %+v, %v", first, err)
	}
}

func sdkCopy(t *testing.T, c goClient) {
	id := c.create(container.Config{})
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	data := strings.Repeat("x", 1<<20)
	err := tw.WriteHeader(&tar.Header{Name: "file", Mode: 0o640, Size: int64(len(data)), Uid: 7, Gid: 8})
	_, werr := io.WriteString(tw, data)
	if err := errors.Join(err, werr, tw.Close()); err != nil {
		t.Fatal(err)
	}
	need(c.CopyToContainer(t.Context(), id, moby.CopyToContainerOptions{DestinationPath: "/tmp", Content: &archive}))(t)
	if st := need(c.ContainerStatPath(t.Context(), id, moby.ContainerStatPathOptions{Path: "/tmp/file"}))(t).Stat; st.Size != int64(len(data)) || st.Mode.Perm() != 0o640 {
		t.Errorf("stat: %+v", st)
	}
	from := need(c.CopyFromContainer(t.Context(), id, moby.CopyFromContainerOptions{SourcePath: "/tmp/file"}))(t)
	defer from.Content.Close()
	tr := tar.NewReader(from.Content)
	h := need(tr.Next())(t)
	if got := string(need(io.ReadAll(tr))(t)); got != data || h.Uid != 7 || h.Gid != 8 || h.Mode != 0o640 {
		t.Errorf("copied back: %d bytes, %+v", len(got), h)
	}
	if changes := need(c.ContainerDiff(t.Context(), id, moby.ContainerDiffOptions{}))(t).Changes; !slices.Contains(changes, container.FilesystemChange{Kind: container.ChangeAdd, Path: "/tmp/file"}) {
		t.Errorf("diff: %v", changes)
	}
}

func sdkCommit(t *testing.T, c goClient) {
	id := c.create(container.Config{Env: []string{"A=1", "B=2"}, Labels: map[string]string{"l": "1"}})
	name := "go/committed:" + c.ClientVersion()
	img := need(c.ContainerCommit(t.Context(), id, moby.ContainerCommitOptions{
		Reference: name, Comment: "why", Changes: []string{"ENV C=3"},
		Config: &container.Config{Env: []string{"B=4"}, Cmd: []string{"env"}, User: "7", ExposedPorts: network.PortSet{network.MustParsePort("80/tcp"): {}}},
	}))(t)
	got := need(c.ImageInspect(t.Context(), name))(t)
	cfg := got.Config
	if got.ID != img.ID || cfg.User != "7" || !slices.Equal(cfg.Cmd, []string{"env"}) || len(cfg.ExposedPorts) != 1 || cfg.Labels["l"] != "1" {
		t.Errorf("committed: %+v, %+v", got, cfg)
	}
	for _, entry := range []string{"A=1", "B=4", "C=3"} {
		if !slices.Contains(cfg.Env, entry) {
			t.Errorf("committed without %s: %v", entry, cfg.Env)
		}
	}
	need(c.ImageRemove(t.Context(), name, moby.ImageRemoveOptions{}))(t)
}

func sdkNetwork(t *testing.T, c goClient) {
	name := "go-" + c.ClientVersion()
	made := need(c.NetworkCreate(t.Context(), name, moby.NetworkCreateOptions{Driver: "bridge", Labels: map[string]string{"a": "b"}}))(t)
	volume := need(c.VolumeCreate(t.Context(), moby.VolumeCreateOptions{Name: name}))(t).Volume
	ctr := need(c.ContainerCreate(t.Context(), moby.ContainerCreateOptions{
		Image: "busybox", Name: name, Config: &container.Config{Cmd: []string{"sleep", "1000"}},
		HostConfig: &container.HostConfig{Binds: []string{volume.Name + ":/v"}},
	}))(t)
	c.start(ctr.ID)
	need(c.NetworkConnect(t.Context(), name, moby.NetworkConnectOptions{Container: name, EndpointConfig: &network.EndpointSettings{Aliases: []string{"al"}}}))(t)
	seen := need(c.NetworkInspect(t.Context(), made.ID, moby.NetworkInspectOptions{}))(t).Network
	ep := need(c.ContainerInspect(t.Context(), name, moby.ContainerInspectOptions{}))(t).Container.NetworkSettings.Networks[name]
	if ep == nil || !slices.Contains(ep.Aliases, "al") || seen.Containers[ctr.ID].IPv4Address.Addr() != ep.IPAddress {
		t.Errorf("connected: %+v, the network has %+v", ep, seen.Containers)
	}
	need(c.NetworkDisconnect(t.Context(), name, moby.NetworkDisconnectOptions{Container: name}))(t)
	need(c.ContainerRemove(t.Context(), name, moby.ContainerRemoveOptions{Force: true}))(t)
	need(c.NetworkRemove(t.Context(), name, moby.NetworkRemoveOptions{}))(t)
	need(c.VolumeRemove(t.Context(), name, moby.VolumeRemoveOptions{}))(t)
}

func sdkErrors(t *testing.T, c goClient) {
	id := c.create(container.Config{Cmd: []string{"sleep", "1000"}})
	_, err := c.ContainerInspect(t.Context(), "nosuch", moby.ContainerInspectOptions{})
	if !errdefs.IsNotFound(err) {
		t.Errorf("inspect of a container that is not there: %v", err)
	}
	if _, err = c.ContainerKill(t.Context(), id, moby.ContainerKillOptions{}); !errdefs.IsConflict(err) {
		t.Errorf("kill of one that does not run: %v", err)
	}
	if _, err = c.ContainerCreate(t.Context(), moby.ContainerCreateOptions{Image: "nosuch:image"}); !errdefs.IsNotFound(err) {
		t.Errorf("create of an image that is not there: %v", err)
	}
	if _, err = c.ContainerCreate(t.Context(), moby.ContainerCreateOptions{Image: "busybox", Name: "/../x"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("create with a bad name: %v", err)
	}
	if _, err = c.SwarmInspect(t.Context(), moby.SwarmInspectOptions{}); !errdefs.IsUnavailable(err) {
		t.Errorf("swarm inspect: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.start(id)
	wait := c.ContainerWait(ctx, id, moby.ContainerWaitOptions{})
	cancel()
	if err := <-wait.Error; !errors.Is(err, context.Canceled) {
		t.Errorf("wait, cancelled: %v", err)
	}
}

func sdkImages(t *testing.T, c goClient) {
	name := "go/saved:" + c.ClientVersion()
	need(c.ImageTag(t.Context(), moby.ImageTagOptions{Source: "busybox", Target: name}))(t)
	saved := need(c.ImageSave(t.Context(), []string{name}))(t)
	data := need(io.ReadAll(saved))(t)
	_ = saved.Close()
	need(c.ImageRemove(t.Context(), name, moby.ImageRemoveOptions{}))(t)
	loaded := need(c.ImageLoad(t.Context(), bytes.NewReader(data)))(t)
	defer loaded.Close()
	if out := string(need(io.ReadAll(loaded))(t)); !strings.Contains(out, "Loaded image: "+name) {
		t.Errorf("load says %q", out)
	}
	list := need(c.ImageList(t.Context(), moby.ImageListOptions{Filters: moby.Filters{}.Add("reference", name)}))(t).Items
	if len(list) != 1 || !slices.Contains(list[0].RepoTags, name) {
		t.Errorf("images: %+v", list)
	}
	if h := need(c.ImageHistory(t.Context(), name))(t).Items; len(h) == 0 {
		t.Error("no history")
	}
	need(c.ImageRemove(t.Context(), name, moby.ImageRemoveOptions{}))(t)
}

func sdkSystem(t *testing.T, c goClient) {
	need(c.Ping(t.Context(), moby.PingOptions{}))(t)
	if v := need(c.ServerVersion(t.Context(), moby.ServerVersionOptions{}))(t); v.Os != "linux" {
		t.Errorf("version: %+v", v)
	}
	if i := need(c.Info(t.Context(), moby.InfoOptions{}))(t).Info; i.OSType != "linux" || i.NCPU == 0 {
		t.Errorf("info: %+v", i)
	}
	if df := need(c.DiskUsage(t.Context(), moby.DiskUsageOptions{Images: true, Verbose: true}))(t); df.Images.TotalCount == 0 || len(df.Images.Items) == 0 {
		t.Errorf("df: %+v", df)
	}
}
