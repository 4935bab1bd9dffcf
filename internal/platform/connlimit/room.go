package connlimit

import (
	"cmp"
	"slices"
	"time"
)

// queue are some that are to be emptied first, of those that somebody looks through.
type queue struct {
	first []candidate
	since int64 // when somebody first looked and found none, in nanoseconds
	vain  int   // how often that was
}

// candidate is a place as it was when somebody looked for one to empty.
type candidate struct {
	*Place
	state int64
	rank  rank
}

// rank is in which order places are emptied; in one rank, the connection first that
// has waited longest.
type rank int8

const (
	ofStranger rank = iota // of one who has proven nothing
	ofBeginner             // of one who may be about to: see Config.Turn
	ofKnown                // of one who has proven something
)

// search is for a place to empty.
type search struct {
	of             func(*Place) bool // whether it may be this one
	by             *address          // who needs room; nil: the host
	now            int64
	strangersFirst bool // whether there may be strangers besides those known
	patient        bool // does not look again when others have just found none
}

func anyPlace(*Place) bool { return true }

// rankOf says how soon p is emptied. False: not for this search.
func (l *Limiter) rankOf(p *Place, s search) (rank, bool) {
	switch {
	case p.proven.Load():
		return ofKnown, true
	case s.by == nil || p.had.Load() || s.now-p.since >= p.turn:
		return ofStranger, true
	}
	// A crowd of one address makes room for those of others, so that it keeps nobody
	// out, and none of them for itself.
	return ofBeginner, p.from.unproven > s.by.unproven+1
}

// lookFor is how many candidates one look at all places finds: each spares a
// look later.
const lookFor = 64

// A flood would have all places looked at for each that comes: who is patient looks
// so often in vain in such a time.
const (
	looksInVain = 4
	inTime      = int64(20 * time.Millisecond)
)

// empty takes its place from the connection that s finds, and returns it to be
// closed; nil if none waits. q keeps whom else such a search found. mu is held.
func (l *Limiter) empty(q *queue, s search) *Place {
	for looked := false; ; looked = true {
		for len(q.first) > 0 {
			c := q.first[0]
			// Since an earlier look strangers may have come to wait.
			if c.rank == ofKnown && s.strangersFirst && !looked && l.unproven > 0 {
				break
			}
			q.first = q.first[1:]
			if r, ok := l.rankOf(c.Place, s); !ok || r > c.rank {
				continue
			}
			// One that has moved on is nobody to close; one that waits since then has
			// still waited longer than those that came later.
			if c.Place.state.CompareAndSwap(c.state, emptied) {
				l.remove(c.Place)
				return c.Place
			}
		}
		if looked || s.patient && q.enough(s.now) {
			return nil
		}
		if q.first = l.longest(s); len(q.first) == 0 {
			q.vain++
		}
	}
}

// enough reports whether others have looked in vain often enough.
func (q *queue) enough(now int64) bool {
	if now-q.since >= inTime {
		q.since, q.vain = now, 0
	}
	return q.vain >= looksInVain
}

// longest finds those that are emptied first: of the first rank that there is, those
// between requests and in a head; only where there is none, the one that is longest in
// a body.
func (l *Limiter) longest(s search) []candidate {
	var found []candidate
	var body *candidate
	for _, p := range l.places {
		if !s.of(p) {
			continue
		}
		r, ok := l.rankOf(p, s)
		if !ok {
			continue
		}
		c := candidate{p, p.state.Load(), r}
		switch {
		case c.state > 0:
			found = keepFirst(found, c)
		case c.state < 0 && c.state != emptied &&
			(body == nil || r < body.rank || r == body.rank && c.state > body.state):
			body = &c
		}
	}
	if body != nil && (len(found) == 0 || body.rank < found[0].rank) {
		return []candidate{*body}
	}
	return found
}

// keepFirst puts c among those that are emptied first, of which it keeps lookFor.
func keepFirst(found []candidate, c candidate) []candidate {
	at, _ := slices.BinarySearchFunc(found, c, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.state, b.state))
	})
	if at == lookFor {
		return found
	}
	if len(found) == lookFor {
		found = found[:lookFor-1]
	}
	return slices.Insert(found, at, c)
}
