package file

import (
	"math"
	"time"

	"github.com/cleat-project/cleat/journal"
)

// plan is a query as it is asked of every file.
type plan struct {
	terms        [][][]byte // AND of ORs of "FIELD=value"
	since, until uint64     // µs since 1970, inclusive

	// accept, if not nil, has the last word on the entry at the head of a
	// source.
	accept func(*source) bool
}

func newPlan(matches [][]journal.Match, since, until time.Time) *plan {
	p := &plan{until: math.MaxUint64}
	for _, or := range matches {
		var term [][]byte
		for _, m := range or {
			term = append(term, []byte(m.Name+"="+m.Value))
		}
		p.terms = append(p.terms, term)
	}
	if !since.IsZero() {
		p.since = micros(since)
		if since.Nanosecond()%1000 != 0 {
			p.since++ // the first whole microsecond that is not before since
		}
	}
	if !until.IsZero() {
		p.until = micros(until)
	}
	return p
}

// micros is t in µs since 1970, rounded down; times before that are 0.
func micros(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

// term is one OR of a plan in one file.
type term struct {
	payloads [][]byte
	data     []uint64 // for each payload its data object, 0 while there is none
}

// lookUp looks for the payloads that had no data object yet and calls found for
// each that has one now.
func (t *term) lookUp(f *journalFile, found func(off uint64)) {
	for i, p := range t.payloads {
		if t.data[i] != 0 {
			continue
		}
		off, err := f.findData(p)
		if err != nil {
			f.note(err)
		}
		if t.data[i] = off; off != 0 {
			found(off)
		}
	}
}

// holds says whether an entry has one of the term's data objects.
func (t *term) holds(f *journalFile, entry []byte) bool {
	end := f.itemsEnd(entry)
	for i := uint64(entryItems); i < end; i += f.itemSize {
		off := f.item(entry, i)
		for _, d := range t.data {
			if d == off && off != 0 {
				return true
			}
		}
	}
	return false
}
