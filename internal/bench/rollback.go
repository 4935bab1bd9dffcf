package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"

	"github.com/slipway-ml/slipway/internal/openload"
)

const (
	rollbackRate   = 200 // requests per second
	rollbackRounds = 25
)

// rollbacks measures what a bad model costs: the time from the first bad
// answer of a canary to the last request that its fleet got, with an alarm of a
// 1 s period, at 200 requests per second. The client's own times count.
func rollbacks(ctx context.Context, dir string, bins map[string]string) error {
	s, err := startBenchServer(ctx, dir, bins)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.goodAndBad(ctx); err != nil {
		return err
	}
	var took []time.Duration
	var exposed []int
	for range rollbackRounds {
		d, n, err := s.rollback(ctx)
		if err != nil {
			return err
		}
		took, exposed = append(took, d), append(exposed, n)
	}
	slices.Sort(took)
	slices.Sort(exposed)
	fmt.Printf("first bad answer to last request of the bad fleet, canary 1 of 4, alarm period 1 s, %d req/s, %d "+
		"rollbacks: median %s, max %s (aim: p99 <= 2s); bad answers: median %d, max %d\n",
		rollbackRate, rollbackRounds, took[len(took)/2].Round(time.Millisecond),
		took[len(took)-1].Round(time.Millisecond), exposed[len(exposed)/2], exposed[len(exposed)-1])
	if _, err := s.api.DeleteEndpoint(ctx, &sagemaker.DeleteEndpointInput{EndpointName: aws.String("e")}); err != nil {
		return err
	}
	return s.empty(ctx)
}

// goodAndBad puts a good model in service, makes a bad one, and an alarm on
// the bad one's errors.
func (s *benchServer) goodAndBad(ctx context.Context) error {
	for name, env := range map[string]map[string]string{"good": nil, "bad": {"TESTMODEL_STATUS": "500"}} {
		_, err := s.api.CreateModel(ctx, &sagemaker.CreateModelInput{
			ModelName:        &name,
			PrimaryContainer: &types.ContainerDefinition{Image: aws.String(benchImage), Environment: env},
		})
		if err != nil {
			return err
		}
		_, err = s.api.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
			EndpointConfigName: &name,
			ProductionVariants: []types.ProductionVariant{{
				VariantName: aws.String("a"), ModelName: &name, InitialInstanceCount: aws.Int32(4),
				InstanceType: types.ProductionVariantInstanceTypeMlM5Large,
			}},
		})
		if err != nil {
			return err
		}
	}
	_, err := cloudwatch.NewFromConfig(s.aws).PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("bad-5xx"), Namespace: aws.String("AWS/SageMaker"),
		MetricName: aws.String("Invocation5XXErrors"),
		Dimensions: []cwtypes.Dimension{
			{Name: aws.String("EndpointName"), Value: aws.String("e")},
			{Name: aws.String("VariantName"), Value: aws.String("a")},
			{Name: aws.String("EndpointConfigName"), Value: aws.String("bad")},
		},
		Statistic: cwtypes.StatisticSum, Period: aws.Int32(1), EvaluationPeriods: aws.Int32(1),
		Threshold:          aws.Float64(1),
		ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanOrEqualToThreshold,
		TreatMissingData:   aws.String("notBreaching"),
	})
	if err != nil {
		return err
	}
	if _, err := s.api.CreateEndpoint(
		ctx, &sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("good")},
	); err != nil {
		return err
	}
	return s.inService(ctx, "e")
}

// exposure is what requests saw of the bad model.
type exposure struct {
	mu          sync.Mutex // guards what follows
	first, last time.Time  // when the first bad answer came, and when the last that got one was sent
	bad, all    int        // answers
	other       int        // errors that are not the bad model's: of a busy machine
}

// took returns for how long the bad fleet got requests after its first bad answer,
// and how many answers were bad.
func (e *exposure) took() (time.Duration, int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bad == 0 {
		return 0, 0, errors.New("the bad model never answered")
	}
	if e.other > 0 {
		fmt.Printf("(%d of %d requests failed otherwise than by the bad model)\n", e.other, e.all)
	}
	return max(0, e.last.Sub(e.first)), e.bad, nil
}

// answers returns how many requests were answered, and how many of them badly.
func (e *exposure) answers() (all, bad int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all, e.bad
}

// load sends requests until stop is called, which waits for their answers.
func (s *benchServer) load(ctx context.Context, e *exposure) (stop func() error) {
	runtime := sagemakerruntime.NewFromConfig(s.aws, func(o *sagemakerruntime.Options) { o.RetryMaxAttempts = 1 })
	halt := make(chan struct{})
	done := make(chan error, 1)
	go func() { // ends when halt is closed
		_, err := openload.Run(ctx, openload.Config{
			Rate: rollbackRate, Duration: time.Minute, Stop: halt,
		}, func(ctx context.Context, _ int) error {
			sent := time.Now()
			in := &sagemakerruntime.InvokeEndpointInput{EndpointName: aws.String("e"), Body: []byte("x")}
			_, err := runtime.InvokeEndpoint(ctx, in)
			e.mu.Lock()
			defer e.mu.Unlock()
			e.all++
			if m, ok := errors.AsType[*runtimetypes.ModelError](err); !ok || aws.ToInt32(m.OriginalStatusCode) != 500 {
				if err != nil {
					e.other++
				}
				return err
			}
			if e.bad++; e.first.IsZero() {
				e.first = time.Now()
			}
			if sent.After(e.last) {
				e.last = sent
			}
			return err
		})
		done <- err
	}()
	return func() error { close(halt); return <-done }
}

// update begins a canary of the bad model, with an alarm on what it answers.
func (s *benchServer) update(ctx context.Context, waitSeconds int32) error {
	_, err := s.api.UpdateEndpoint(ctx, &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("e"), EndpointConfigName: aws.String("bad"),
		DeploymentConfig: &types.DeploymentConfig{
			BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
				TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
					Type: types.TrafficRoutingConfigTypeCanary, WaitIntervalInSeconds: &waitSeconds,
					CanarySize: &types.CapacitySize{Type: types.CapacitySizeTypeInstanceCount, Value: aws.Int32(1)},
				},
			},
			AutoRollbackConfiguration: &types.AutoRollbackConfig{
				Alarms: []types.Alarm{{AlarmName: aws.String("bad-5xx")}},
			},
		},
	})
	return err
}

// rollback updates to the bad model under load and returns how long its fleet
// took requests after its first bad answer, and how many answers were bad.
func (s *benchServer) rollback(ctx context.Context) (time.Duration, int, error) {
	var e exposure
	stop := s.load(ctx, &e)
	err := s.update(ctx, 30)
	if err == nil {
		err = s.inService(ctx, "e")
	}
	if err == nil {
		err = s.alarmIsOK(ctx) // before the next round; and by then a late request was seen
	}
	if err = errors.Join(err, stop()); err != nil {
		return 0, 0, err
	}
	return e.took()
}

func (s *benchServer) alarmIsOK(ctx context.Context) error {
	cw := cloudwatch.NewFromConfig(s.aws)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		out, err := cw.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"bad-5xx"}})
		if err != nil {
			return err
		}
		if len(out.MetricAlarms) == 1 && out.MetricAlarms[0].StateValue == cwtypes.StateValueOk {
			return nil
		}
	}
	return fmt.Errorf("the alarm was not OK again within a minute")
}
