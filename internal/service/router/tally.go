package router

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// keepPast is how many fleets that left an endpoint keep their counters: an
// update should not take the numbers before it out of sight at once.
const keepPast = 16

// tally counts what happened to the requests of one (endpoint, variant, fleet).
type tally struct {
	variant string
	fleet   traffic.FleetRef
	copies  bool // these are copies: nobody asked for the answers

	inFlight    atomic.Int64
	invocations atomic.Uint64
	unserved    atomic.Uint64 // of these
	status4xx   atomic.Uint64
	status5xx   atomic.Uint64
	modelErrors atomic.Uint64
	midStream   atomic.Uint64
	model       histogram
	overhead    histogram

	// earlier are the sums of fleets of the same configuration that were forgotten:
	// what Prometheus sees must not shrink.
	earlier atomic.Pointer[tally]
}

func (t *tally) add(s *traffic.Sample) {
	t.invocations.Add(1)
	if s.Status4XX {
		t.status4xx.Add(1)
	}
	if s.Status5XX {
		t.status5xx.Add(1)
	}
	if s.ModelError {
		t.modelErrors.Add(1)
	}
	if s.MidStreamError {
		t.midStream.Add(1)
	}
	if s.Unserved {
		t.unserved.Add(1)
		return
	}
	t.model.observe(s.ModelLatency)
	t.overhead.observe(s.OverheadLatency)
}

// tally returns the counters of a fleet: those in use, those of a fleet that
// left and comes back, or new ones. r.mu is held.
func (en *entry) tally(old *route, variant string, f traffic.FleetRef) *tally {
	if t := old.tally(variant, f); t != nil {
		return t
	}
	for i, t := range en.past {
		if t.variant == variant && t.fleet == f {
			en.past = append(en.past[:i:i], en.past[i+1:]...)
			return t
		}
	}
	return &tally{variant: variant, fleet: f}
}

func (rt *route) tally(variant string, f traffic.FleetRef) *tally {
	if rt == nil {
		return nil
	}
	for _, t := range rt.tallies {
		if t.variant == variant && t.fleet == f {
			return t
		}
	}
	return nil
}

// retire remembers the counters that old has and next has not. r.mu is held.
func (en *entry) retire(old, next *route) {
	for _, t := range old.tallies {
		if next.tally(t.variant, t.fleet) == nil {
			en.past = append(en.past, t)
		}
	}
	for len(en.past) > keepPast {
		en.past[0].bequeath(append(en.past[1:len(en.past):len(en.past)], next.tallies...))
		en.past = append([]*tally(nil), en.past[1:]...)
	}
}

// bequeath adds t's counts to the earlier ones of another of the same
// configuration, if there is one. Router.mu is held.
func (t *tally) bequeath(to []*tally) {
	for _, o := range to {
		if o.variant != t.variant || o.fleet.Config != t.fleet.Config {
			continue
		}
		sum := &tally{}
		sum.addTally(t)
		if before := o.earlier.Load(); before != nil {
			sum.addTally(before)
		}
		o.earlier.Store(sum)
		return
	}
}

// bounds are the histogram's buckets: from what a router adds to what a model
// may take.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// histogram counts durations without a lock. The last bucket is the rest.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) metric(d *prometheus.Desc, labels []string) prometheus.Metric {
	var n uint64
	b := make(map[float64]uint64, len(bounds))
	for i := range bounds {
		n += h.buckets[i].Load()
		b[bounds[i].Seconds()] = n
	}
	n += h.buckets[len(bounds)].Load()
	return prometheus.MustNewConstHistogram(d, n, time.Duration(h.sum.Load()).Seconds(), b, labels...)
}

// add counts what other has counted.
func (h *histogram) add(other *histogram) {
	for i := range h.buckets {
		h.buckets[i].Add(other.buckets[i].Load())
	}
	h.sum.Add(other.sum.Load())
}

// Counts returns the counters of an endpoint, those of past fleets last.
func (r *Router) Counts(k traffic.Key) []traffic.Counts {
	var out []traffic.Counts
	for _, t := range r.tallies(k) {
		out = append(out, traffic.Counts{
			Variant: t.variant, Config: t.fleet.Config, Fleet: t.fleet.ID,
			InFlight: t.inFlight.Load(), Invocations: t.invocations.Load(),
			Status4XX: t.status4xx.Load(), Status5XX: t.status5xx.Load(), ModelErrors: t.modelErrors.Load(),
		})
	}
	return out
}

// Answered returns how many requests a fleet of an endpoint has answered, in all
// variants, since this router started.
func (r *Router) Answered(k traffic.Key, f traffic.FleetRef) []traffic.Reading {
	reading := traffic.Reading{Router: r.name, Began: r.began}
	for _, t := range r.tallies(k) {
		if f.Is(t.fleet) && !t.copies {
			reading.Requests += int64(t.invocations.Load() - t.unserved.Load())
		}
	}
	return []traffic.Reading{reading}
}

func (r *Router) tallies(k traffic.Key) []*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	en := (*r.shard(k).table.Load())[k]
	if en == nil {
		return nil
	}
	return append(append([]*tally(nil), en.route.Load().tallies...), en.past...)
}

// collector shows the counters to Prometheus. Reading them where they are
// means that a deleted endpoint takes its counters along, and that a request
// pays for an atomic add and nothing else.
type collector struct{ r *Router }

type descs struct {
	invocations, unserved, status4xx, status5xx, modelErrors, midStream, inFlight, model, overhead *prometheus.Desc
}

func newDescs() descs {
	d := func(name, help string) *prometheus.Desc {
		labels := []string{"region", "endpoint", "variant", "config"}
		return prometheus.NewDesc("slipway_endpoint_"+name, help, labels, nil)
	}
	return descs{
		invocations: d("invocations_total", "Requests for a container, also those that none could take."),
		unserved:    d("unserved_total", "Requests that no instance could take: they were answered with 503."),
		status4xx:   d("invocation_4xx_errors_total", "Requests that the container answered with 4xx."),
		status5xx:   d("invocation_5xx_errors_total", "Requests that the container answered with 5xx, or not."),
		modelErrors: d("invocation_model_errors_total", "Requests without a whole 2xx response."),
		midStream:   d("mid_stream_errors_total", "Streaming responses that broke after they had begun."),
		inFlight:    d("requests_in_flight", "Requests in flight."),
		model:       d("model_latency_seconds", "Time spent waiting for the container."),
		overhead:    d("overhead_latency_seconds", "Time spent on everything else."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	d := newDescs()
	for _, x := range []*prometheus.Desc{
		d.invocations, d.unserved, d.status4xx, d.status5xx, d.modelErrors, d.midStream, d.inFlight,
		d.model, d.overhead,
	} {
		ch <- x
	}
}

// Collect implements prometheus.Collector. Fleets that never had a request are
// left out, so that thousands of idle endpoints cost a scrape nothing.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	d := newDescs()
	for i := range c.r.shards {
		for k, en := range *c.r.shards[i].table.Load() {
			en.nowhere.collect(ch, d, k)
			for _, t := range byConfig(c.r.tallies(k)) {
				t.collect(ch, d, k)
			}
		}
	}
}

// byConfig sums up the counters of fleets that have the same configuration:
// series are named by it, and a fleet's id would make new ones of every update.
func byConfig(ts []*tally) (out []*tally) {
	for _, t := range ts {
		i := slices.IndexFunc(out, func(o *tally) bool {
			return o.variant == t.variant && o.fleet.Config == t.fleet.Config
		})
		if i < 0 {
			i = len(out)
			out = append(out, &tally{variant: t.variant, fleet: traffic.FleetRef{Config: t.fleet.Config}})
		}
		out[i].addTally(t)
	}
	return out
}

// addTally counts what other has counted, and those before it.
func (t *tally) addTally(other *tally) {
	t.inFlight.Add(other.inFlight.Load())
	for _, c := range [...]struct{ to, from *atomic.Uint64 }{
		{&t.invocations, &other.invocations},
		{&t.unserved, &other.unserved},
		{&t.status4xx, &other.status4xx},
		{&t.status5xx, &other.status5xx},
		{&t.modelErrors, &other.modelErrors},
		{&t.midStream, &other.midStream},
	} {
		c.to.Add(c.from.Load())
	}
	t.model.add(&other.model)
	t.overhead.add(&other.overhead)
	if before := other.earlier.Load(); before != nil {
		t.addTally(before)
	}
}

func (t *tally) collect(ch chan<- prometheus.Metric, d descs, k traffic.Key) {
	n := t.invocations.Load()
	if n == 0 && t.inFlight.Load() == 0 {
		return
	}
	labels := []string{k.Region, k.Name, t.variant, t.fleet.Config}
	counter := func(desc *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	counter(d.invocations, n)
	counter(d.unserved, t.unserved.Load())
	counter(d.status4xx, t.status4xx.Load())
	counter(d.status5xx, t.status5xx.Load())
	counter(d.modelErrors, t.modelErrors.Load())
	counter(d.midStream, t.midStream.Load())
	ch <- prometheus.MustNewConstMetric(d.inFlight, prometheus.GaugeValue, float64(t.inFlight.Load()), labels...)
	ch <- t.model.metric(d.model, labels)
	ch <- t.overhead.metric(d.overhead, labels)
}
