package gates

import (
	"runtime"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// Free reports whether nobody holds what guards the evidence, within a while.
func (s *Service) Free() bool {
	for range 1_000_000 {
		if s.mu.TryLock() {
			s.mu.Unlock()
			return true
		}
		runtime.Gosched()
	}
	return false
}

// SetBack has the clock look as if it had been that far ahead until now.
func (s *Service) SetBack(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += by
}

// Answered has an answer read as if a router had shown it; unknown: the request
// failed. It reports whether anybody reads answers.
func (s *Service) Answered(p Place, d traffic.Draw, contentType, body string, unknown bool) bool {
	all := s.Counter.watched.Load()
	if all == nil || (*all)[p] == nil || (*all)[p].reading.Load() == nil {
		return false
	}
	in := (*all)[p].reading.Load()
	in.taken.Add(1)
	x := &exchange{s: s, reading: in, draw: d, contentType: contentType, size: len(body), unknown: unknown}
	if !unknown {
		x.body = connlimit.NewBudget(1<<20).Share([]byte(body), len(body), nil)
	}
	s.answers <- x
	return true
}
