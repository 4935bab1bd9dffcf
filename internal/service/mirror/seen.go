package mirror

import (
	"hash/maphash"
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

// seen remembers requests, by a hash under a key of this process.
type seen struct {
	limit int

	mu        sync.Mutex
	began     time.Time
	now, past map[seenKey]struct{} // of the present stretch of time, and of the one before
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
		s.now, s.past, s.began = map[seenKey]struct{}{}, nil, at
	case age >= distinct:
		s.now, s.past, s.began = map[seenKey]struct{}{}, s.now, at
	}
	_, now := s.now[k]
	_, before := s.past[k]
	switch {
	case now || before:
		return causeRepeated
	case len(s.now) >= s.limit:
		return causeDistinct
	}
	s.now[k] = struct{}{}
	return ""
}
