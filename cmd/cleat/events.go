package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type eventer interface {
	Events(ctx context.Context, opt engine.EventOptions) iter.Seq2[engine.Event, error]
}

// eventsFlags are the flags of events.
type eventsFlags struct {
	since, until, format string
	filters              []string
}

const eventsLong = `
Events are entries of systemd's journal: they are there for as long as it keeps
them, also those from before the last boot, and can be read with journalctl as
well (fields CLEAT_EVENT, CLEAT_ACTION, CLEAT_OBJECT).`

const eventsFormatUsage = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`

func newEvents(c *cli) *cobra.Command {
	f := &eventsFlags{}
	cmd := &cobra.Command{
		Use: "events [OPTIONS]", Short: "Get real time events from the server", Long: eventsLong,
		Annotations: also("system events", "events"),
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "Filter output based on conditions provided")
	asList(fs.Lookup("filter"))
	asType(fs.Lookup("filter"), "filter")
	fs.StringVar(&f.format, "format", "", eventsFormatUsage)
	fs.StringVar(&f.since, "since", "", "Show all events created since timestamp")
	fs.StringVar(&f.until, "until", "", "Stream events until this timestamp")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opt, err := f.options(time.Now())
		if err != nil {
			return err
		}
		show, err := eventPrinter(f.format)
		if err != nil {
			return codedError{fmt.Errorf("Error parsing format: %w", err), exitBadFormat}
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.events(cmd.Context(), eng, opt, show)
	}
	return cmd
}

// exitBadFormat is Docker's exit code of events with a template that is none.
const exitBadFormat = 64

func (f *eventsFlags) options(now time.Time) (opt engine.EventOptions, err error) {
	if opt.Since, err = eventTime(f.since, now); err != nil {
		return opt, fmt.Errorf("invalid value for \"since\": %w", err)
	}
	if opt.Until, err = eventTime(f.until, now); err != nil {
		return opt, fmt.Errorf("invalid value for \"until\": %w", err)
	}
	opt.Filters = map[string][]string{}
	for _, pair := range f.filters {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return opt, fmt.Errorf("invalid argument %q for \"-f, --filter\" flag: invalid filter '%s': it has the form KEY=VALUE", pair, pair)
		}
		key = strings.ToLower(strings.TrimSpace(key))
		opt.Filters[key] = append(opt.Filters[key], strings.TrimSpace(value))
	}
	return opt, nil
}

// eventTime is logTime, except that "0" is the beginning of time.
func eventTime(s string, now time.Time) (time.Time, error) {
	if s == "0" {
		return time.Unix(0, 0), nil
	}
	return logTime(s, now)
}

func (c *cli) events(ctx context.Context, eng eventer, opt engine.EventOptions, show func(io.Writer, engine.Event) error) error {
	for ev, err := range eng.Events(ctx, opt) {
		if err != nil {
			return err
		}
		if err := show(c.out, ev); err != nil {
			return err
		}
	}
	return nil
}

// eventPrinter returns what prints an event in the given form.
func eventPrinter(form string) (func(io.Writer, engine.Event) error, error) {
	switch form {
	case "":
		return printEvent, nil
	case "json":
		form = "{{json .}}"
	}
	t, err := format.Parse(form)
	if err != nil {
		return nil, errors.Unwrap(err) // its own words are the caller's
	}
	if err := format.Check(t, newEventRow(engine.Event{})); err != nil {
		return nil, err
	}
	return func(w io.Writer, ev engine.Event) error { return printEventAs(w, t, ev) }, nil
}

func printEventAs(w io.Writer, t *template.Template, ev engine.Event) error {
	var line strings.Builder
	if err := t.Execute(&line, newEventRow(ev)); err != nil {
		return err
	}
	_, err := io.WriteString(w, line.String()+"\n")
	return err
}

// printEvent prints an event as one line. What would end the line, or drive a
// terminal, is shown escaped: labels and commands are chosen by images.
func printEvent(w io.Writer, ev engine.Event) error {
	line := ev.Time.Local().Format("2006-01-02T15:04:05.000000000Z07:00") + " " + string(ev.Type) + " " + ev.Action + " " + ev.Object
	if len(ev.Attributes) > 0 {
		pairs := make([]string, 0, len(ev.Attributes))
		for _, key := range slices.Sorted(maps.Keys(ev.Attributes)) {
			pairs = append(pairs, key+"="+ev.Attributes[key])
		}
		line += " (" + strings.Join(pairs, ", ") + ")"
	}
	_, err := io.WriteString(w, printable(line)+"\n")
	return err
}

// printable escapes control characters as Go does.
func printable(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// eventRow is an event with the names of Docker's templates and JSON.
type eventRow struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`

	Type   string
	Action string
	Actor  eventActor

	Scope    string `json:"scope,omitempty"`
	Time     int64  `json:"time,omitempty"`
	TimeNano int64  `json:"timeNano,omitempty"`
}

type eventActor struct {
	ID         string
	Attributes map[string]string
}

// newEventRow fills in the older names, too, where Docker does: for containers
// and images.
func newEventRow(ev engine.Event) eventRow {
	row := eventRow{
		Type: string(ev.Type), Action: ev.Action, Actor: eventActor{ev.Object, ev.Attributes},
		Scope: "local", Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
	}
	switch row.Type {
	case "container":
		row.Status, row.ID, row.From = ev.Action, ev.Object, ev.Attributes["image"]
	case "image":
		row.Status, row.ID = ev.Action, ev.Object
	}
	return row
}
