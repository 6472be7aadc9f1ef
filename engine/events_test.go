package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/spec"
)

func TestEventFilter(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	start := Event{Type: event.Container, Action: "start", Object: "abcdef", Time: at, Attributes: map[string]string{"name": "web", "image": "lan:5000/nginx:1.2", "tier": "front"}}
	exec := Event{Type: event.Container, Action: "exec_create: ls -l", Object: "abcdef", Time: at, Attributes: map[string]string{"name": "web"}}
	pull := Event{Type: event.Image, Action: "pull", Object: "nginx:1.2", Time: at, Attributes: map[string]string{"name": "nginx"}}
	volume := Event{Type: event.Volume, Action: "create", Object: "web", Time: at}
	type keys = map[string][]string
	for what, tt := range map[string]struct {
		ev   Event
		keys keys
		want bool
	}{
		"no filter":                              {start, nil, true},
		"a type":                                 {start, keys{"type": {"container"}}, true},
		"one of two types":                       {start, keys{"type": {"image", "container"}}, true},
		"another type":                           {start, keys{"type": {"volume"}}, false},
		"a name":                                 {start, keys{"container": {"web"}}, true},
		"the beginning of an id":                 {start, keys{"container": {"abc"}}, true},
		"an id that goes on":                     {start, keys{"container": {"abcdef0"}}, false},
		"a volume is no container":               {volume, keys{"container": {"web"}}, false},
		"a volume":                               {volume, keys{"volume": {"web"}}, true},
		"an action":                              {start, keys{"event": {"start"}}, true},
		"no beginning of an action":              {start, keys{"event": {"st"}}, false},
		"an action with a command":               {exec, keys{"event": {"exec_create"}}, true},
		"an action with another":                 {exec, keys{"event": {"exec_create: ls"}}, false},
		"all of an action":                       {exec, keys{"event": {"exec_create: ls -l"}}, true},
		"an image without its tag":               {start, keys{"image": {"lan:5000/nginx"}}, true},
		"an image":                               {start, keys{"image": {"lan:5000/nginx:1.2"}}, true},
		"an image with another tag":              {start, keys{"image": {"lan:5000/nginx:1.3"}}, false},
		"a port is no tag":                       {start, keys{"image": {"lan"}}, false},
		"what was pulled":                        {pull, keys{"image": {"nginx"}}, true},
		"a label":                                {start, keys{"label": {"tier"}}, true},
		"a label with its value":                 {start, keys{"label": {"tier=front"}}, true},
		"all labels have to fit":                 {start, keys{"label": {"tier=front", "tier=back"}}, false},
		"all keys have to fit":                   {start, keys{"type": {"container"}, "event": {"die"}}, false},
		"there is no daemon":                     {start, keys{"daemon": {""}}, false},
		"everything is local":                    {start, keys{"scope": {"local"}}, true},
		"nothing is the swarm's":                 {start, keys{"scope": {"swarm"}}, false},
		"a volume is of no image, however named": {volume, keys{"image": {"web"}}, false},
	} {
		f, err := newEventFilter(EventOptions{Since: at, Until: at, Filters: tt.keys})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.match(tt.ev); got != tt.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestEventTimes(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 5)
	for _, tt := range []struct {
		since, until time.Time
		want         bool
	}{
		{at, at, true},
		{at.Add(1), at.Add(2), false},
		{at.Add(-2), at.Add(-1), false},
		{time.Time{}, at.Add(1), true},
		{at, time.Time{}, true},
		{time.Time{}, time.Time{}, false}, // from now on
	} {
		f, err := newEventFilter(EventOptions{Since: tt.since, Until: tt.until})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.match(Event{Type: event.Volume, Time: at}); got != tt.want {
			t.Errorf("from %v until %v: %v", tt.since, tt.until, got)
		}
	}
	for what, opt := range map[string]EventOptions{
		"the end before the beginning": {Since: at.Add(1), Until: at},
		"an unknown key":               {Filters: map[string][]string{"colour": {"red"}}},
	} {
		if _, err := newEventFilter(opt); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
