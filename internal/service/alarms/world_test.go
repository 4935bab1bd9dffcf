package alarms_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/store"
	storealarms "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	storemetrics "github.com/slipway-ml/slipway/internal/platform/store/metrics"
	"github.com/slipway-ml/slipway/internal/service/alarms"
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

// world is a service over a real store and the samples that it judges by.
type world struct {
	*alarms.Service
	t     testing.TB
	db    *store.DB
	woken atomic.Int64 // how often deployments were woken
}

func newWorld(t testing.TB, db *store.DB, change ...func(*alarms.Config, *metrics.Config)) *world {
	t.Helper()
	w := &world{t: t, db: db}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	samples := metrics.Config{Store: storemetrics.New(db), Log: log}
	cfg := alarms.Config{
		Store: storealarms.New(db), Account: scope.Account, Wake: func() { w.woken.Add(1) }, Log: log,
	}
	for _, c := range change {
		c(&cfg, &samples)
	}
	var err error
	cfg.Metrics, err = metrics.New(t.Context(), samples)
	ok(t, err)
	w.Service, err = alarms.New(t.Context(), cfg)
	ok(t, err)
	return w
}

// run runs the services until the function that it returns is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.Metrics.Run(ctx) })
	wg.Go(func() { w.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

var orders = metric.ID{Namespace: "Shop", Name: "Orders"}

// watching returns an alarm named a on the Sum of Orders being at least 1 in a
// period of a second, changed as the test likes.
func watching(change ...func(*alarm.Definition)) alarm.Definition {
	d := alarm.Definition{
		Name: "a", Metric: orders, Statistic: "Maximum", Period: 1, EvaluationPeriods: 1,
		Threshold: new(1.0), ComparisonOperator: alarm.GreaterOrEqual, TreatMissingData: alarm.NotBreaching,
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

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

func (w *world) put(d alarm.Definition) {
	w.t.Helper()
	ok(w.t, w.PutAlarm(w.t.Context(), scope, d, nil))
}

// order puts a sample of Orders.
func (w *world) order(v float64) {
	w.t.Helper()
	d := metrics.Datum{Name: orders.Name, Datum: metric.Datum{Value: &v}}
	ok(w.t, w.Metrics.Put(scope, orders.Namespace, []metrics.Datum{d}))
}

func (w *world) state(name string) alarm.State {
	w.t.Helper()
	as, _ := w.Alarms(scope, alarms.AlarmFilter{Names: []string{name}, Metric: true, Composite: true})
	if len(as) != 1 {
		w.t.Fatalf("%d alarms are named %q", len(as), name)
	}
	return as[0].State
}

// is checks the value of an alarm's state.
func (w *world) is(name string, want alarm.StateValue) {
	w.t.Helper()
	if s := w.state(name); s.Value != want {
		w.t.Errorf("alarm %s is %s, want %s: %s", name, s.Value, want, s.Reason)
	}
}

// sample is a request that was answered just now.
func sample(status5xx bool) traffic.Sample {
	return traffic.Sample{
		Key: traffic.Key{Region: scope.Region, Name: "e"}, Variant: "v", Config: "c", At: time.Now(),
		Status5XX: status5xx, ModelError: status5xx, Instances: 2,
	}
}
