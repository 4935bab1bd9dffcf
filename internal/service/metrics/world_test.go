package metrics_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/store"
	storemetrics "github.com/slipway-ml/slipway/internal/platform/store/metrics"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

var (
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
	other = arn.Scope{Region: "eu-west-1", Account: "000000000000"}
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a service over a real store.
type world struct {
	*metrics.Service
	t testing.TB
}

func newWorld(t testing.TB, db *store.DB, change ...func(*metrics.Config)) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := metrics.Config{Store: storemetrics.New(db), Log: log}
	for _, c := range change {
		c(&cfg)
	}
	s, err := metrics.New(t.Context(), cfg)
	ok(t, err)
	return &world{s, t}
}

// run runs the service until the function that it returns is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	return func() { cancel(); <-done }
}

var orders = metric.ID{Namespace: "Shop", Name: "Orders"}

// errorsOf is the metric of an endpoint's server errors; of both fleets if
// config is "".
func errorsOf(endpoint, variant, config string) metric.ID {
	id := metric.ID{Namespace: metrics.Namespace, Name: "Invocation5XXErrors", Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: endpoint}, {Name: "VariantName", Value: variant},
	}}
	if config != "" {
		id.Dimensions = append(id.Dimensions, metric.Dimension{Name: "EndpointConfigName", Value: config})
	}
	return id
}

// stat is a statistic of a metric over the last minutes.
func (w *world) stat(id metric.ID, s metric.Stat) float64 {
	w.t.Helper()
	end := time.Now().Truncate(time.Minute).Add(time.Minute)
	ps, err := w.Statistics(scope, metrics.StatisticsQuery{
		Metric: id, Start: end.Add(-10 * time.Minute), End: end, Period: 10 * time.Minute, Stats: []metric.Stat{s},
	})
	ok(w.t, err)
	if len(ps) != 1 || ps[0].Values[0] == nil {
		return -1
	}
	return *ps[0].Values[0]
}

// sample is a request that was answered just now.
func sample(status5xx bool) traffic.Sample {
	return traffic.Sample{
		Key: traffic.Key{Region: scope.Region, Name: "e"}, Variant: "v", Config: "c", At: time.Now(),
		Status5XX: status5xx, ModelError: status5xx, Instances: 2,
	}
}

// order puts a sample of Orders.
func (w *world) order(v float64) {
	w.t.Helper()
	ok(w.t, w.Put(scope, orders.Namespace, []metrics.Datum{{Name: orders.Name, Datum: metric.Datum{Value: &v}}}))
}
