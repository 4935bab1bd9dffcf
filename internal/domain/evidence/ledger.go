package evidence

import "maps"

// maxRouters bounds how many routers a ledger tells apart.
const maxRouters = 64

// Ledger remembers which reports of counts were taken, so that one that is sent
// again is not counted twice. It is stored in the transaction that stores what
// was counted.
type Ledger struct {
	Routers map[string]Taken `json:"routers,omitempty"`
}

// Taken is which reports of a router were taken.
type Taken struct {
	Incarnation uint64 `json:"incarnation"` // grows whenever the router starts
	Last        uint64 `json:"last"`        // the highest sequence number
	// Before has a bit for each of the 64 numbers below Last, the lowest for the
	// one just before: reports may overtake one another.
	Before uint64 `json:"before,omitempty"`
}

// Take reports whether a router's report is to be counted, and remembers it. Its
// sequence numbers begin at 1 with each incarnation. A report of an earlier
// incarnation, or one that is far too late, is passed over by its age alone.
func (l *Ledger) Take(router string, incarnation, sequence uint64) bool {
	t, known := l.Routers[router]
	switch {
	case !known && len(l.Routers) >= maxRouters, sequence == 0, known && incarnation < t.Incarnation:
		return false
	case !known || incarnation > t.Incarnation:
		t = Taken{Incarnation: incarnation}
	}
	switch {
	case sequence > t.Last:
		if gap := sequence - t.Last; gap > 64 {
			t.Before = 0
		} else {
			t.Before = t.Before<<gap | 1<<(gap-1)
		}
		if t.Last == 0 {
			t.Before = 0 // there is no report 0
		}
		t.Last = sequence
	case sequence == t.Last || t.Last-sequence > 64:
		return false
	default:
		bit := uint64(1) << (t.Last - sequence - 1)
		if t.Before&bit != 0 {
			return false
		}
		t.Before |= bit
	}
	if l.Routers == nil {
		l.Routers = map[string]Taken{}
	}
	l.Routers[router] = t
	return true
}

// Clone returns a copy to work on: it takes the place of the ledger once the
// transaction is committed.
func (l *Ledger) Clone() Ledger { return Ledger{Routers: maps.Clone(l.Routers)} }
