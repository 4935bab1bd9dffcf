package metrics_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

func TestARequestIsSampledUnderBothDimensionSets(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for i := range 10 {
		x := sample(i < 2)
		x.Status4XX = i == 5
		x.ModelLatency, x.OverheadLatency = time.Duration(i+1)*time.Millisecond, 100*time.Microsecond
		if i >= 6 {
			x.Config = "d"
		}
		if i == 9 {
			x.Streaming, x.FirstChunk, x.MidStreamError = true, 5*time.Millisecond, true
		}
		w.Sample(x)
	}
	for _, tt := range []struct {
		name   string
		stat   metric.Stat
		whole  float64
		fleets [2]float64 // of c and d
	}{
		{"Invocations", metric.Sum, 10, [2]float64{6, 4}},
		{"Invocations", metric.SampleCount, 10, [2]float64{6, 4}},
		{"InvocationsPerInstance", metric.Sum, 5, [2]float64{3, 2}},
		{"Invocation5XXErrors", metric.Sum, 2, [2]float64{2, 0}},
		{"Invocation5XXErrors", metric.Average, 0.2, [2]float64{2. / 6, 0}},
		{"Invocation4XXErrors", metric.Sum, 1, [2]float64{1, 0}},
		{"InvocationModelErrors", metric.Average, 0.2, [2]float64{2. / 6, 0}},
		{"ModelLatency", metric.Maximum, 10000, [2]float64{6000, 10000}},
		{"OverheadLatency", metric.Average, 100, [2]float64{100, 100}},
		{"FirstChunkLatency", metric.Maximum, 5000, [2]float64{-1, 5000}},
		{"MidStreamErrors", metric.Average, 1, [2]float64{-1, 1}},
	} {
		for i, config := range []string{"", "c", "d"} {
			id := errorsOf("e", "v", config)
			id.Name = tt.name
			want := tt.whole
			if i > 0 {
				want = tt.fleets[i-1]
			}
			if got := w.stat(id, tt.stat); got < want-1e-6 || got > want+1e-6 {
				t.Errorf("%s of %s, config %q: %v, want %v", tt.stat, tt.name, config, got, want)
			}
		}
	}
	page, more := w.Metrics(scope, metrics.MetricsFilter{
		Dimensions: []metric.Dimension{{Name: "EndpointConfigName"}}, Since: time.Now().Add(-time.Minute),
	})
	if len(page) != 16 || more {
		t.Errorf("%d metrics of fleets, more %v", len(page), more)
	}
	if page, _ := w.Metrics(other, metrics.MetricsFilter{}); len(page) != 0 {
		t.Errorf("another region has %v", page)
	}
}

func TestNoSampleIsLostHoweverManyCome(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	stop := make(chan struct{})
	var looking, wg sync.WaitGroup
	looking.Go(func() { // whoever looks meanwhile takes nothing away
		for {
			select {
			case <-stop:
				return
			default:
				w.stat(errorsOf("e", "v", "c"), metric.Sum)
			}
		}
	})
	const each = 5000
	for range 8 {
		wg.Go(func() {
			for i := range each {
				w.Sample(sample(i%2 == 0))
			}
		})
	}
	wg.Wait()
	close(stop)
	looking.Wait()
	n, bad := w.stat(errorsOf("e", "v", "c"), metric.SampleCount), w.stat(errorsOf("e", "v", ""), metric.Sum)
	if n != 8*each || bad != 4*each {
		t.Errorf("%v samples, %v errors", n, bad)
	}
}

func TestSamplesSurviveARestart(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for range 100 {
			x := sample(true)
			x.ModelLatency = time.Duration(rand.IntN(1000)) * time.Millisecond
			w.Sample(x)
		}
		za := []metric.Dimension{{Name: "z", Value: "1"}, {Name: "a", Value: "2"}}
		az := []metric.Dimension{{Name: "a", Value: "2"}, {Name: "z", Value: "1"}}
		for _, d := range []metrics.Datum{
			{Name: "Orders", Dimensions: za, Datum: metric.Datum{Value: new(4.0), Unit: "Count"}},
			{Name: "Orders", Dimensions: az, Datum: metric.Datum{Value: new(6.0)}},
		} {
			ok(t, w.Put(scope, "Shop", []metrics.Datum{d}))
		}
		ok(t, w.Flush(t.Context()))
		w.Sample(sample(true))
		ok(t, w.Close()) // what came after the flush
		latency := errorsOf("e", "v", "c")
		latency.Name = "ModelLatency"
		want := w.stat(latency, metric.Sum)
		p90, _ := metric.ParseStat("p90")
		want90 := w.stat(latency, p90)

		w = newWorld(t, db)
		if got := w.stat(latency, metric.Sum); got != want {
			t.Errorf("sum %v, want %v", got, want)
		}
		if got := w.stat(latency, p90); got != want90 {
			t.Errorf("p90 %v, want %v", got, want90)
		}
		if got := w.stat(errorsOf("e", "v", ""), metric.Sum); got != 101 {
			t.Errorf("%v errors", got)
		}
		end := time.Now().Truncate(time.Minute).Add(time.Minute)
		ps, err := w.Statistics(scope, metrics.StatisticsQuery{
			Metric: metric.ID{Namespace: "Shop", Name: "Orders", Dimensions: za},
			Start:  end.Add(-10 * time.Minute), End: end, Period: 10 * time.Minute, Stats: []metric.Stat{metric.Sum},
		})
		if ok(t, err); len(ps) != 2 || *ps[0].Values[0]+*ps[1].Values[0] != 10 || ps[0].Unit == ps[1].Unit {
			t.Errorf("orders %+v", ps)
		}
	})
}

func TestSamplesAreKeptWhileTheStoreFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := store.OpenSQLite(t.Context(), path)
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	w := newWorld(t, db)
	disk, err := sql.Open("sqlite", path)
	ok(t, err)
	defer disk.Close()
	w.Sample(sample(true))
	_, err = disk.ExecContext(t.Context(),
		`create trigger full before insert on chunk begin select raise(abort, 'disk full'); end`)
	ok(t, err)
	if err := w.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatal(err)
	}
	w.Sample(sample(true))
	_, err = disk.ExecContext(t.Context(), `drop trigger full`)
	ok(t, err)
	ok(t, w.Flush(t.Context()))
	if got := newWorld(t, db).stat(errorsOf("e", "v", "c"), metric.Sum); got != 2 {
		t.Errorf("%v errors, want 2", got)
	}
}

func TestMetricsBeyondTheLimitAreRefusedAndIdleOnesMakeRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		ok(t, err)
		w := newWorld(t, db, func(c *metrics.Config) { c.MaxSeries = 100 })
		stop := w.run()
		put := func(i int) error {
			d := metrics.Datum{Name: fmt.Sprint("m", i), Datum: metric.Datum{Value: new(1.0)}}
			return w.Put(scope, "Shop", []metrics.Datum{d})
		}
		for i := range 100 {
			ok(t, put(i))
			time.Sleep(100 * time.Millisecond)
		}
		if err := put(100); !errors.Is(err, fault.Limit) {
			t.Errorf("the 101st metric: %v", err)
		}
		w.Sample(sample(true)) // an endpoint's own has room of its own
		if w.stat(errorsOf("e", "v", "c"), metric.Sum) != 1 {
			t.Error("clients took the room of an endpoint's metrics")
		}
		ok(t, put(0))
		time.Sleep(time.Minute)
		ok(t, put(100))
		page, _ := w.Metrics(scope, metrics.MetricsFilter{Namespace: "Shop"})
		if len(page) != 91 {
			t.Errorf("%d metrics", len(page))
		}
		if w.stat(metric.ID{Namespace: "Shop", Name: "m0"}, metric.Sum) != 2 ||
			w.stat(metric.ID{Namespace: "Shop", Name: "m1"}, metric.Sum) != -1 {
			t.Error("it was not the metric idle longest that went")
		}
		stop()
		ok(t, w.Close())
		ok(t, db.Close())
		db, err = store.OpenSQLite(t.Context(), path)
		ok(t, err)
		if page, _ := newWorld(t, db).Metrics(scope, metrics.MetricsFilter{Namespace: "Shop"}); len(page) != 91 {
			t.Errorf("%d metrics after a restart", len(page))
		}
		ok(t, db.Close())
	})
}

func TestBadSamplesAreRefusedWhole(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	good := metrics.Datum{Name: "Orders", Datum: metric.Datum{Value: new(1.0)}}
	for name, bad := range map[string]metrics.Datum{
		"nothing":        {Name: "Orders"},
		"no name":        {Datum: metric.Datum{Value: new(1.0)}},
		"text that isnt": {Name: "Ord\xffers", Datum: metric.Datum{Value: new(1.0)}},
	} {
		if err := w.Put(scope, "Shop", []metrics.Datum{good, bad}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := w.stat(orders, metric.Sum); got != -1 {
		t.Errorf("a part was taken: %v", got)
	}
}

func TestGetMetricDataComputesExpressions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
		ok(t, err)
		w := newWorld(t, db)
		start := time.Now().Truncate(time.Minute)
		for i, name := range []string{"Bad", "All", "Bad", "All", "All"} {
			at := start.Add(time.Duration(i/2) * time.Minute)
			d := metrics.Datum{Name: name, Datum: metric.Datum{Value: new(float64(i + 1)), Timestamp: at}}
			ok(t, w.Put(scope, "Shop", []metrics.Datum{d}))
		}
		stat := func(id, name string) alarm.Query {
			return alarm.Query{ID: id, ReturnData: new(false), Stat: &alarm.MetricStat{
				Metric: metric.ID{Namespace: "Shop", Name: name}, Period: 60, Stat: "Sum",
			}}
		}
		get := func(qs ...alarm.Query) ([]metrics.DataResult, error) {
			return w.Data(scope,
				metrics.DataQuery{Queries: qs, Start: start, End: start.Add(4 * time.Minute), Ascending: true})
		}
		rate := alarm.Query{ID: "rate", Expression: "twice / 2"}
		twice := alarm.Query{ID: "twice", Expression: "2 * bad / all", ReturnData: new(false)}
		rs, err := get(rate, twice, stat("bad", "Bad"), stat("all", "All"))
		if ok(t, err); len(rs) != 1 || rs[0].Label != "rate" || fmt.Sprint(rs[0].Values) != "[0.5 0.75]" ||
			!rs[0].Times[1].Equal(start.Add(time.Minute)) {
			t.Errorf("%+v", rs)
		}
		rs, err = get(alarm.Query{ID: "each", Expression: "METRICS() + 1"}, stat("bad", "Bad"), stat("all", "All"))
		if ok(t, err); len(rs) != 2 || fmt.Sprint(rs[1].Values) != "[3 5 6]" {
			t.Errorf("%+v", rs)
		}
		for name, qs := range map[string][]alarm.Query{
			"a circle":   {{ID: "a", Expression: "b + 1"}, {ID: "b", Expression: "a + 1"}},
			"a stranger": {{ID: "a", Expression: "x"}},
			"a scalar":   {{ID: "a", Expression: "1 + 1"}},
			"twice":      {stat("a", "Bad"), stat("a", "Bad")},
			"two periods": {
				stat("a", "Bad"),
				{ID: "b", Stat: &alarm.MetricStat{Metric: orders, Period: 300, Stat: "Sum"}},
				{ID: "c", Expression: "a + b"},
			},
			"nonsense": {{ID: "a", Expression: "1 +"}},
		} {
			if _, err := get(qs...); !errors.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ok(t, db.Close())
	})
}

func BenchmarkSample(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	bad := metrics.Key{Region: scope.Region, Metric: errorsOf("e", "v", "").Key()}
	w.Subscribe().Watch(bad, metrics.NonZero)
	stop := w.run()
	defer stop()
	for name, fleets := range map[string]int{"one fleet": 1, "a thousand fleets": 1000} {
		keys := make([]traffic.Key, fleets)
		for i := range keys {
			keys[i] = traffic.Key{Region: scope.Region, Name: fmt.Sprint("e", i)}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				x := sample(false)
				for pb.Next() {
					n := rand.Uint32()
					x.Key = keys[n%uint32(fleets)]
					x.At = time.Now()
					x.ModelLatency, x.OverheadLatency = time.Duration(n%1e7), time.Duration(n%1e5)
					w.Sample(x)
				}
			})
		})
	}
}

func TestRequestsInFlightAreSampled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		ok(t, err)
		w := newWorld(t, db, func(c *metrics.Config) {
			c.Counts = func(traffic.Key) []traffic.Counts {
				return []traffic.Counts{
					{Variant: "v", Config: "c", InFlight: 3}, {Variant: "v", Config: "d", InFlight: 4},
				}
			}
		})
		stop := w.run()
		w.Sample(sample(false))
		x := sample(false)
		x.Config = "d"
		w.Sample(x)
		time.Sleep(11 * time.Second)
		for config, want := range map[string]float64{"": 7, "c": 3, "d": 4} {
			id := errorsOf("e", "v", config)
			id.Name = "ConcurrentRequestsPerModel"
			if got := w.stat(id, metric.Maximum); got != want {
				t.Errorf("config %q: %v in flight, want %v", config, got, want)
			}
		}
		stop()
		ok(t, db.Close())
	})
}

func TestInstancesAreSampledOnceAMinute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		ok(t, err)
		looks := time.Duration(0)
		w := newWorld(t, db, func(c *metrics.Config) {
			c.Instances = func(context.Context) ([]metrics.Instance, error) {
				looks++
				i := metrics.Instance{
					Endpoint: traffic.Key{Region: scope.Region, Name: "e"}, Variant: "v",
					ID: "1", CPU: looks * 90 * time.Second, Memory: 0.25,
				}
				j := i
				j.ID, j.CPU, j.Memory = "2", 0, 0.75
				return []metrics.Instance{i, j}, nil
			}
		})
		stop := w.run()
		time.Sleep(time.Minute + time.Second)
		id := errorsOf("e", "v", "")
		id.Namespace, id.Name = metrics.InstanceNamespace, "CPUUtilization"
		if got, n := w.stat(id, metric.Maximum), w.stat(id, metric.SampleCount); got != 150 || n != 2 {
			t.Errorf("%v %% of a core at most, in %v samples", got, n)
		}
		id.Name = "MemoryUtilization"
		if got := w.stat(id, metric.Average); got != 50 {
			t.Errorf("%v %% of the memory", got)
		}
		stop()
		ok(t, db.Close())
	})
}
