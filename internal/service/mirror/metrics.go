package mirror

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a copy was not sent, or its answer not compared.
const (
	causeQueue    = "queue"    // enough of them are in flight, or wait to be compared
	causeSize     = "size"     // an answer is too long
	causeBudget   = "budget"   // there is no room for the request's body, or an answer
	causeInstance = "instance" // no instance takes copies
	causeRepeated = "repeated" // the same request was compared a short while ago
	causeDistinct = "distinct" // too many different requests to remember them
	causeNothing  = "nothing"  // the answers hold nothing that could be compared
	causeLoose    = "loose"    // they are texts, or could not be read, and that counts for nothing
	causeClosed   = "closed"   // the server stops
)

// counters are what is counted of one kind of copies.
type counters struct {
	sent, seconds prometheus.Counter
	dropped       *prometheus.CounterVec
}

func newCounters(kind kind) counters {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "slipway_" + string(kind) + "_" + name, Help: help}
	}
	return counters{
		sent:    prometheus.NewCounter(opts("copies_total", "Copies of requests that were sent.")),
		seconds: prometheus.NewCounter(opts("seconds_total", "Time that copies took their instances.")),
		dropped: prometheus.NewCounterVec(
			opts("dropped_total", "Copies that were not sent, or whose answers were not compared."), []string{"cause"},
		),
	}
}

// register shows the counters, and what is in flight at this moment.
func (m *Mirror) register(r prometheus.Registerer) error {
	all := []prometheus.Collector{m.pairs, m.distance, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "slipway_copies_in_flight", Help: "Copies of requests in flight."}, m.flying,
	)}
	for _, c := range m.counters {
		all = append(all, c.sent, c.seconds, c.dropped)
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the counters of copies: %w", err)
		}
	}
	return nil
}

func (m *Mirror) flying() (n float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, flying := range m.inFlight {
		n += float64(flying)
	}
	return n
}

// drop counts a copy that is not sent.
func (m *Mirror) drop(k kind, cause string, b *both) {
	m.counters[k].dropped.WithLabelValues(cause).Inc()
	if b != nil {
		b.shed(cause)
	}
}
