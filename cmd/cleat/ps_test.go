package main

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
	"github.com/cleat-project/cleat/spec"
)

// now is when the tests of times take place.
var now = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func (f fleet) List(context.Context) ([]engine.Container, error) { return f.list, nil }

func (f fleet) Sizes(_ context.Context, list []engine.Container) ([]engine.ContainerSize, error) {
	sizes := make([]engine.ContainerSize, len(list))
	for i, ct := range list {
		n := int64(len(ct.Name)) * 1000
		sizes[i] = engine.ContainerSize{WritableBytes: n, TotalBytes: n + 1_000_000}
	}
	return sizes, nil
}

// fleet is an engine with some containers, the youngest first.
type fleet struct {
	backend
	list []engine.Container
}

func someContainers() fleet {
	ct := func(id, name, image string, status engine.Status, age time.Duration) engine.Container {
		c := engine.Container{Status: status}
		c.ID, c.Name, c.Created = strings.Repeat(id, 64/len(id)), name, time.Now().Add(-age)
		c.Image = spec.Image{Reference: image, ID: "sha256:" + strings.Repeat("9f", 32)}
		c.Process.Entrypoint = []string{"serve"}
		c.Network.Mode = "none"
		c.Run.StartedAt, c.Run.FinishedAt = time.Now().Add(-age), time.Now().Add(-age+time.Minute)
		return c
	}
	web := ct("ab", "web", "nginx", engine.StatusRunning, 3*time.Hour)
	web.Labels = map[string]string{"tier": "front", "x": "1"}
	web.Mounts = []spec.Mount{{Type: spec.MountVolume, Source: "a-very-long-name", Target: "/data"}, {Type: spec.MountBind, Source: "/srv", Target: "/s"}}
	db := ct("cd", "web-db", "registry.lan:5000/db:1.2@sha256:"+strings.Repeat("0", 64), engine.StatusPaused, 5*time.Hour)
	db.Process.Cmd = []string{"--with", "two words", "and", "more"}
	db.Network = spec.Network{
		Mode: "back", Endpoints: []spec.Endpoint{{NetworkID: "aaaa1111", Network: "back"}, {NetworkID: "bbbb2222", Network: "front"}},
	}
	db.Ports = []spec.Port{{Proto: spec.TCP, HostIP: netip.IPv4Unspecified(), HostPort: 8085, ContainerPort: 80}, {Proto: spec.UDP, ContainerPort: 53}}
	old := ct("ef", "old", "nginx:latest", engine.StatusExited, 48*time.Hour)
	old.Run.ExitCode, old.Image.ID = 137, "sha256:"+strings.Repeat("7c", 32)
	return fleet{list: []engine.Container{web, db, old}}
}

func TestPs(t *testing.T) {
	t.Parallel()
	head := "CONTAINER ID   IMAGE                     COMMAND                  CREATED       STATUS                PORTS                           NAMES\n"
	running := head +
		"abababababab   nginx                     \"serve\"                  3 hours ago   Up 3 hours                      web\n" +
		"cdcdcdcdcdcd   registry.lan:5000/db:1.2  \"serve --with 'two w…\"   5 hours ago   Up 5 hours (Paused)   53/udp, 0.0.0.0:8085->80/tcp   web-db\n"
	tests := map[string]string{
		"":                 running,
		"-q":               "abababababab\ncdcdcdcdcdcd\n",
		"-aq":              "abababababab\ncdcdcdcdcdcd\nefefefefefef\n",
		"-q --no-trunc -l": strings.Repeat("ab", 32) + "\n",
		"-q -n 2":          "abababababab\ncdcdcdcdcdcd\n",
		"-q -n 0":          "abababababab\ncdcdcdcdcdcd\n",
		"-q -n 9":          "abababababab\ncdcdcdcdcdcd\nefefefefefef\n",
		"-a --format {{.Names}}={{.Status}}/{{.State}}":                                           "web=Up 3 hours/running\nweb-db=Up 5 hours (Paused)/paused\nold=Exited (137) 2 days ago/exited\n",
		"-l --format {{.Mounts}}/{{.LocalVolumes}}/{{.Networks}}/{{.Labels}}/{{.Label_\"tier\"}}": "a-very-long-na…,/srv/1/none/tier=front,x=1/front\n",
		"-l --format {{.Names}}_{{.Size}}":                                                        "web 3kB (virtual 1MB)\n",
		"-s --format {{.Size}}":                                                                   "3kB (virtual 1MB)\n6kB (virtual 1.01MB)\n",
		"-l -s":                                                                                   strings.TrimSuffix(head, "\n") + "     SIZE\n" + "abababababab   nginx     \"serve\"   3 hours ago   Up 3 hours             web       3kB (virtual 1MB)\n",
		"--format {{.Networks}}":                                                                  "none\nback,front\n",
		"-l --no-trunc --format {{.Mounts}}":                                                      "a-very-long-name,/srv\n",
		"--format table_{{.Names}}\\t{{.Label_\"a.b.tier\"}}":                                     "NAMES     tier\nweb       \nweb-db    \n",
	}
	for line, out := range tests {
		args := strings.Fields("ps " + line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		got := try(t, someContainers(), args...)
		if diff := cmp.Diff(outcome{Out: squeeze(out)}, outcome{squeeze(got.Out), got.Err, got.Code}); diff != "" {
			t.Errorf("ps %s (-want +got):\n%s", line, diff)
		}
	}
}

// squeeze makes one of several spaces; the width of columns is tested with the
// tables.
func squeeze(s string) string {
	for strings.Contains(s, "   ") {
		s = strings.ReplaceAll(s, "   ", "  ")
	}
	return s
}

func TestPsFilters(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // filters to names
		"name=web":                     "web web-db",
		"name=^/?web$":                 "web",
		"name=^web$ name=db":           "web web-db",
		"id=ab":                        "web",
		"id=ab id=cd":                  "web web-db",
		"id=ef":                        "",
		"status=exited":                "old",
		"status=exited status=paused":  "web-db old",
		"exited=137":                   "old",
		"exited=1":                     "",
		"label=tier":                   "web",
		"label=tier label=x=2":         "",
		"label=tier=front label=x=1":   "web",
		"ancestor=nginx":               "web",
		"ancestor=nginx status=exited": "old",
		"ancestor=9f9f9f9f9f9f":        "web web-db",
		"ancestor=docker.io/library/nginx:latest": "web",
		"before=web":              "web-db",
		"since=web-db":            "web",
		"since=cdcd before=web":   "",
		"volume=/srv":             "web",
		"volume=/data":            "web",
		"volume=a-very-long-name": "web",
		"network=none":            "web",
		"network=front":           "web-db",
		"network=aaaa":            "web-db",
		"network=":                "",
		"publish=8085":            "web-db",
		"publish=8085-9000/tcp":   "web-db",
		"publish=8085/udp":        "",
		"publish=80":              "",
		"expose=80":               "web-db",
		"expose=50-60/udp":        "web-db",
		"expose=8085":             "",
		"expose=1 publish=8085":   "web-db",
		"health=none":             "web web-db",
		"health=healthy":          "",
		"is-task=true":            "",
		"is-task=false":           "web web-db",
		"isolation=process":       "web web-db",
		"network=host":            "",
	}
	for line, names := range tests {
		args := []string{"ps", "--format", "{{.Names}}"}
		for f := range strings.FieldsSeq(line) {
			args = append(args, "-f", f)
		}
		got := try(t, someContainers(), args...)
		if strings.Join(strings.Fields(got.Out), " ") != names || got.Code != 0 {
			t.Errorf("%s: %+v, want %s", line, got, names)
		}
	}
	for line, msg := range map[string]string{
		"publish=x":   "it has the form PORT[-PORT][/PROTOCOL]",
		"expose=9-1":  "it has the form PORT[-PORT][/PROTOCOL]",
		"expose=1/ip": "it has the form PORT[-PORT][/PROTOCOL]",
		"health=odd":  "the states are starting, healthy, unhealthy, none",
		"is-task=odd": "it is true or false",
		"size=3":      "invalid filter 'size'",
		"status=odd":  "invalid filter 'status=odd'",
		"exited=odd":  "wants a number",
		"name=(":      "invalid filter 'name=('",
		"before=nope": "no such container: nope",
	} {
		if got := try(t, someContainers(), "ps", "--filter", line); got.Code != 1 || !strings.Contains(got.Err, msg) || got.Out != "" {
			t.Errorf("%s: %+v, want %q", line, got, msg)
		}
	}
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	ct := func(status engine.Status, code int, started, finished time.Time) engine.Container {
		c := engine.Container{Status: status}
		c.Run.ExitCode, c.Run.StartedAt, c.Run.FinishedAt = code, started, finished
		return c
	}
	health := func(status engine.Status, health engine.HealthStatus) engine.Container {
		c := ct(status, 0, ago(5*time.Minute), time.Time{})
		c.Health = &engine.Health{Status: health}
		return c
	}
	for want, c := range map[string]engine.Container{
		"Up 5 minutes (health: starting)": health(engine.StatusRunning, "starting"),
		"Up 5 minutes (healthy)":          health(engine.StatusRunning, "healthy"),
		"Up 5 minutes (unhealthy)":        health(engine.StatusRunning, "unhealthy"),
		"Up 5 minutes (Paused)":           health(engine.StatusPaused, "healthy"),
		"Created":                         ct(engine.StatusCreated, 0, time.Time{}, time.Time{}),
		"Up 5 minutes":                    ct(engine.StatusRunning, 3, ago(5*time.Minute), ago(time.Hour)),
		"Up 2 weeks (Paused)":             ct(engine.StatusPaused, 0, ago(15*24*time.Hour), time.Time{}),
		"Restarting (1) 2 seconds ago":    ct(engine.StatusRestarting, 1, ago(time.Minute), ago(2*time.Second)),
		"Exited (137) 3 seconds ago":      ct(engine.StatusExited, 137, ago(time.Minute), ago(3*time.Second)),
		"Exited (127)":                    ct(engine.StatusExited, 127, time.Time{}, time.Time{}),
		"Dead":                            ct(engine.StatusDead, 0, ago(time.Hour), ago(time.Minute)),
	} {
		if got := listing.StatusText(c, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"__complete stop _":                  "web abababababab",
		"__complete unpause _":               "web-db cdcdcdcdcdcd",
		"__complete start _":                 "old efefefefefef",
		"__complete rm _":                    "web abababababab web-db cdcdcdcdcdcd old efefefefefef",
		"__complete container rm o":          "web abababababab web-db cdcdcdcdcdcd old efefefefefef",
		"__complete exec _":                  "web abababababab",
		"__complete exec web _":              "",
		"__complete rmi _":                   "nginx:latest",
		"__complete run _":                   "nginx:latest",
		"__complete volume rm _":             "data",
		"__complete volume export _":         "data",
		"__complete inspect _":               "web abababababab web-db cdcdcdcdcdcd old efefefefefef nginx:latest lan data",
		"__complete inspect --type _":        "container image network volume",
		"__complete run --network _":         "lan",
		"__complete create --volumes-from _": "web abababababab web-db cdcdcdcdcdcd old efefefefefef",
		"__complete run --pull=_":            "always missing never",
		"__complete volume ls -f _":          "dangling= driver= label= name=",
	}
	for line, words := range tests {
		args := strings.Fields(line)
		args[len(args)-1] = strings.TrimSuffix(args[len(args)-1], "_")
		got := try(t, withImages{someContainers()}, args...)
		list, _, _ := strings.Cut("\n"+got.Out, "\n:") // the number after it tells the shell what else to do
		if strings.Join(strings.Fields(list), " ") != words {
			t.Errorf("%s: %+v, want %s", line, got, words)
		}
	}
}

// withImages has containers and an image.
type withImages struct{ fleet }

func (w withImages) ContainerNames(context.Context) ([]engine.ContainerName, error) {
	var names []engine.ContainerName
	for _, ct := range w.list {
		names = append(names, engine.ContainerName{Name: ct.Name, ID: ct.ID})
	}
	return names, nil
}

func (withImages) ImageNames(context.Context) ([]engine.Reference, error) {
	ref, err := engine.ParseReference("nginx")
	return []engine.Reference{ref}, err
}

func (withImages) Volumes(context.Context, engine.VolumeFilter) ([]engine.Volume, error) {
	return []engine.Volume{{Name: "data"}}, nil
}

func (withImages) Networks(context.Context, map[string][]string) ([]engine.NetworkInspect, error) {
	return []engine.NetworkInspect{{Name: "lan"}}, nil
}
