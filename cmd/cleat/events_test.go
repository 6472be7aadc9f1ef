package main

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/journal/event"
)

// chronicle is an engine with some events.
type chronicle struct {
	backend
	list []engine.Event
	got  engine.EventOptions
}

func (c *chronicle) Events(_ context.Context, opt engine.EventOptions) iter.Seq2[engine.Event, error] {
	c.got = opt
	return func(yield func(engine.Event, error) bool) {
		for _, ev := range c.list {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func someEvents() *chronicle {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC)
	return &chronicle{list: []engine.Event{
		{Type: event.Container, Action: "die", Object: "c1", Time: at, Attributes: map[string]string{"name": "web", "image": "nginx", "exitCode": "1", "evil": "\x1b[2J\nfake"}},
		{Type: event.Volume, Action: "create", Object: "data", Time: at},
	}}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	stamp := time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC).Local().Format("2006-01-02T15:04:05.000000000Z07:00")
	tests := map[string]outcome{
		"events": {Out: stamp + ` container die c1 (evil=\x1b[2J\nfake, exitCode=1, image=nginx, name=web)` + "\n" + stamp + " volume create data\n"},
		"system events --format {{.Type}}/{{.Action}}/{{.Status}}/{{.From}}/{{.ID}}/{{.Actor.ID}}/{{.Actor.Attributes.name}}": {
			Out: "container/die/die/nginx/c1/c1/web\nvolume/create////data/<no value>\n",
		},
		"events --format {{.Nope}}": {Err: "cleat: Error parsing format: template: :1:2: executing \"\" at <.Nope>: there is no field \"Nope\"\n", Code: 64},
		"events --format {{":        {Err: "cleat: Error parsing format: template: :1: unclosed action\n", Code: 64},
		"events --since soon":       {Err: "cleat: invalid value for \"since\": failed to parse \"soon\" as a time: it is RFC 3339, seconds since 1970, or a duration such as 42m\n", Code: 1},
		"events --filter web":       {Err: "cleat: invalid argument \"web\" for \"-f, --filter\" flag: invalid filter 'web': it has the form KEY=VALUE\n", Code: 1},
	}
	for line, expect := range tests {
		want(t, try(t, someEvents(), strings.Fields(line)...), expect)
	}
	want(t, try(t, &chronicle{list: someEvents().list[:1]}, "events", "--format", "json"), outcome{
		Out: `{"status":"die","id":"c1","from":"nginx","Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{"evil":"\u001b[2J\nfake","exitCode":"1","image":"nginx","name":"web"}},"scope":"local","time":1767323045,"timeNano":1767323045000000060}` + "\n",
	})
}

func TestEventOptions(t *testing.T) {
	t.Parallel()
	eng := someEvents()
	try(t, eng, "events", "--since", "0", "--until", "100.5", "-f", "type=container", "--filter", "label=a=b", "-f", "type= image")
	want := engine.EventOptions{
		Since: time.Unix(0, 0), Until: time.Unix(100, 500_000_000),
		Filters: map[string][]string{"type": {"container", "image"}, "label": {"a=b"}},
	}
	if diff := cmp.Diff(want, eng.got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
