package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/service/capture"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// benchCapture compares the router with itself, capturing every request of both
// sides: the most that capture can cost (docs/performance.md).
func benchCapture(ctx context.Context, o options) error {
	a, err := newArena(o)
	if a == nil || err != nil {
		return err
	}
	defer a.stop()
	up, err := startChild("child-upstream")
	if err != nil {
		return err
	}
	a.servers["upstream"] = up
	const off, on = "off", "100 % captured"
	names := []string{off, on}
	for _, name := range names {
		args := []string{"-upstream", up.addr}
		if name == on {
			args = append(args, "-capture", filepath.Join(a.dir, "data"))
			if o.profile != "" {
				args = append(args, "-profile", o.profile)
			}
		}
		p, err := startChild("child-router", args...)
		if err != nil {
			return err
		}
		a.add(name, p)
	}
	for _, c := range []struct{ size, conns int }{{1 << 10, 64}, {100 << 10, 16}} {
		fmt.Printf("-- %d KiB each way, %d connections, %d rounds of %v\n", c.size>>10, c.conns, o.rounds, o.length)
		if err := a.observing(ctx, names, c.size, c.conns); err != nil {
			return err
		}
	}
	return nil
}

// captureInto has r capture every request of the routes that name whole, into a
// bucket below dir, until ctx ends; then wait waits for it.
func captureInto(ctx context.Context, r *router.Router, reg *prometheus.Registry, dir string) (wait func(), err error) {
	store, err := objects.Open(filepath.Join(dir, "objects"))
	if err != nil {
		return nil, err
	}
	if err := store.CreateBucket(ctx, objects.Bucket{Name: "captured"}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s, err := capture.New(capture.Config{
		Dir: filepath.Join(dir, "capture"), Objects: store, Route: r.Route, SpoolBytes: 1 << 30, StopAt: 100,
		ResumeBelow: 100, Registerer: reg,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r.Listen("capture", s)
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	return func() {
		wg.Wait()
		_ = store.Close() // it is removed
		told(reg)
	}, nil
}

// told prints how many requests were captured and how many dropped.
func told(reg *prometheus.Registry) {
	families, err := reg.Gather()
	if err != nil {
		return // a benchmark goes on without
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "slipway_capture_lines_total":
				fmt.Fprintf(os.Stderr, "captured: %.0f requests\n", m.GetCounter().GetValue())
			case "slipway_capture_dropped_total", "slipway_hook_dropped_total":
				fmt.Fprintf(os.Stderr, "dropped:  %.0f %v\n", m.GetCounter().GetValue(), m.GetLabel())
			}
		}
	}
}

// whole is a capture of everything.
func whole() *traffic.Capture {
	return &traffic.Capture{Destination: "s3://captured/bench", Percent: 100, Input: true, Output: true}
}
