package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// block is what a disk writes in one go, in bytes: smaller than real ones, so
// that small files can tear too.
const block = 64

// Reboot returns the disk as a machine finds it when the power comes back;
// this one stays dead. Seed 0 loses everything that was not safe, seed 1 keeps
// all of it, and any other picks: of the contents nothing, all, or any blocks
// up to any length; of the names none, all, the oldest few, or any of them. A
// rename is never half done, unless one of its two directories was synced.
func (m *Memory) Reboot(seed uint64) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	after := &Memory{pool: m.pool, size: m.size}
	if m.live == nil {
		after.rest, after.used = m.rest, m.rest.size
		return after
	}
	s := &survivors{pool: m.pool, seed: seed, rng: rand.New(rand.NewPCG(seed, 5)), files: map[*inode]*node{}}
	names := s.names(m.cache)
	platter := map[*inode]map[string]*inode{}
	for _, c := range names {
		for _, e := range c.entries {
			d := platter[e.dir]
			if d == nil {
				d = maps.Clone(e.dir.safe)
				platter[e.dir] = d
			}
			if e.to == nil {
				delete(d, e.name)
			} else {
				d[e.name] = e.to
			}
		}
	}
	after.rest = s.tree(m.live, platter)
	after.used = after.rest.size
	return after
}

// survivors decides what is left after a cut.
type survivors struct {
	pool  *Pool
	seed  uint64
	rng   *rand.Rand
	files map[*inode]*node
}

func (s *survivors) names(cache []*change) []*change {
	how := s.rng.IntN(4)
	if s.seed < 2 {
		how = int(s.seed)
	}
	switch how {
	case 0:
		return nil
	case 1:
		return cache
	case 2:
		return cache[:s.rng.IntN(len(cache)+1)]
	}
	return slices.DeleteFunc(slices.Clone(cache), func(*change) bool { return s.rng.IntN(2) == 0 })
}

func (s *survivors) tree(f *inode, platter map[*inode]map[string]*inode) *node {
	if !f.dir {
		return s.file(f)
	}
	if f.kids == nil {
		return f.was
	}
	kids := f.safe
	if d, ok := platter[f]; ok {
		kids = d
	}
	n := &node{dir: true, names: slices.Sorted(maps.Keys(kids))}
	for _, name := range n.names {
		k := s.tree(kids[name], platter)
		n.kids = append(n.kids, k)
		n.size += k.size
	}
	return s.pool.node(n)
}

func (s *survivors) file(f *inode) *node {
	if n, ok := s.files[f]; ok {
		return n // under a second name
	}
	c := f.safe0.clone()
	if f.dirty || f.lost {
		how := s.rng.IntN(3)
		if s.seed < 2 {
			how = int(s.seed)
		}
		switch how {
		case 1:
			c = f.now.clone()
		case 2:
			torn := s.torn(f.safe0.bytes(), f.now.bytes())
			c = content{}
			c.append(s.pool, torn)
		}
	}
	c.seal(s.pool)
	n := s.pool.node(&node{chunks: c.chunks, size: c.size()})
	s.files[f] = n
	return n
}

// torn mixes blocks of what was safe and of what was not. What was never
// written reads as zeros.
func (s *survivors) torn(safe, now []byte) []byte {
	least, most := min(len(safe), len(now)), max(len(safe), len(now))
	out := make([]byte, least+s.rng.IntN(most-least+1))
	for at := 0; at < len(out); at += block {
		from := safe
		if s.rng.IntN(2) == 0 {
			from = now
		}
		if at < len(from) {
			copy(out[at:min(at+block, len(out))], from[at:])
		}
	}
	return out
}
