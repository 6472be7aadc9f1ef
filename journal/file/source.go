package file

import (
	"cmp"
	"runtime/debug"
)

// source is the sequence of the entries of one file that a plan takes.
type source struct {
	f      *journalFile
	plan   *plan
	driver *term   // the term whose lists cur walks over; nil walks over the whole file
	checks []*term // the terms that each entry is checked for
	cur    cursor

	head     head
	has      bool // head is set
	archived bool // journald will not write to the file again
	gone     bool // the file has been deleted
	copied   bool // the file is a copy of another one

	classes *classCache // used by lineDecoder
}

// head is what the order of entries depends on.
type head struct {
	off       uint64
	seqnumID  ID
	seqnum    uint64
	realtime  uint64 // µs since 1970
	monotonic uint64 // µs since boot
	bootID    ID
	xorHash   uint64
}

// newSource prepares reading f; it is positioned before its first entry. Damage
// is left for takeDamage. Only the file and the plan are kept.
func newSource(f *journalFile, p *plan) *source {
	s := &source{f: f, plan: p}
	err := s.guard(s.start)
	if err != nil {
		f.note(err)
	}
	return s
}

// guard runs fn, turning memory faults into errors.
func (s *source) guard(fn func()) (err error) {
	defer catchFault(s.f.path, debug.SetPanicOnFault(true), &err)
	fn()
	return nil
}

// start looks up the terms. The one with the fewest entries drives: it alone is
// read, and the others are checked on its entries.
func (s *source) start() {
	s.archived = s.f.archived()
	best := uint64(noEntry)
	for _, payloads := range s.plan.terms {
		t := &term{payloads: payloads, data: make([]uint64, len(payloads))}
		var lists []*entryList
		n := uint64(0)
		t.lookUp(s.f, func(off uint64) {
			l := s.list(off)
			lists = append(lists, l)
			n += l.n
		})
		s.checks = append(s.checks, t)
		if n < best {
			best, s.driver = n, t
			s.cur = cursor{lists: lists, pos: make([]uint64, len(lists))}
		}
	}
	if s.driver == nil {
		s.cur = cursor{lists: []*entryList{s.list(0)}, pos: make([]uint64, 1)}
		return
	}
	for i, t := range s.checks {
		if t == s.driver {
			s.checks = append(s.checks[:i], s.checks[i+1:]...)
			return
		}
	}
}

// list is newEntryList, noting damage.
func (s *source) list(data uint64) *entryList {
	l, err := newEntryList(s.f, data)
	if err != nil {
		s.f.note(err)
	}
	return l
}

// refresh takes in what journald has written since, and says whether there is
// anything.
func (s *source) refresh() (changed bool) {
	if s.archived {
		return false
	}
	err := s.guard(func() {
		s.archived = s.f.archived() // before the lists, or the last entries are lost
		before := s.cur.len()
		s.refreshLists()
		changed = s.cur.len() != before
	})
	if err != nil {
		s.f.note(err)
	}
	return changed
}

// refreshLists brings the lists up to date: the driver's first, since what its
// entries refer to was written before them.
func (s *source) refreshLists() {
	for _, l := range s.cur.lists {
		if err := l.refresh(); err != nil {
			s.f.note(err)
		}
	}
	if s.driver != nil {
		s.driver.lookUp(s.f, func(off uint64) { s.cur.add(s.list(off)) })
	}
	for _, t := range s.checks {
		t.lookUp(s.f, func(uint64) {})
	}
}

// forward loads the next entry into head; has is false at the end.
func (s *source) forward() { s.move((*cursor).next) }

// backward loads the entry before the position into head and steps over it.
func (s *source) backward() { s.move((*cursor).prev) }

func (s *source) move(step func(*cursor) uint64) {
	var err error
	s.has, err = s.moveGuarded(step)
	if err != nil {
		s.f.note(err)
	}
}

func (s *source) moveGuarded(step func(*cursor) uint64) (has bool, err error) {
	defer catchFault(s.f.path, debug.SetPanicOnFault(true), &err)
	for {
		off := step(&s.cur)
		if off == noEntry {
			return false, nil
		}
		if s.take(off) {
			return true, nil
		}
	}
}

// take loads the entry at off into head if it can be read and the plan takes it.
func (s *source) take(off uint64) bool {
	e, err := s.f.entry(off)
	if err != nil {
		s.f.note(err)
		return false
	}
	realtime := le64(e, entryRealtime)
	if realtime < s.plan.since || realtime > s.plan.until {
		return false
	}
	for _, t := range s.checks {
		if !t.holds(s.f, e) {
			return false
		}
	}
	h := &s.head
	h.off, h.realtime = off, realtime
	h.seqnum, h.seqnumID = le64(e, entrySeqnum), s.f.seqnumID
	h.monotonic, h.xorHash = le64(e, entryMonotonic), le64(e, entryXorHash)
	copy(h.bootID[:], e[entryBootID:])
	return s.plan.accept == nil || s.plan.accept(s)
}

// rewind puts the source before its first entry that is not older than since.
func (s *source) rewind() {
	if s.plan.since == 0 {
		return
	}
	s.seek(func(realtime uint64) bool { return realtime >= s.plan.since })
}

// fastForward puts the source behind its last entry that is not newer than
// until.
func (s *source) fastForward() {
	if s.plan.until != noEntry {
		s.seek(func(realtime uint64) bool { return realtime > s.plan.until })
		return
	}
	if err := s.guard(s.cur.seekEnd); err != nil {
		s.f.note(err)
	}
}

// seek puts the source before its first entry whose time fulfils ok.
func (s *source) seek(ok func(realtime uint64) bool) {
	err := s.guard(func() {
		s.cur.seek(func(off uint64) bool {
			e, err := s.f.entry(off)
			return err == nil && ok(le64(e, entryRealtime))
		})
	})
	if err != nil {
		s.f.note(err)
	}
}

// stepOver takes back the last step of backward.
func (s *source) stepOver() {
	if err := s.guard(func() { s.cur.next() }); err != nil {
		s.f.note(err)
	}
	s.has = false
}

// compareHeads orders entries of several files as sd-journal does: by sequence
// number where both come from one journald, else by monotonic time where both
// come from one boot, else by wall clock. It is 0 for the same entry in two
// files.
func compareHeads(a, b *head) int {
	if a.seqnumID == b.seqnumID {
		if c := cmp.Compare(a.seqnum, b.seqnum); c != 0 {
			return c
		}
	}
	if a.bootID == b.bootID {
		if c := cmp.Compare(a.monotonic, b.monotonic); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(a.realtime, b.realtime); c != 0 {
		return c
	}
	return cmp.Compare(a.xorHash, b.xorHash)
}
