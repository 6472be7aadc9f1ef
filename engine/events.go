package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/journal/file"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// Event is something that happened to a container, image, volume or network.
type Event = event.Event

// EventOptions says which events to read. The zero value follows all events
// from now on, until the context ends.
type EventOptions struct {
	Since time.Time // zero means from now on, or, with Until, from the beginning
	Until time.Time // may lie in the future; zero means for ever

	// Filters are Docker's, by key: of one key's values one has to fit, of those
	// of "label" all.
	Filters map[string][]string
}

// Check returns an error if there is no such filter, before anything is read.
func (o EventOptions) Check() error {
	_, err := newEventFilter(o)
	return err
}

// tell writes an event into the journal. Events are for those who listen: where
// nobody takes them, nothing else fails.
func (e *Engine) tell(kind event.Type, action, object string, attributes map[string]string) {
	_ = event.Send(Event{Type: kind, Action: action, Object: object, Attributes: attributes, Time: time.Now(), Root: e.opt.Root})
}

// tellContainer is tell for a container, with further attributes as pairs of
// name and value. Its start and end are told of by the unit's own commands.
func (e *Engine) tellContainer(c spec.Container, action string, more ...string) {
	attributes := maps.Clone(c.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["name"], attributes["image"] = c.Name, c.Image.Reference
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	_ = event.Send(Event{
		Type: event.Container, Action: action, Object: c.ID, Attributes: attributes, Time: time.Now(), Root: e.opt.Root, Unit: c.UnitName(),
	})
}

// tellVolume is tell for a volume.
func (e *Engine) tellVolume(action, name string) {
	e.tell(event.Volume, action, name, map[string]string{"driver": "local"})
}

// tellVolumesGone tells of the anonymous volumes of c that have gone with it.
func (e *Engine) tellVolumesGone(c spec.Container) {
	for _, m := range c.Mounts {
		if !m.Anonymous {
			continue
		}
		if _, err := e.state.LoadVolume(m.Source); isNotFound(err) {
			e.tellVolume("destroy", m.Source)
		}
	}
}

// tellNetwork is tell for a network.
func (e *Engine) tellNetwork(action string, n netd.Network) {
	e.tell(event.Network, action, n.ID, map[string]string{"name": n.Name, "type": n.Driver})
}

// tellConnection tells that a container was connected to a network, or is not any
// more.
func (e *Engine) tellConnection(action, container string, ep spec.Endpoint) {
	attributes := map[string]string{"name": ep.Network, "container": container}
	if n, err := e.network(ep.NetworkID); err == nil { // else it has gone already
		attributes["name"], attributes["type"] = n.Name, n.Driver
	}
	e.tell(event.Network, action, ep.NetworkID, attributes)
}

// tellImage is tell for an image. Name is what Docker puts in the attribute of
// that name: a reference or the id.
func (e *Engine) tellImage(action string, img Image, name string) {
	attributes := maps.Clone(img.Config.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["name"] = name
	object := string(img.ID)
	if action == "pull" || action == "push" { // as in Docker
		object, attributes["name"] = name, withoutTag(name)
	}
	e.tell(event.Image, action, object, attributes)
}

// tellRemoved tells what the removal of an image has done.
func (e *Engine) tellRemoved(img Image, done []RemovedImage) {
	for _, d := range done {
		switch {
		case d.Untagged != "":
			e.tellImage("untag", img, string(img.ID))
		case d.Deleted == string(img.ID):
			e.tell(event.Image, "delete", d.Deleted, map[string]string{"name": d.Deleted})
		}
	}
}

// Events yields the events that opt asks for, in the order in which the journal
// has them.
func (e *Engine) Events(ctx context.Context, opt EventOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := e.readEvents(ctx, opt, yield); err != nil {
			yield(Event{}, err)
		}
	}
}

func (e *Engine) readEvents(ctx context.Context, opt EventOptions, yield func(Event, error) bool) error {
	filter, err := newEventFilter(opt)
	if err != nil {
		return err
	}
	reader, err := file.Open()
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	q, err := e.eventQuery(ctx, filter)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if q.Follow && !opt.Until.IsZero() {
		q.Done = settledAt(ctx, opt.Until)
	}
	for entry, err := range reader.Read(ctx, q) {
		if err != nil {
			if !yield(Event{}, err) {
				return nil
			}
			continue
		}
		ev, err := event.Decode(entry.Fields())
		if err != nil || !filter.match(ev) {
			continue // not one of cleat's entries
		}
		if !yield(ev, nil) {
			return nil
		}
	}
	return nil
}

// eventQuery asks the journal for the entries that can be events that f takes.
// Anybody may write such entries; those of root alone are believed.
func (e *Engine) eventQuery(ctx context.Context, f *eventFilter) (journal.Query, error) {
	q := journal.Query{
		Matches: [][]journal.Match{{}, {{Name: journal.FieldUID, Value: "0"}}, {{Name: event.FieldRoot, Value: e.opt.Root}}},
		Since:   f.since, Tail: -1,
		Follow: f.until.IsZero() || f.until.After(time.Now()),
	}
	for _, kind := range event.Types() {
		if f.wants("type", func(v string) bool { return v == string(kind) }) {
			q.Matches[0] = append(q.Matches[0], journal.Match{Name: event.FieldMessageID, Value: event.ID(kind)})
		}
	}
	if q.Follow {
		return q, nil
	}
	err := journal.Synchronize(ctx)
	if errors.Is(err, spec.ErrUnavail) {
		err = nil // nobody is writing
	}
	return q, err
}

// settledAt returns a channel that is closed once all that happened until the
// time t can be read.
func settledAt(ctx context.Context, t time.Time) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		timer := time.NewTimer(time.Until(t))
		defer timer.Stop()
		select {
		case <-timer.C:
			_ = journal.Synchronize(ctx) // otherwise nobody is writing
		case <-ctx.Done():
		}
	}()
	return done
}

// eventKeys are the keys of filters on events.
var eventKeys = []string{"container", "daemon", "event", "image", "label", "network", "plugin", "scope", "type", "volume"}

// eventFilter is an EventOptions that was checked.
type eventFilter struct {
	since, until time.Time
	keys         map[string][]string
}

func newEventFilter(opt EventOptions) (*eventFilter, error) {
	f := &eventFilter{opt.Since, opt.Until, opt.Filters}
	for key := range opt.Filters {
		if !slices.Contains(eventKeys, key) {
			return nil, invalid("invalid filter '%s': the filters are %s", key, strings.Join(eventKeys, ", "))
		}
	}
	if f.since.IsZero() && f.until.IsZero() {
		f.since = time.Now()
	}
	if !f.until.IsZero() && f.since.After(f.until) {
		return nil, invalid("since (%s) cannot be after until (%s)", f.since.Format(time.RFC3339), f.until.Format(time.RFC3339))
	}
	return f, nil
}

// wants reports whether a value of the given key fits, or there is none.
func (f *eventFilter) wants(key string, fits func(string) bool) bool {
	values := f.keys[key]
	return len(values) == 0 || slices.ContainsFunc(values, fits)
}

func (f *eventFilter) match(ev Event) bool {
	if ev.Time.Before(f.since) || !f.until.IsZero() && ev.Time.After(f.until) {
		return false
	}
	for _, kind := range []string{"container", "daemon", "network", "plugin", "volume"} {
		if !f.wants(kind, func(v string) bool { return isObject(ev, kind, v) }) {
			return false
		}
	}
	return f.wants("type", func(v string) bool { return v == string(ev.Type) }) &&
		f.wants("event", func(v string) bool { return isAction(ev.Action, v) }) &&
		f.wants("scope", func(v string) bool { return v == "local" }) &&
		f.wants("image", func(v string) bool { return isOfImage(ev, v) }) &&
		!slices.ContainsFunc(f.keys["label"], func(v string) bool { return !hasAttribute(ev.Attributes, v) })
}

// isObject reports whether ev is about the object of a type that is called want;
// as in Docker the beginning of the id or name is enough.
func isObject(ev Event, kind, want string) bool {
	return string(ev.Type) == kind && (strings.HasPrefix(ev.Object, want) || strings.HasPrefix(ev.Attributes["name"], want))
}

// isAction reports whether an action is want, or one with a command, such as
// "exec_create: ls", whose word want is.
func isAction(action, want string) bool {
	word, _, hasMore := strings.Cut(action, ":")
	return action == want || hasMore && word == want
}

// isOfImage matches an image, and containers made of it, with and without tag.
func isOfImage(ev Event, want string) bool {
	var names []string
	switch ev.Type {
	case event.Image:
		names = []string{ev.Object, ev.Attributes["name"]}
	case event.Container:
		names = []string{ev.Attributes["image"]}
	case event.Volume, event.Network, event.Builder:
	}
	return slices.ContainsFunc(names, func(name string) bool { return name == want || withoutTag(name) == want })
}

// withoutTag returns a reference without its tag and digest.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		return ref[:colon]
	}
	return ref
}

// hasAttribute matches KEY, or KEY=VALUE.
func hasAttribute(attributes map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := attributes[key]
	return ok && (!withValue || got == value)
}
