package file

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/cleat-project/cleat/journal"
)

// untilSlack is how long a line may take from the broker to journald. Lines are
// selected by the time at which the broker read them, but journald's files are
// in the order in which it took them in.
const untilSlack = time.Minute

// Logs yields the output lines of one container, oldest first. For errors see
// Read; LogLine.Message is valid until the next iteration.
//
// Entries are found by the container's id, which any local user may put into an
// entry of his own, so those that do not come from the container's unit or from
// the broker are left out.
func (r *Reader) Logs(ctx context.Context, q journal.LogQuery) iter.Seq2[journal.LogLine, error] {
	return func(yield func(journal.LogLine, error) bool) {
		dec := &lineDecoder{details: q.Details, senders: senders(q)}
		until := q.Until
		if !until.IsZero() {
			until = until.Add(untilSlack)
		}
		s := &session{paths: r.paths, plan: newPlan(logMatches(q), q.Since, until)}
		if !q.Since.IsZero() || !q.Until.IsZero() {
			s.plan.accept = func(src *source) bool {
				t := dec.time(src)
				return (q.Since.IsZero() || !t.Before(q.Since)) && (q.Until.IsZero() || !t.After(q.Until))
			}
		}
		s.yield = func(src *source, err error) bool {
			if err != nil {
				return yield(journal.LogLine{}, err)
			}
			if err := dec.decode(src); err != nil {
				src.f.note(err) // the session reports it once for each file
				return true
			}
			return dec.forged || yield(dec.line, nil)
		}
		s.run(ctx, q.Tail, follow{on: q.Follow, done: q.Done, until: q.Until})
	}
}

// senders returns the fields that name the units whose word is believed.
func senders(q journal.LogQuery) map[string]bool {
	all := map[string]bool{prefixUnit + q.Unit: true, prefixUnit + journal.BrokerUnit: true}
	for _, unit := range q.FormerUnits {
		all[prefixUnit+unit] = true
	}
	return all
}

// logMatches selects the lines of a container: by its id, which any sender could
// give, and by what only systemd or root can. If the payload has ended before
// journald looks at a line, nothing trusted but the user is known of its sender:
// such a line is taken for the unit that root says it is about, as "journalctl -u"
// does. One that comes from another unit is dropped when it is decoded.
func logMatches(q journal.LogQuery) [][]journal.Match {
	var units, objects []journal.Match
	for _, unit := range append([]string{q.Unit}, q.FormerUnits...) {
		units = append(units, journal.Match{Name: journal.FieldSystemdUnit, Value: unit})
		objects = append(objects, journal.Match{Name: journal.FieldObjectSystemdUnit, Value: unit})
	}
	units = append(units, journal.Match{Name: journal.FieldSystemdUnit, Value: journal.BrokerUnit})
	root := journal.Match{Name: journal.FieldUID, Value: "0"}
	return [][]journal.Match{
		{{Name: journal.FieldContainerIDFull, Value: q.ContainerID}},
		slices.Concat(units, objects),
		append(slices.Clone(units), root),
	}
}
