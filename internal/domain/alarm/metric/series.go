package metric

import (
	"cmp"
	"slices"
	"time"
)

// tiers say for how long samples are kept, and how finely. What leaves one tier
// is summed up into the next; what leaves the last is forgotten. They cover
// what the longest alarms look back on (spec §7.4): a day in periods under an
// hour, a week in longer ones, both by two periods more.
//
// A period is answered from the tiers that are at least as fine as it is.
var tiers = [...]tier{
	{res: 1, keep: 3 * 3600},
	{res: 60, keep: 30 * 3600},
	{res: 300, keep: 7 * 86400},
	{res: 3600, keep: 63 * 86400},
}

type tier struct {
	res  int64 // seconds per distribution
	keep int64 // seconds
}

// slots is how many distributions a block holds; a block of one tier becomes
// whole distributions of the next.
const slots = 60

func (t tier) span() int64 { return t.res * slots }

// most is how many blocks of a tier there can be at once: a timestamp may lie
// two hours ahead (spec §7.3).
func (t tier) most() int { return int((t.keep+2*3600)/t.span()) + 2 }

// Retention returns how far back samples of the period are kept, at the least.
func Retention(period time.Duration) time.Duration {
	keep := int64(0)
	for _, t := range tiers {
		if time.Duration(t.res)*time.Second <= period {
			keep = t.keep
		}
	}
	return time.Duration(keep) * time.Second
}

// Series holds the samples of one metric in one unit, in bounded memory. It is
// plain data: the caller sees to it that one goroutine uses it at a time. The
// zero Series is empty and ready.
//
// At 200 samples a second, the last three hours take 0.1 MB if all samples are
// ones, 0.25 MB if they are zeros and ones, and 2.2 MB if they are latencies
// that spread over an octave; the older tiers, once they are full, another 0.05,
// 0.1 and 2.3 MB (BenchmarkMemory). Idle seconds take nothing.
type Series struct {
	open   [4]second           // the seconds that samples are arriving for, by their number modulo 4
	blocks [len(tiers)][]block // ascending
	gone   []place             // blocks that were handed out by Changes and are no more
}

// second is one second in the making.
type second struct {
	at int64 // Unix seconds
	d  Dist
}

// block holds up to 60 packed distributions of one tier.
type block struct {
	start int64 // Unix seconds, a multiple of the tier's span
	last  int   // slot of the last distribution, or -1
	data  []byte
	dirty bool // changed since it was last handed out
	saved bool // was handed out at least once
}

type place struct {
	tier  int
	start int64
}

// Add adds one sample. It costs 10 to 40 ns while samples come about in the
// order of their seconds, and some 20 µs for one that is later than
// three seconds.
func (s *Series) Add(at time.Time, v float64) { s.second(at.Unix()).Add(v) }

// AddN adds n samples of the same value; n may be a fraction.
func (s *Series) AddN(at time.Time, v, n float64) { s.second(at.Unix()).AddN(v, n) }

// AddSet adds samples that are known by their sums only.
func (s *Series) AddSet(at time.Time, set Set) { s.second(at.Unix()).AddSet(set) }

// AddDist adds samples that were counted elsewhere; d is not changed.
func (s *Series) AddDist(at time.Time, d *Dist) {
	if d.Count > 0 {
		s.second(at.Unix()).Merge(d)
	}
}

// Size returns about how many bytes of packed samples s holds, apart from the
// seconds that samples are arriving for.
func (s *Series) Size() (n int) {
	for _, bs := range s.blocks {
		for i := range bs {
			n += cap(bs[i].data) + 48
		}
	}
	return n
}

// second returns the distribution that samples of the Unix second at go into.
func (s *Series) second(at int64) *Dist {
	o := &s.open[uint64(at)%uint64(len(s.open))]
	if o.at != at {
		s.seal(at - int64(len(s.open)) + 1)
		if o.d.Count > 0 { // of a later second: this sample is late, or that one early
			s.store(0, o.at, &o.d)
			o.d.reset()
		}
		o.at = at
	}
	return &o.d
}

// seal packs the open seconds before a time away, oldest first, and leaves
// them empty, their memory ready for reuse.
func (s *Series) seal(before int64) {
	for {
		var oldest *second
		for i := range s.open {
			if o := &s.open[i]; o.d.Count > 0 && o.at < before && (oldest == nil || o.at < oldest.at) {
				oldest = o
			}
		}
		if oldest == nil {
			return
		}
		s.store(0, oldest.at, &oldest.d)
		oldest.d.reset()
	}
}

// Reset empties d and keeps its memory for the next samples, unless that is
// much.
func (d *Dist) Reset() { d.reset() }

// reset empties d but keeps small bins: the next second is likely to look the
// same.
func (d *Dist) reset() {
	pos, neg := d.pos, d.neg
	*d = Dist{pos: pos.emptied(), neg: neg.emptied()}
}

func (b bins) emptied() bins {
	if len(b.n) > maxBins/8 {
		return bins{}
	}
	clear(b.n)
	return b
}

// store merges d into the tier's distribution for the time at.
func (s *Series) store(level int, at int64, d *Dist) {
	t := tiers[level]
	start := floor(at, t.span())
	slot := int((at - start) / t.res)
	bs := s.blocks[level]
	i := len(bs) - 1
	if i < 0 || bs[i].start != start {
		var found bool
		i, found = slices.BinarySearchFunc(bs, start,
			func(b block, start int64) int { return cmp.Compare(b.start, start) })
		if !found {
			if i == len(bs) && i > 0 {
				bs[i-1].data = slices.Clip(slices.Clone(bs[i-1].data)) // it is complete, as a rule
			}
			bs = slices.Insert(bs, i, block{start: start, last: -1})
			s.blocks[level] = bs
		}
	}
	bs[i].merge(slot, d)
	if len(bs) > t.most() {
		s.rollUp(level)
	}
}

// merge adds d to a slot: at the end as a rule, else by packing anew.
func (b *block) merge(slot int, d *Dist) {
	b.dirty = true
	if slot > b.last {
		b.data = appendDist(b.data, slot, d)
		b.last = slot
		return
	}
	var old Dist
	packed := make([]byte, 0, len(b.data)+64)
	placed := false
	place := func() {
		if !placed {
			placed = true
			packed = appendDist(packed, slot, d)
		}
	}
	for r := (reader{b: b.data}); ; {
		here := r
		k, ok := r.next(&old, false)
		if !ok {
			break
		}
		if k == slot {
			placed = true
			here.next(&old, true)
			old.Merge(d)
			packed = appendDist(packed, k, &old)
			continue
		}
		if k > slot {
			place()
		}
		packed = append(packed, here.b[:len(here.b)-len(r.b)]...) // as it was
	}
	place()
	b.data = packed
}

// rollUp sums the oldest block of a tier up into the next tier.
func (s *Series) rollUp(level int) {
	b := s.blocks[level][0]
	s.blocks[level] = slices.Delete(s.blocks[level], 0, 1)
	if b.saved {
		s.gone = append(s.gone, place{level, b.start})
	}
	if level+1 == len(tiers) {
		return
	}
	var d, whole Dist
	at := int64(0)
	next := tiers[level+1]
	for r := (reader{b: b.data}); ; {
		slot, ok := r.next(&d, true)
		if !ok {
			break
		}
		here := floor(b.start+int64(slot)*tiers[level].res, next.res)
		if here != at && whole.Count > 0 {
			s.store(level+1, at, &whole)
			whole = Dist{}
		}
		at = here
		whole.Merge(&d)
	}
	if whole.Count > 0 {
		s.store(level+1, at, &whole)
	}
}

// Expire sums up and forgets what is older than its tier keeps. Call it about
// once a minute; memory is bounded even if nobody does.
func (s *Series) Expire(now time.Time) {
	s.seal(now.Unix() - int64(len(s.open)))
	for level, t := range tiers {
		for len(s.blocks[level]) > 0 && s.blocks[level][0].start+t.span() <= now.Unix()-t.keep {
			s.rollUp(level)
		}
	}
}

// Empty reports whether s holds no sample at all.
func (s *Series) Empty() bool {
	for i := range s.open {
		if s.open[i].d.Count > 0 {
			return false
		}
	}
	for _, bs := range s.blocks {
		if len(bs) > 0 {
			return false
		}
	}
	return true
}

// floor rounds a down to a multiple of b, also below zero.
func floor(a, b int64) int64 {
	if m := a % b; m < 0 {
		return a - m - b
	} else {
		return a - m
	}
}
