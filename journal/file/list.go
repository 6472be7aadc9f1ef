package file

import (
	"math"
	"sort"
)

// entryList is the list of entries that one data object keeps, or that of the
// whole file: their offsets, ascending. It is a first offset that is stored
// inline, if any, and a chain of arrays, each about twice as long as the one
// before, so the chain is short however long the list is.
type entryList struct {
	f      *journalFile
	data   uint64 // offset of the data object; 0 is the list of the whole file
	first  uint64 // the inline entry; 0 for the whole file
	n      uint64 // entries that can be read
	arrays []arrayRef
	last   int // the array that at used last
}

// arrayRef is one array of a chain.
type arrayRef struct {
	off   uint64 // of the object
	items uint64 // offset of its first item
	start uint64 // position of that item in the list
	count uint64 // items that it has room for
}

// newEntryList returns the list of the data object at offset data, or of all
// entries of the file if data is 0.
func newEntryList(f *journalFile, data uint64) (*entryList, error) {
	l := &entryList{f: f, data: data}
	return l, l.refresh()
}

// refresh takes in what journald has appended to the list since. After an error
// the list is as long as it can be read.
func (l *entryList) refresh() error {
	n, first, chain, err := l.root()
	if err != nil {
		return err
	}
	if n <= l.n || (l.data != 0 && first == 0) {
		return nil
	}
	l.first = first
	have := uint64(0)
	if l.data != 0 {
		have = 1
	}
	if k := len(l.arrays); k > 0 {
		have = l.arrays[k-1].start + l.arrays[k-1].count
	}
	for have < n {
		a, err := l.nextArray(chain, have)
		if err != nil {
			l.n = have
			return err
		}
		if a.off == 0 { // journald counts before it links, or the rest is lost
			break
		}
		l.arrays = append(l.arrays, a)
		have += a.count
	}
	l.n = min(n, have)
	if l.n < n && !l.f.online() {
		return l.f.bad(l.data, "entries are missing in a list")
	}
	return nil
}

// root reads the number of entries, the inline entry and the offset of the first
// array.
func (l *entryList) root() (n, first, chain uint64, err error) {
	if l.data == 0 {
		b := l.f.m.bytes
		return le64(b, hdrNEntries), 0, le64(b, hdrEntryArrayStart), nil
	}
	d, err := l.f.data(l.data)
	if err != nil {
		return 0, 0, 0, err
	}
	return le64(d, dataNEntries), le64(d, dataEntry), le64(d, dataEntryArray), nil
}

// nextArray reads the array after the last one known. Its zero value says that
// there is none.
func (l *entryList) nextArray(chain, start uint64) (arrayRef, error) {
	off, prev := chain, uint64(0)
	if k := len(l.arrays); k > 0 {
		prev = l.arrays[k-1].off
		d, err := l.f.object(prev, typeEntryArray, arrayItems)
		if err != nil {
			return arrayRef{}, err
		}
		off = le64(d, arrayNext)
	}
	if off == 0 {
		return arrayRef{}, nil
	}
	if off <= prev { // objects are appended: a chain only goes up
		return arrayRef{}, l.f.bad(off, "loop in a chain of entry arrays")
	}
	d, err := l.f.object(off, typeEntryArray, arrayItems+l.f.refSize)
	if err != nil {
		return arrayRef{}, err
	}
	count := (uint64(len(d)) - arrayItems) / l.f.refSize
	return arrayRef{off: off, items: off + arrayItems, start: start, count: count}, nil
}

// at returns the offset of entry i, which must be less than n. It is 0 if
// journald has not written it yet, or for damage.
func (l *entryList) at(i uint64) uint64 {
	if i == 0 && l.data != 0 {
		return l.first
	}
	if a := &l.arrays[l.last]; i < a.start || i-a.start >= a.count {
		l.last = sort.Search(len(l.arrays), func(k int) bool { return l.arrays[k].start > i }) - 1
	}
	a := &l.arrays[l.last]
	if l.f.refSize == 4 {
		return le32(l.f.m.bytes, a.items+(i-a.start)*4)
	}
	return le64(l.f.m.bytes, a.items+(i-a.start)*8)
}

// search returns the first position whose entry fulfils ok, which must hold for
// every later one too. An entry that cannot be read counts as one that does not.
func (l *entryList) search(ok func(off uint64) bool) uint64 {
	lo, hi := uint64(0), l.n
	for lo < hi {
		mid := lo + (hi-lo)/2
		off := l.at(mid)
		if off != 0 && ok(off) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// cursor walks over the union of several lists, each entry once, in either
// direction.
type cursor struct {
	lists []*entryList
	pos   []uint64 // for each list: entries before it are behind the cursor
	done  uint64   // the highest offset that next has returned, 0 at first

	undone uint64 // the lowest offset that prev has returned, 0 at first
}

const noEntry = math.MaxUint64

// add appends a list; entries up to the last one returned are skipped, since
// another list may have had them.
func (c *cursor) add(l *entryList) {
	c.lists = append(c.lists, l)
	c.pos = append(c.pos, l.search(func(off uint64) bool { return off > c.done }))
}

// len is the number of entries in all lists.
func (c *cursor) len() uint64 {
	n := uint64(0)
	for _, l := range c.lists {
		n += l.n
	}
	return n
}

// seek puts the cursor before the first entry that fulfils ok; see search.
func (c *cursor) seek(ok func(off uint64) bool) {
	for k, l := range c.lists {
		c.pos[k] = l.search(ok)
	}
}

// seekEnd puts the cursor behind the last entry.
func (c *cursor) seekEnd() {
	for k, l := range c.lists {
		c.pos[k] = l.n
	}
}

// next returns the offset of the next entry and steps over it; noEntry at the
// end.
func (c *cursor) next() uint64 {
	for {
		off := c.step()
		if off == noEntry {
			return off
		}
		if off > c.done {
			c.done = off
			return off
		}
		// Offsets ascend, or a damaged list could go on almost for ever.
		l := c.lists[0]
		l.f.note(l.f.bad(off, "entries are listed out of order"))
	}
}

// step is next without regard to order.
func (c *cursor) step() uint64 {
	off := uint64(noEntry)
	for k, l := range c.lists {
		if o := c.peek(k, l); o < off {
			off = o
		}
	}
	if off == noEntry {
		return off
	}
	for k, l := range c.lists {
		if len(c.lists) == 1 || c.peek(k, l) == off {
			c.pos[k]++
		}
	}
	return off
}

// peek is the next offset of list k. Where journald has not written it yet, the
// list ends; where it is lost, it is skipped.
func (c *cursor) peek(k int, l *entryList) uint64 {
	for ; c.pos[k] < l.n; c.pos[k]++ {
		if off := l.at(c.pos[k]); off != 0 {
			return off
		}
		if l.f.online() {
			return noEntry
		}
		l.f.note(l.f.bad(l.data, "hole in a list of entries"))
	}
	return noEntry
}

// prev returns the offset of the entry before the cursor and steps back over it;
// noEntry at the beginning.
func (c *cursor) prev() uint64 {
	for {
		off := c.stepBack()
		if off == 0 {
			return noEntry
		}
		if c.undone == 0 || off < c.undone { // see next
			c.undone = off
			return off
		}
	}
}

// stepBack is prev without regard to order; 0 at the beginning.
func (c *cursor) stepBack() uint64 {
	off := uint64(0)
	for k, l := range c.lists {
		for c.pos[k] > 0 && l.at(c.pos[k]-1) == 0 { // a hole, or not written yet
			c.pos[k]--
		}
		if c.pos[k] > 0 {
			off = max(off, l.at(c.pos[k]-1))
		}
	}
	for k, l := range c.lists {
		if c.pos[k] > 0 && l.at(c.pos[k]-1) == off {
			c.pos[k]--
		}
	}
	return off
}
