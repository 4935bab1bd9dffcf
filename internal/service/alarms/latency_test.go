package alarms_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// From the first bad request to the moment at which deployments are woken, the
// new state being in the store: in real time, while other fleets are busy and
// samples are flushed.
func TestABadRequestWakesDeploymentsWithinMilliseconds(t *testing.T) {
	const n, limit = 100, time.Second // of the median, and far above what it takes: the machine may be busy
	woken := make(chan time.Time, n)
	w := newWorld(t, storetest.SQLite(t), func(c *alarms.Config, m *metrics.Config) {
		m.FlushEvery = 50 * time.Millisecond
		c.Wake = func() { woken <- time.Now() }
	})
	for i := range n {
		w.put(watching(func(d *alarm.Definition) {
			d.Name, d.Metric, d.Statistic = fmt.Sprint("a", i), errorsOf(fmt.Sprint("e", i), "v", "c"), "Sum"
		}))
	}
	stop := w.run()
	defer stop()
	busy := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(500 * time.Microsecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-busy:
				return
			case <-tick.C:
				x := sample(false)
				x.Key.Name, x.ModelLatency = fmt.Sprint("e", i%n), time.Duration(i%97)*time.Millisecond
				w.Metrics.Sample(x)
			}
		}
	})
	var took []time.Duration
	for i := range n {
		x := sample(true)
		x.Key.Name = fmt.Sprint("e", i)
		began := time.Now()
		w.Metrics.Sample(x)
		select {
		case at := <-woken:
			took = append(took, at.Sub(began))
		case <-time.After(10 * time.Second):
			t.Fatal("it never came to that")
		}
		w.is(fmt.Sprint("a", i), alarm.StateAlarm)
	}
	close(busy)
	wg.Wait()
	slices.Sort(took)
	p50, p99 := took[n/2], took[n*99/100]
	t.Logf("from the bad request to the wake-up: p50 %v, p99 %v", p50, p99)
	if p50 > limit {
		t.Errorf("p50 %v", p50)
	}
}
