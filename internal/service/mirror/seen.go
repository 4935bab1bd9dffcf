package mirror

import (
	"hash/maphash"
	"maps"
	"math/bits"
	"sync"
	"time"
)

// One hot request, or a batch that is sent again and again, must not decide about a
// deployment by itself: of each different request there is at most one pair in
// every distinct.
const (
	distinct = 10 * time.Minute
	maxSeen  = 1 << 16 // requests that are remembered at the most in each distinct
)

// seen remembers requests, by a hash under a key of this process. Where there are more
// different ones than there is room for, only a part of them is compared: those whose
// hash ends in so many zeros. That part is of all times alike, and knows nothing of
// what is answered.
type seen struct {
	limit int

	mu        sync.Mutex
	began     time.Time
	now, past map[seenKey]struct{} // of the present stretch of time, and of the one before
	zeros     int                  // at the end of the hashes that are compared
	full      bool                 // they became more in the present stretch
}

type seenKey struct {
	deployment string
	hash       uint64
}

var seed = maphash.MakeSeed()

// again returns why a request of a deployment is not compared, and "" if it is the
// first time in the last distinct that it is seen.
func (s *seen) again(deployment string, hash uint64, at time.Time) (cause string) {
	k := seenKey{deployment, hash}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := at.Sub(s.began); {
	case s.now == nil || age >= 2*distinct || age < 0:
		s.now, s.past, s.began, s.zeros, s.full = map[seenKey]struct{}{}, nil, at, 0, false
	case age >= distinct:
		s.turn(at)
	}
	_, now := s.now[k]
	_, before := s.past[k]
	switch {
	case now || before:
		return causeRepeated
	case bits.TrailingZeros64(hash) < s.zeros:
		return causeDistinct
	}
	s.now[k] = struct{}{}
	for len(s.now) > s.limit && s.zeros < 64 {
		s.thin()
	}
	return ""
}

// thin has half as many be compared from now on. Those that are forgotten are not
// compared again.
func (s *seen) thin() {
	s.zeros++
	s.full = true
	maps.DeleteFunc(s.now, func(k seenKey, _ struct{}) bool { return bits.TrailingZeros64(k.hash) < s.zeros })
}

// turn begins another stretch of time. If none was forgotten in the one that ends, it
// has no request that was left out in it, and more may be compared again, as far as
// there will be room for as many as there were.
func (s *seen) turn(at time.Time) {
	for n := 2 * len(s.now); !s.full && s.zeros > 0 && n <= s.limit/2; n *= 2 {
		s.zeros--
	}
	s.now, s.past, s.began, s.full = map[seenKey]struct{}{}, s.now, at, false
}
