package watch_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/service/watch"
)

// From the first bad request to the moment at which deployments are rung, the
// new state being in the store: in real time, while other fleets are busy and
// samples are flushed.
func TestABadRequestRingsWithinMilliseconds(t *testing.T) {
	const alarms, limit = 100, time.Second // of the median, and far above what it takes: the machine may be busy
	rung := make(chan time.Time, alarms)
	w := newWorld(t, sqlite(t, filepath.Join(t.TempDir(), "x.db")), func(c *watch.Config) {
		c.FlushEvery = 50 * time.Millisecond
		c.Ring = func() { rung <- time.Now() }
	})
	for i := range alarms {
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
				x.Key.Name, x.ModelLatency = fmt.Sprint("e", i%alarms), time.Duration(i%97)*time.Millisecond
				w.Sample(x)
			}
		}
	})
	var took []time.Duration
	for i := range alarms {
		x := sample(true)
		x.Key.Name = fmt.Sprint("e", i)
		began := time.Now()
		w.Sample(x)
		select {
		case at := <-rung:
			took = append(took, at.Sub(began))
		case <-time.After(10 * time.Second):
			t.Fatal("it never rang")
		}
		w.is(fmt.Sprint("a", i), alarm.StateAlarm)
	}
	close(busy)
	wg.Wait()
	slices.Sort(took)
	p50, p99 := took[alarms/2], took[alarms*99/100]
	t.Logf("from the bad request to the bell: p50 %v, p99 %v", p50, p99)
	if p50 > limit {
		t.Errorf("p50 %v", p50)
	}
}
