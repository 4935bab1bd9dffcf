package gates

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// A request that the model refuses with more words than anybody reads is refused all
// the same: it is no failure of the fleet.
func TestARefusalIsOneHoweverLongItIs(t *testing.T) {
	for name, c := range map[string]struct {
		of               router.Answer
		refused, unknown bool
	}{
		"short":      {router.Answer{Status: 422, Whole: true}, true, false},
		"long":       {router.Answer{Status: 422, Cut: true}, true, false},
		"broken off": {router.Answer{Status: 422}, false, true},
		"an error":   {router.Answer{Status: 500, Cut: true}, false, true},
	} {
		x := &exchange{s: &Service{answers: make(chan *exchange, 1)}, reading: newReading(Fleets{}, gate.Gate{})}
		if x.End(&c.of); x.refused != c.refused || x.unknown != c.unknown {
			t.Errorf("%s: refused %v, unknown %v", name, x.refused, x.unknown)
		}
	}
}

// An answer that its reader does not survive counts as one that nobody knows.
func TestAnAnswerThatTheReaderDoesNotSurviveIsCounted(t *testing.T) {
	s := &Service{unread: newUnread(), cfg: Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	r := newReading(Fleets{Old: "f-1", New: "f-2"}, gate.Gate{})
	l := look{what: labels, output: 3} // there is none: whoever looks at it panics
	r.past, r.looks = nil, []look{l}
	r.taken.Add(1)
	s.read(&exchange{s: s, reading: r, draw: traffic.Draw{Share: 0.5, Role: traffic.NewFleet, Fleet: "f-2"}})
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.unread)
	told, err := registry.Gather()
	if err != nil || len(told) != 1 || told[0].Metric[0].Label[0].GetValue() != "panic" {
		t.Errorf("as metrics: %v, %v", told, err)
	}
	if len(r.counts) != 1 || r.taken.Load() != 0 {
		t.Errorf("counted %v, %d in hand", r.counts, r.taken.Load())
	}
	for n, times := range r.counts {
		if n.Cell != l.profile.Failure() || n.Old || times != 1 {
			t.Errorf("counted %v times %+v", times, n)
		}
	}
}
