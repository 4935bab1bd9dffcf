package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/openload"
	"github.com/slipway-ml/slipway/internal/platform/provider/testmodel/build"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// A canary whose model fails is undone by its alarm of one second in the middle
// of its bake, with real processes under 200 requests a second. How long that
// takes is measured by make bench; here it is the order of things that counts.
func TestABadCanaryIsRolledBackByItsAlarm(t *testing.T) {
	for name, judge := range map[string]func(*alarm.Definition){
		"at the first error":     func(d *alarm.Definition) { d.Statistic, d.Threshold = "Sum", new(1.0) },
		"by the share of errors": func(d *alarm.Definition) { d.Statistic, d.Threshold = "Average", new(0.2) },
	} {
		t.Run(name, func(t *testing.T) { rollBack(t, judge) })
	}
}

func rollBack(t *testing.T, judge func(*alarm.Definition)) {
	s := serve(t)
	s.deployable("good", nil)
	s.deployable("bad", map[string]string{"TESTMODEL_STATUS": "500"})
	_, err := s.CreateEndpoint(t.Context(),
		&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("good")})
	s.ok(err)
	s.awaitInService()
	s.guard(judge)
	finish := s.load(200)
	s.update()
	end := s.awaitInService()
	over := time.Now()
	s.isAnswered(200) // the bad fleet gets none of these
	x := finish()
	if *end.EndpointConfigName != "good" || !strings.Contains(aws.ToString(end.FailureReason), "[bad-answers]") {
		t.Errorf("the endpoint serves %s: %s", *end.EndpointConfigName, aws.ToString(end.FailureReason))
	}
	if x.failed == 0 || x.other > 0 {
		t.Errorf("%d requests failed, %d of them not because of the model: %v", x.failed, x.other, x.why)
	}
	t.Logf("from the first bad answer to the last request to the bad fleet: %v, %d requests",
		x.last.Sub(x.first).Round(time.Millisecond), x.failed)
	fired := s.firedAt("bad-answers")
	for _, order := range []struct {
		what          string
		before, after time.Time
	}{
		{"the first bad request, the alarm", x.began, fired},
		{"the alarm, the end of the rollback", fired, over},
		{"the last request to the bad fleet, the end of the rollback", x.last, over},
	} {
		if order.after.Before(order.before) {
			t.Errorf("not in this order: %s (%v, %v)", order.what, order.before, order.after)
		}
	}
}

// guard puts an alarm of one second on the errors of the bad fleet.
func (s *served) guard(judge func(*alarm.Definition)) {
	s.t.Helper()
	d := alarm.Definition{
		Name: "bad-answers", Period: 1, EvaluationPeriods: 1, ComparisonOperator: alarm.GreaterOrEqual,
		TreatMissingData: alarm.NotBreaching,
		Metric: metric.ID{Namespace: metrics.Namespace, Name: "Invocation5XXErrors", Dimensions: []metric.Dimension{
			{Name: "EndpointName", Value: "e"},
			{Name: "VariantName", Value: "main"},
			{Name: "EndpointConfigName", Value: "bad"},
		}},
	}
	judge(&d)
	s.ok(s.app.alarms.PutAlarm(s.t.Context(), arn.Scope{Region: "us-east-1", Account: s.app.cfg.Account}, d, nil))
}

// update begins a canary of the bad model, of half of the traffic.
func (s *served) update() {
	s.t.Helper()
	_, err := s.UpdateEndpoint(s.t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("e"), EndpointConfigName: aws.String("bad"),
		DeploymentConfig: &types.DeploymentConfig{
			BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
				TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
					Type: types.TrafficRoutingConfigTypeCanary, WaitIntervalInSeconds: aws.Int32(60),
					CanarySize: &types.CapacitySize{Type: types.CapacitySizeTypeCapacityPercent, Value: aws.Int32(50)},
				},
			},
			AutoRollbackConfiguration: rollbackOn("bad-answers"),
		},
	})
	s.ok(err)
}

// firedAt is when an alarm last went into ALARM.
func (s *served) firedAt(name string) time.Time {
	s.t.Helper()
	lines, _, err := s.app.alarms.History(s.t.Context(),
		arn.Scope{Region: "us-east-1", Account: s.app.cfg.Account},
		alarm.HistoryFilter{Alarm: name, Kind: alarm.StateUpdate})
	s.ok(err)
	for _, h := range lines {
		if strings.HasSuffix(h.Summary, "to ALARM") {
			return h.At
		}
	}
	s.t.Fatal("the alarm never fired")
	return time.Time{}
}

// Whoever holds the database for long keeps a rollback from being written, but
// not the traffic from moving back.
func TestTrafficMovesBackThoughTheDatabaseDoesNotAnswer(t *testing.T) {
	s := serve(t)
	s.deployable("good", nil)
	s.deployable("bad", map[string]string{"TESTMODEL_STATUS": "500"})
	_, err := s.CreateEndpoint(t.Context(),
		&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("good")})
	s.ok(err)
	s.awaitInService()
	s.guard(func(d *alarm.Definition) { d.Statistic, d.Threshold = "Sum", new(1.0) })
	s.update()
	s.awaitBaking()
	held, release := make(chan struct{}), make(chan struct{})
	var moved atomic.Bool
	var holding sync.WaitGroup
	holding.Go(func() {
		err := s.app.db.Change(t.Context(), func(tx *store.Tx) error {
			for close(held); ; { // until it is cut off, at the latest
				select {
				case <-release:
					return nil
				case <-time.After(50 * time.Millisecond):
				}
				if _, err := tx.ExecContext(t.Context(), `select 1`); err != nil {
					return err
				}
			}
		})
		if err != nil && !moved.Load() {
			t.Errorf("the database was free again before the traffic had moved back: %v", err)
		}
	})
	<-held
	finish := s.load(200)
	for deadline := time.Now().Add(time.Minute); ; {
		bad := s.bad.Load()
		if s.isAnswered(60); bad > 0 && s.bad.Load() == bad {
			moved.Store(true) // half of them would have been bad
			break
		}
		if time.Now().After(deadline) {
			t.Error("the traffic did not move back")
			break
		}
	}
	close(release)
	holding.Wait()
	end := s.awaitInService()
	finish()
	if *end.EndpointConfigName != "good" || !strings.Contains(aws.ToString(end.FailureReason), "[bad-answers]") {
		t.Errorf("the endpoint serves %s: %s", *end.EndpointConfigName, aws.ToString(end.FailureReason))
	}
}

// awaitBaking waits until the new fleet bakes.
func (s *served) awaitBaking() {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		out, err := s.DescribeEndpoint(s.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: aws.String("e")})
		s.ok(err)
		if p := out.PendingDeploymentSummary; p != nil {
			now := p.ProductionVariants[0].VariantStatus
			if len(now) > 0 && now[0].Status == types.VariantStatusBaking {
				return
			}
		}
	}
	s.t.Fatal("the new fleet did not bake within a minute")
}

// exposure is what clients had of a bad fleet.
type exposure struct {
	began  time.Time // when the first request that got a bad answer began
	first  time.Time // when the first bad answer ended
	last   time.Time // when the last request that got one began
	failed int
	other  int // of them, for another reason than the model
	why    error
}

// load sends requests at a rate until finish is called.
func (s *served) load(rate float64) (finish func() exposure) {
	halt, done := make(chan struct{}), make(chan struct{})
	var x exposure
	note := func(r openload.Result) {
		if r.Class != openload.Failed {
			s.good.Add(1)
			return
		}
		s.bad.Add(1)
		if x.began.IsZero() || r.Started.Before(x.began) {
			x.began = r.Started
		}
		if !strings.Contains(r.Err.Error(), "ModelError") {
			x.other++
			x.why = r.Err
		}
		if x.failed++; x.first.IsZero() || r.Ended.Before(x.first) {
			x.first = r.Ended
		}
		if r.Started.After(x.last) {
			x.last = r.Started
		}
	}
	go func() {
		defer close(done)
		_, err := openload.Run(s.t.Context(),
			openload.Config{Rate: rate, Duration: time.Hour, Stop: halt, OnResult: note},
			func(ctx context.Context, _ int) error {
				_, err := s.runtime.InvokeEndpoint(ctx,
					&sagemakerruntime.InvokeEndpointInput{EndpointName: aws.String("e"), Body: []byte("x")})
				return err
			})
		if err != nil {
			s.t.Error(err)
		}
	}()
	return func() exposure {
		close(halt)
		<-done
		return x
	}
}

// isAnswered waits until so many more requests got a good answer.
func (s *served) isAnswered(more int64) {
	s.t.Helper()
	want := s.good.Load() + more
	for deadline := time.Now().Add(time.Minute); s.good.Load() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("requests are not answered")
		}
	}
}

func TestAnUpdateToBeJudgedByNoAlarmIsRefused(t *testing.T) {
	s := serve(t)
	s.deployable("a", nil)
	s.deployable("b", nil)
	_, err := s.CreateEndpoint(t.Context(),
		&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("a")})
	s.ok(err)
	s.awaitInService()
	_, err = s.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("e"), EndpointConfigName: aws.String("b"),
		DeploymentConfig: &types.DeploymentConfig{AutoRollbackConfiguration: rollbackOn("x")},
	})
	if err == nil || !strings.Contains(err.Error(), "ValidationException: Could not find alarm(s): [x].") {
		t.Error(err)
	}
}

// served is an app that serves, and clients of it.
type served struct {
	*sagemaker.Client
	t       *testing.T
	app     *App
	runtime *sagemakerruntime.Client
	good    atomic.Int64 // answers to load
	bad     atomic.Int64
}

func serve(t *testing.T) *served {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	cfg.Images["test/model"] = config.Image{
		Command: []string{build.Testmodel(t)}, Environment: []string{"TESTMODEL_*"},
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	key := a.keys.Default()
	c := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + a.Addr()),
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
		HTTPClient:  openload.NewHTTPClient(64),
	}
	s := &served{
		Client: sagemaker.NewFromConfig(c), t: t, app: a,
		runtime: sagemakerruntime.NewFromConfig(c, func(o *sagemakerruntime.Options) { o.RetryMaxAttempts = 1 }),
	}
	t.Cleanup(func() {
		s.empty()
		cancel()
		wg.Wait()
		a.Close()
	})
	return s
}

func rollbackOn(alarm string) *types.AutoRollbackConfig {
	return &types.AutoRollbackConfig{Alarms: []types.Alarm{{AlarmName: &alarm}}}
}

// empty deletes the endpoint, so that no process is left.
func (s *served) empty() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := aws.String("e")
	_, err := s.DeleteEndpoint(ctx, &sagemaker.DeleteEndpointInput{EndpointName: name})
	if err == nil {
		err = sagemaker.NewEndpointDeletedWaiter(s.Client, func(o *sagemaker.EndpointDeletedWaiterOptions) {
			o.MinDelay, o.MaxDelay = 50*time.Millisecond, 50*time.Millisecond
		}).Wait(ctx, &sagemaker.DescribeEndpointInput{EndpointName: name}, time.Minute)
	}
	if err != nil {
		s.t.Error(err)
	}
}

func (s *served) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// deployable makes a model and a configuration of it, of two instances.
func (s *served) deployable(name string, env map[string]string) {
	s.t.Helper()
	_, err := s.CreateModel(s.t.Context(), &sagemaker.CreateModelInput{
		ModelName:        &name,
		PrimaryContainer: &types.ContainerDefinition{Image: aws.String("test/model"), Environment: env},
	})
	s.ok(err)
	_, err = s.CreateEndpointConfig(s.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{{
			VariantName: aws.String("main"), ModelName: &name, InitialInstanceCount: aws.Int32(2),
			InstanceType: types.ProductionVariantInstanceTypeMlM5Large,
		}},
	})
	s.ok(err)
}

// awaitInService waits until the endpoint is at rest.
func (s *served) awaitInService() *sagemaker.DescribeEndpointOutput {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		out, err := s.DescribeEndpoint(s.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: aws.String("e")})
		s.ok(err)
		switch out.EndpointStatus {
		case types.EndpointStatusInService:
			return out
		case types.EndpointStatusFailed:
			s.t.Fatal(aws.ToString(out.FailureReason))
		}
	}
	s.t.Fatal(errors.New("the endpoint was not in service within a minute"))
	return nil
}
