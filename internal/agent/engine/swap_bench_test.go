package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/model"
)

// BenchmarkSwap measures the calls of an application that predicts without
// pause while its model is swapped again and again, and between the swaps.
func BenchmarkSwap(b *testing.B) {
	e := open(b, config(b))
	inputs, _ := images()
	versions := []model.Package{digits(b, "v1"), digits(b, "v2")}
	var cur atomic.Pointer[engine.Worker]
	cur.Store(load(b, e, versions[0]))
	var swapping atomic.Bool
	var steady, during []time.Duration
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			list := &steady
			if swapping.Load() {
				list = &during
			}
			began := time.Now()
			for w := cur.Load(); ; w = cur.Load() {
				_, err := w.Predict(b.Context(), inputs[i%len(inputs)])
				if errors.Is(err, model.ErrUnavailable) && cur.Load() != w {
					continue
				}
				if err != nil {
					b.Error(err)
				}
				break
			}
			*list = append(*list, time.Since(began))
		}
	})
	for n := 0; b.Loop(); n++ {
		began := time.Now()
		swapping.Store(true)
		next := load(b, e, versions[(n+1)%2])
		if err := cur.Swap(next).Close(b.Context()); err != nil {
			b.Error(err)
		}
		swapping.Store(false)
		time.Sleep(time.Since(began)) // as long without a swap as with one
	}
	cancel()
	wg.Wait()
	for name, d := range map[string][]time.Duration{"steady": steady, "swapping": during} {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2])/1e3, name+"-p50-µs")
		b.ReportMetric(float64(d[len(d)*99/100])/1e3, name+"-p99-µs")
	}
}
