// Package notify delivers events to webhooks: each at least once, those of one
// endpoint in the order in which things happened, signed, and tried again until
// the receiver takes it or it is too old. What is still to be delivered is in
// the store, so a restart forgets nothing; no webhook waits for another. Noticing
// that something happened, and saying it, is not its job.
package notify

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/platform/loop"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// Webhook is who receives events.
type Webhook struct {
	Name   string // in logs and metrics, where its URL, often a secret, is not
	URL    string // http or https
	Key    []byte // that deliveries are signed with
	Outbox *store.Outbox
}

// Config is what a Service is made of.
type Config struct {
	Webhooks   []Webhook
	Wake       <-chan struct{} // events may have been written
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Tuning     Tuning
}

// Tuning is the pace of deliveries. Zero fields get the defaults.
type Tuning struct {
	Timeout    time.Duration // of one delivery, from connecting to the end of the answer; 10 s
	BackoffMin time.Duration // after the first failure; 1 s; twice as long after each further one
	BackoffMax time.Duration // at most; 5 min
	Age        time.Duration // after that, an event is dropped; 24 h
	Most       int           // events kept for one webhook; beyond, the oldest are dropped; 10000
	Trim       time.Duration // between two looks at age and number; 1 min
	Poll       time.Duration // longest time between two looks at a queue; 1 s
}

func (t Tuning) withDefaults() Tuning {
	return Tuning{
		Timeout:    cmp.Or(t.Timeout, 10*time.Second),
		BackoffMin: cmp.Or(t.BackoffMin, time.Second),
		BackoffMax: cmp.Or(t.BackoffMax, 5*time.Minute),
		Age:        cmp.Or(t.Age, 24*time.Hour),
		Most:       cmp.Or(t.Most, 10000),
		Trim:       cmp.Or(t.Trim, time.Minute),
		Poll:       cmp.Or(t.Poll, time.Second),
	}
}

// Service delivers until it is stopped.
type Service struct {
	Config
	deliveries *prometheus.CounterVec
	dropped    *prometheus.CounterVec
}

// New returns a Service.
func New(c Config) (*Service, error) {
	c.Tuning = c.Tuning.withDefaults()
	s := &Service{
		Config: c,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_webhook_deliveries_total", Help: "Deliveries of events to webhooks, by how they came out.",
		}, []string{"webhook", "outcome"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_webhook_dropped_total",
			Help: "Events that a webhook never got: they became too old or too many.",
		}, []string{"webhook"}),
	}
	for _, w := range c.Webhooks { // from 0, so that the first one is seen
		s.deliveries.WithLabelValues(w.Name, "taken")
		s.deliveries.WithLabelValues(w.Name, "refused")
		s.dropped.WithLabelValues(w.Name)
	}
	if c.Registerer != nil {
		for _, m := range []prometheus.Collector{s.deliveries, s.dropped} {
			if err := c.Registerer.Register(m); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// Run delivers until ctx ends. Deliveries under way are broken off then, and
// made again by the next start.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var wakeups []loop.Wakeup
	for _, w := range s.Webhooks {
		transport := newTransport(s.Tuning.Timeout)
		d := &deliverer{
			Webhook: w, Service: s, stopping: ctx,
			client: &http.Client{
				Transport: transport, Timeout: s.Tuning.Timeout,
				// What is signed for one receiver is not for another.
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		}
		wake := loop.NewWakeup()
		wakeups = append(wakeups, wake)
		r := &loop.Runner{
			Queue: w.Outbox, Turn: d.turn, Log: s.Log.With("webhook", w.Name), Wake: wake,
			Poll: s.Tuning.Poll, Lease: 2*s.Tuning.Timeout + 10*time.Second, Retry: s.Tuning.BackoffMin,
		}
		wg.Go(func() {
			r.Run(ctx)
			transport.CloseIdleConnections()
		})
	}
	s.passOn(ctx, wakeups)
}

// passOn wakes every webhook when the service is woken, and trims their queues.
func (s *Service) passOn(ctx context.Context, wakeups []loop.Wakeup) {
	tick := time.NewTicker(s.Tuning.Trim)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Wake:
			for _, w := range wakeups {
				w.Notify()
			}
		case <-tick.C:
			s.trim(ctx)
		}
	}
}

// trim drops what could not be delivered for too long. A rollout never waits
// for a webhook, so this is where a queue is bounded.
func (s *Service) trim(ctx context.Context) {
	for _, w := range s.Webhooks {
		n, err := w.Outbox.Trim(ctx, time.Now().Add(-s.Tuning.Age), s.Tuning.Most)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Log.WarnContext(ctx, "a webhook's queue was not trimmed", "webhook", w.Name, "err", err)
		case n > 0:
			s.dropped.WithLabelValues(w.Name).Add(float64(n))
			s.Log.ErrorContext(ctx, "events were dropped: the webhook did not take them in time", "webhook", w.Name,
				"events", n)
		}
	}
}
