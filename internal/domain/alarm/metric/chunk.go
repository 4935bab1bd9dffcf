package metric

import (
	"cmp"
	"math"
	"slices"
)

// Chunk is a part of a Series as it is written to disk. Tier and Start name it
// within the series; a chunk without Data says that there is none any more.
type Chunk struct {
	Tier  int
	Start int64 // Unix seconds
	Data  []byte
}

// Changes returns the chunks that changed since the last call, to be written
// together or not at all: a sample may move from one to another. The data is
// not to be changed.
func (s *Series) Changes() []Chunk {
	s.seal(math.MaxInt64)
	var cs []Chunk
	for _, p := range s.gone {
		back := func(b block) bool { return b.start == p.start } // late samples made it anew
		if !slices.ContainsFunc(s.blocks[p.tier], back) {
			cs = append(cs, Chunk{Tier: p.tier, Start: p.start})
		}
	}
	s.gone = nil
	for level, bs := range s.blocks {
		for i := range bs {
			if b := &bs[i]; b.dirty {
				b.dirty, b.saved = false, true
				cs = append(cs, Chunk{Tier: level, Start: b.start, Data: slices.Clone(b.data)})
			}
		}
	}
	return cs
}

// Anew has the next Changes return every chunk: what was written may be lost.
func (s *Series) Anew() {
	for _, bs := range s.blocks {
		for i := range bs {
			bs[i].dirty = true
		}
	}
}

// Restore makes an empty series of chunks that were written, in any order. An
// error is fault.Invalid: they are not what Changes returned. Then s is empty.
func (s *Series) Restore(chunks []Chunk) error {
	*s = Series{}
	for _, c := range chunks {
		if len(c.Data) == 0 {
			continue
		}
		if c.Tier < 0 || c.Tier >= len(tiers) || floor(c.Start, tiers[c.Tier].span()) != c.Start {
			*s = Series{}
			return errDamaged()
		}
		b := block{start: c.Start, last: -1, data: slices.Clone(c.Data), saved: true}
		var d Dist
		r := reader{b: b.data}
		for {
			slot, ok := r.next(&d, true)
			if !ok {
				break
			}
			if slot <= b.last {
				r.bad = true
			}
			b.last = slot
		}
		if r.bad {
			*s = Series{}
			return errDamaged()
		}
		s.blocks[c.Tier] = append(s.blocks[c.Tier], b)
	}
	for level, bs := range s.blocks {
		slices.SortFunc(bs, func(a, b block) int { return cmp.Compare(a.start, b.start) })
		for i := 1; i < len(bs); i++ {
			if bs[i-1].start == bs[i].start {
				*s = Series{}
				return errDamaged()
			}
		}
		for len(s.blocks[level]) > tiers[level].most() {
			s.rollUp(level)
		}
	}
	return nil
}
