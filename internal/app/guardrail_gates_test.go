package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/record"
)

// judged makes a configuration of a model that exists, with a gate on its errors.
func (s *served) judged(name, model, words string) error {
	_, err := s.CreateEndpointConfig(s.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{{
			VariantName: aws.String("main"), ModelName: &model, InitialInstanceCount: aws.Int32(2),
			InstanceType: types.ProductionVariantInstanceTypeMlM5Large,
		}},
		Tags: []types.Tag{{Key: aws.String("slipway:gate:errors"), Value: &words}},
	})
	return err
}

// canary updates to a configuration by half of the traffic.
func (s *served) canary(config string, bake int32, back *types.AutoRollbackConfig) {
	s.t.Helper()
	_, err := s.UpdateEndpoint(s.t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("e"), EndpointConfigName: &config,
		DeploymentConfig: &types.DeploymentConfig{
			BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
				TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
					Type: types.TrafficRoutingConfigTypeCanary, WaitIntervalInSeconds: &bake,
					CanarySize: &types.CapacitySize{Type: types.CapacitySizeTypeCapacityPercent, Value: aws.Int32(50)},
				},
			},
			AutoRollbackConfiguration: back,
		},
	})
	s.ok(err)
}

// anyEvidence is what all gates together say.
func anyEvidence() metric.ID {
	return metric.ID{Namespace: alarm.Evidence, Name: "AnyEvidence", Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: "e"}, {Name: "VariantName", Value: "main"},
	}}
}

// A canary whose model fails is taken back because it fails more than the old
// fleet at the same time: by the word of a tag, and by an alarm on the evidence,
// with real processes. The version that follows at once is judged by its own.
func TestABadCanaryIsRolledBackByEvidence(t *testing.T) {
	for name, byTag := range map[string]bool{"by a tag": true, "by an alarm on all gates": false} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.deployable("good", nil)
			s.deployable("bad", map[string]string{"TESTMODEL_STATUS": "500"})
			words, why := "action=rollback alpha=0.01 patience=10s", `gate "errors" fired: bad-judged fails 100`
			var back *types.AutoRollbackConfig
			if !byTag {
				words, why, back = "alpha=0.01 patience=10s", "[worse]", rollbackOn("worse")
				s.ok(s.app.alarms.PutAlarm(t.Context(), arn.Scope{Region: "us-east-1", Account: s.app.cfg.Account},
					alarm.Definition{
						Name: "worse", Period: 10, EvaluationPeriods: 1, Statistic: "Maximum", Threshold: new(2.0),
						ComparisonOperator: alarm.Greater, TreatMissingData: alarm.NotBreaching,
						Metric: anyEvidence(),
					}, nil))
			}
			s.ok(s.judged("bad-judged", "bad", words))
			s.ok(s.judged("good-judged", "good", words))
			_, err := s.CreateEndpoint(t.Context(),
				&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("good")})
			s.ok(err)
			s.awaitInService()
			finish := s.load(100)
			s.canary("bad-judged", 300, back)
			began := time.Now()
			end := s.awaitInService()
			t.Logf("it was rolled back %v after it began", time.Since(began).Round(time.Second))
			if *end.EndpointConfigName != "good" || !strings.Contains(aws.ToString(end.FailureReason), why) {
				t.Errorf("the endpoint serves %s: %s", *end.EndpointConfigName, aws.ToString(end.FailureReason))
			}
			s.canary("good-judged", 5, back)
			end = s.awaitInService()
			if finish(); *end.EndpointConfigName != "good-judged" {
				t.Errorf("what followed was judged by it: %s serves, %s", *end.EndpointConfigName,
					aws.ToString(end.FailureReason))
			}
		})
	}
}

// A canary that is held goes on when its model was shown to fail little more than
// the old one, however short its bake is, and the record says so.
func TestACanaryIsHeldUntilItIsProven(t *testing.T) {
	s := serve(t)
	s.deployable("good", nil)
	s.ok(s.judged("good-held", "good", "action=hold proven=0.2 alpha=0.01"))
	_, err := s.CreateEndpoint(t.Context(),
		&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("good")})
	s.ok(err)
	s.awaitInService()
	finish := s.load(100)
	s.canary("good-held", 1, nil)
	end := s.awaitInService()
	if finish(); *end.EndpointConfigName != "good-held" {
		t.Fatalf("%s serves: %s", *end.EndpointConfigName, aws.ToString(end.FailureReason))
	}
	sc := arn.Scope{Region: "us-east-1", Account: s.app.cfg.Account}
	all, _, err := s.app.hosting.Deployments(t.Context(), sc, "e", record.Page{Limit: 10})
	s.ok(err)
	i := slices.IndexFunc(all, func(r record.Record) bool { return r.To() == "good-held" })
	said := strings.Join(all[i].Gates()[0].Said, " ")
	if !strings.Contains(said, "Proven in step 1, for some time of it: good-held fails at most 20 points more than good") {
		t.Error(said)
	}
	var left int
	s.ok(s.app.db.Read().QueryRowContext(t.Context(), `select count(*) from evidence`).Scan(&left))
	if left > 0 {
		t.Errorf("%d rows of evidence are left", left)
	}
}

// What nobody works out is refused with a sentence, where it is asked for.
func TestGatesThatNobodyWeighsAreRefused(t *testing.T) {
	s := serve(t)
	s.deployable("good", nil)
	_, err := s.CreateEndpoint(t.Context(),
		&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("good")})
	s.ok(err)
	s.awaitInService()
	s.ok(s.judged("fine", "good", ""))
	config, err := s.DescribeEndpointConfig(t.Context(),
		&sagemaker.DescribeEndpointConfigInput{EndpointConfigName: aws.String("fine")})
	s.ok(err)
	_, err = s.AddTags(t.Context(), &sagemaker.AddTagsInput{ResourceArn: config.EndpointConfigArn, Tags: []types.Tag{
		{Key: aws.String("slipway:gate:accuracy"), Value: aws.String("action=rollback")},
	}})
	const accuracy = `Gate "accuracy" is not supported by this server: no ground truth can be sent yet.`
	if err == nil || !strings.Contains(err.Error(), accuracy) {
		t.Errorf("got %v", err)
	}
}
