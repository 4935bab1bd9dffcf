package metric

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// A packed distribution is: its slot in the block, flags, Count; then its one
// value, or Sum, Min, Max and, unless it is opaque, the length of its bins and
// the bins. Numbers are as short as their values allow: an hour of seconds that
// each saw ones alone takes a few hundred bytes.
const (
	flagUniform  = 1 << iota // all samples are Min
	flagOpaque               // no bins
	flagFraction             // some count is not a whole number
)

// appendDist appends d as slot (0..59) of a block.
func appendDist(b []byte, slot int, d *Dist) []byte {
	flags := byte(0)
	switch {
	case d.opaque:
		flags = flagOpaque
	case !d.binned:
		flags = flagUniform
	}
	if !d.wholeCounts() {
		flags |= flagFraction
	}
	b = append(b, byte(slot), flags)
	b = appendCount(b, flags, d.Count)
	if flags&flagUniform != 0 {
		return appendFloat(b, d.Min)
	}
	b = appendFloat(b, d.Sum)
	b = appendFloat(b, d.Min)
	b = appendFloat(b, d.Max)
	if d.opaque {
		return b
	}
	var room [512]byte // most distributions fit, and then nothing is allocated
	body := appendCount(room[:0], flags, d.zeros)
	body = d.neg.append(body, flags)
	body = d.pos.append(body, flags)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

func (d *Dist) wholeCounts() bool {
	if !whole(d.Count) || !whole(d.zeros) {
		return false
	}
	for _, b := range [...]*bins{&d.neg, &d.pos} {
		for _, n := range b.n {
			if !whole(n) {
				return false
			}
		}
	}
	return true
}

func whole(n float64) bool { return n == math.Trunc(n) && n < 1<<53 }

func (b *bins) append(to []byte, flags byte) []byte {
	used := 0
	for _, n := range b.n {
		if n > 0 {
			used++
		}
	}
	to = binary.AppendUvarint(to, uint64(used))
	last := 0
	for i, n := range b.n {
		if n > 0 {
			to = binary.AppendVarint(to, int64(b.first+i-last))
			to = appendCount(to, flags, n)
			last = b.first + i
		}
	}
	return to
}

func appendCount(b []byte, flags byte, n float64) []byte {
	if flags&flagFraction != 0 {
		return appendFloat(b, n)
	}
	return binary.AppendUvarint(b, uint64(n))
}

// appendFloat turns the bytes around, so that the round numbers that people
// and counters produce are short.
func appendFloat(b []byte, v float64) []byte {
	return binary.AppendUvarint(b, bits.ReverseBytes64(math.Float64bits(v)))
}

// reader reads packed distributions. After the first fault it returns zeros.
type reader struct {
	b   []byte
	bad bool
}

// errDamaged is the answer to bytes that appendDist did not write.
func errDamaged() error { return fault.New(fault.Invalid, "The stored samples are damaged.") }

// peek returns the slot of the next distribution, if there is one.
func (r *reader) peek() (slot int, ok bool) {
	if len(r.b) == 0 || r.bad {
		return 0, false
	}
	return int(r.b[0]), true
}

// next reads one distribution into d, which it overwrites; without bins if
// they are not wanted. It reports false at the end and after damage.
func (r *reader) next(d *Dist, wantBins bool) (slot int, ok bool) {
	if len(r.b) == 0 || r.bad {
		return 0, false
	}
	slot = int(r.byte())
	flags := r.byte()
	*d = Dist{Count: r.count(flags)}
	if flags&flagUniform != 0 {
		d.Min = r.float()
		d.Max, d.Sum = d.Min, d.Min*d.Count
	} else {
		d.Sum, d.Min, d.Max = r.float(), r.float(), r.float()
		d.opaque = flags&flagOpaque != 0
		if !d.opaque {
			r.bins(d, flags, wantBins)
		}
	}
	if slot >= slots || !(d.Count > 0) || !(d.Min <= d.Max) {
		r.bad = true
	}
	return slot, !r.bad
}

func (r *reader) bins(d *Dist, flags byte, wanted bool) {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return
	}
	body := reader{b: r.b[:n]}
	r.b = r.b[n:]
	d.binned = true
	if !wanted {
		return
	}
	d.zeros = body.count(flags)
	for _, b := range [...]*bins{&d.neg, &d.pos} {
		b.read(&body, flags)
	}
	r.bad = r.bad || body.bad || len(body.b) > 0
}

// read reads the bins; their numbers ascend, so the range is known before
// memory is taken for it.
func (b *bins) read(r *reader, flags byte) {
	used := r.uvarint()
	if used == 0 || used > maxBins+1 || used > uint64(len(r.b)) {
		r.bad = r.bad || used != 0
		return
	}
	ahead, last := *r, int64(0)
	for range used {
		last += ahead.varint()
		ahead.count(flags)
	}
	at := int64(0)
	for k := range used {
		step := r.varint()
		at += step
		n := r.count(flags)
		if r.bad || !(n > 0) || at < -maxBin || at > maxBin || (k > 0 && step <= 0) {
			r.bad = true
			return
		}
		if k == 0 {
			if last-at < 0 || last-at > maxBins {
				r.bad = true
				return
			}
			b.first, b.n = int(at), make([]float64, last-at+1)
		}
		if int(at)-b.first >= len(b.n) {
			r.bad = true
			return
		}
		b.n[int(at)-b.first] = n
	}
}

// maxBin is above every bin number of a finite float64 at this Accuracy.
const maxBin = 1 << 20

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) float() float64 {
	v := math.Float64frombits(bits.ReverseBytes64(r.uvarint()))
	if !(math.Abs(v) <= 0x1p800) { // nothing that was ever added up is so large
		r.bad = true
		return 0
	}
	return v
}

func (r *reader) count(flags byte) float64 {
	if flags&flagFraction != 0 {
		return max(0, r.float())
	}
	return float64(r.uvarint())
}
