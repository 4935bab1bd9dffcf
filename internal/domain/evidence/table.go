package evidence

import "math"

// maxShares bounds how many shares are told apart at once. A deployment has one
// for each step and each change of the number of instances.
const maxShares = 64

// table has the factors of all experts of some sides, for one share.
type table struct {
	share float64
	rows  []row // by expert, in the order of the sides
}

// row is the logarithm of what each outcome multiplies one expert's wealth by.
type row struct {
	first      int
	fresh, old []float64
}

// most is what an outcome adds to the logarithm of any expert's wealth at most.
func (t *table) most(cell int, old bool) (most float64) {
	for i := range t.rows {
		logs, at := t.rows[i].fresh, cell-t.rows[i].first
		if old {
			logs = t.rows[i].old
		}
		if at >= 0 && at < len(logs) {
			most = max(most, logs[at])
		}
	}
	return most
}

func newTable(sides []Side, share float64, paired bool) *table {
	t := &table{share: share}
	for i := range sides {
		f := sides[i].factors(share, paired)
		for e := range f.fresh {
			t.rows = append(t.rows, row{sides[i].First, f.fresh[e], f.old[e]})
		}
	}
	return t
}

// gain returns the sum of an expert's factors over counts by cell.
func gain(first int, logs, counts []float64) (sum float64) {
	counts = counts[first:]
	for i, l := range logs {
		sum += l * counts[i]
	}
	return sum
}

// Count is that N requests, which the router gave to the new fleet with
// probability Share, had the outcome Cell on the fleet they were drawn for.
type Count struct {
	Share float64 // of the new fleet, when the fleet was drawn; of no meaning in gates of pairs
	Old   bool    // the old fleet was drawn
	Slot  int     // the place of the new fleet's instance; the old one's are not told apart
	Cell  int
	N     float64 // mostly a whole number: distances are counted in parts
}

// of reports whether a count can belong to a gate, and has something to compare:
// an unpaired request whose fleet was certain has not.
func (c *Count) of(g *Gate) bool {
	if c.Cell < 0 || c.Cell >= g.Cells || !(c.N > 0) || math.IsInf(c.N, 0) {
		return false
	}
	if g.Paired {
		return !c.Old
	}
	return c.Share > 0 && c.Share < 1
}

// bucket holds the counts of one share.
type bucket struct {
	*table
	old   []float64    // by cell
	fresh []float64    // by slot, and cell in it
	up    [2][]float64 // what a count of a cell adds to wealth at most: of the new fleet, of the old
	used  int          // the last stride in which it had counts
	some  bool         // it has counts
}

// slot returns the counts of a slot.
func (b *bucket) slot(i int) []float64 {
	cells := len(b.old)
	if more := (i+1)*cells - len(b.fresh); more > 0 {
		b.fresh = append(b.fresh, make([]float64, more)...)
	}
	return b.fresh[i*cells : (i+1)*cells]
}

// slots is how many slots have counts, or had.
func (b *bucket) slots() int { return len(b.fresh) / len(b.old) }

func (b *bucket) clear() {
	clear(b.old)
	clear(b.fresh)
	b.some = false
}

// bucketOf returns the bucket of a share, a new one if there is none yet; nil if
// there are too many.
func (p *Process) bucketOf(share float64) *bucket {
	if p.gate.Paired {
		share = 1
	}
	for _, b := range p.buckets {
		if b.share == share {
			return b
		}
	}
	if len(p.buckets) == maxShares {
		return nil
	}
	b := &bucket{table: newTable(p.gate.Sides, share, p.gate.Paired), old: make([]float64, p.gate.Cells)}
	for cell := range p.gate.Cells {
		b.up[0], b.up[1] = append(b.up[0], b.most(cell, false)), append(b.up[1], b.most(cell, true))
	}
	p.buckets = append(p.buckets, b)
	return b
}
