package main

import (
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// tell writes into the journal what has happened to a container, with further
// attributes as pairs of name and value. Where nobody takes it, nobody reads it:
// the container goes on.
func tell(store *state.Store, a plan.Annex, action string, at time.Time, more ...string) {
	attributes := maps.Clone(a.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["name"], attributes["image"] = a.Name, a.Image
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	_ = event.Send(event.Event{
		Type: event.Container, Action: action, Object: a.ID, Attributes: attributes, Time: at, Root: store.Root(), Unit: a.Unit,
	})
}

// tellEnd tells that the payload has ended. A run that was over before its start
// could be told of has that told as well.
func tellEnd(store *state.Store, a plan.Annex, e exit) {
	if !store.Confirmed(a.ID) {
		tell(store, a, "start", e.started)
	}
	if e.oom {
		tell(store, a, "oom", e.at)
	}
	seconds := int64(e.at.Sub(e.started) / time.Second)
	tell(store, a, "die", e.at, "exitCode", strconv.Itoa(e.code), "execDuration", strconv.FormatInt(seconds, 10))
}

// tellVolumesGone tells of the anonymous volumes of c that have gone with it.
func tellVolumesGone(store *state.Store, c spec.Container) {
	for _, m := range c.Mounts {
		if !m.Anonymous {
			continue
		}
		if _, err := store.LoadVolume(m.Source); errors.Is(err, spec.ErrNotFound) {
			_ = event.Send(event.Event{
				Type: event.Volume, Action: "destroy", Object: m.Source, Attributes: map[string]string{"driver": "local"}, Time: time.Now(), Root: store.Root(),
			})
		}
	}
}
