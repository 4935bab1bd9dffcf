package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/models"
)

// digitRow is an image of the test set as a row of CSV.
func digitRow(i int) []byte {
	images, _ := models.TestSet()
	fields := make([]string, len(images[i%len(images)]))
	for j, p := range images[i%len(images)] {
		fields[j] = fmt.Sprint(p)
	}
	return []byte(strings.Join(fields, ","))
}

// reads invokes with an image, and fails the test if that fails.
func (c *sdk) reads(endpoint string, i int) string {
	c.t.Helper()
	out, err := c.once.InvokeEndpoint(c.t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: &endpoint, ContentType: aws.String("text/csv"), Accept: aws.String("application/json"),
		Body: digitRow(i),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(out.Body)
}

// exposed returns the value of one of the server's own metrics, summed over what
// has all of the labels.
func (s *server) exposed(name string, labels ...string) (sum float64) {
	s.t.Helper()
lines:
	for line := range strings.Lines(s.scrape()) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(line, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		sum += v
	}
	return sum
}

// scrape returns the server's own metrics.
func (s *server) scrape() string {
	s.t.Helper()
	k, err := s.awsConfig().Credentials.Retrieve(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth(k.AccessKeyID, k.SecretAccessKey)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("status %d, %v", res.StatusCode, err)
	}
	return string(b)
}

// sumOf is the sum of a metric of a variant.
func (c *sdk) sumOf(metric, endpoint, variant string) (sum float64) {
	c.t.Helper()
	now := time.Now()
	out, err := c.cloudwatch().GetMetricStatistics(c.t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/SageMaker"), MetricName: &metric, Dimensions: []cwtypes.Dimension{
			{Name: aws.String("EndpointName"), Value: &endpoint}, {Name: aws.String("VariantName"), Value: &variant},
		},
		StartTime: aws.Time(now.Add(-time.Hour)), EndTime: aws.Time(now.Add(time.Minute)), Period: aws.Int32(60),
		Statistics: []cwtypes.Statistic{cwtypes.StatisticSum},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range out.Datapoints {
		sum += aws.ToFloat64(p.Sum)
	}
	return sum
}

// A real model answers; one that fails every request shadows it.
func TestAShadowAnswersBesideItsVariantAndOnlyForItself(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployONNX("good", models.Archive("v1"))
	c.deployable("bad", 1, broken(100))
	_, err := c.sagemaker.CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName:       aws.String("shadowed"),
		ProductionVariants:       []types.ProductionVariant{variant("main", "good", 1)},
		ShadowProductionVariants: []types.ProductionVariant{variant("next", "bad", 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.createEndpoint("digits", "shadowed")
	const requests = 60
	for i := range requests {
		c.reads("digits", i)
	}
	_, err = c.once.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String("digits"), ContentType: aws.String("text/csv"), Body: digitRow(0),
		TargetVariant: aws.String("next"),
	})
	if err == nil || !strings.Contains(err.Error(), "Variant next not found for endpoint digits.") {
		t.Errorf("a shadow is invoked by its name: %v", err)
	}
	var sent float64
	eventually(t, 30*time.Second, "every copy is answered or left out", func() bool {
		sent = s.exposed("slipway_shadow_copies_total")
		return sent+s.exposed("slipway_shadow_dropped_total") == requests && s.exposed("slipway_copies_in_flight") == 0
	})
	if sent == 0 {
		t.Error("no copy was sent")
	}
	eventually(t, 30*time.Second, "the metrics of both variants", func() bool {
		return c.sumOf("Invocations", "digits", "main") == requests &&
			c.sumOf("Invocations", "digits", "next") == sent && c.sumOf("Invocation5XXErrors", "digits", "next") == sent
	})
	if n := c.sumOf("InvocationModelErrors", "digits", "main"); n != 0 {
		t.Errorf("%v errors of the shadow count for the variant that answers", n)
	}

	// An update to a configuration without it ends it, and nobody notices.
	if _, err := c.sagemaker.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("digits"), EndpointConfigName: aws.String("good"),
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the shadow is gone", func() bool {
		c.reads("digits", 1)
		d := c.describe("digits")
		return d.EndpointStatus == types.EndpointStatusInService && len(d.ShadowProductionVariants) == 0 &&
			len(s.instances()) == 1
	})
	s.stop()
}

// A canary whose new model differs from the old one in one class: the pairs say
// so, and none of it is counted as a request.
func TestTheNewFleetsAnswersAreComparedBesideTheRequests(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployONNX("v1", models.Archive("v1"))
	c.deployONNX("v2", models.Archive("v2"))
	_, err := c.sagemaker.CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: aws.String("mirrored"),
		ProductionVariants: []types.ProductionVariant{variant("main", "v2", 1)},
		Tags: []types.Tag{{
			Key: aws.String("slipway:gate:disagreement"),
			Value: aws.String(
				"mirror=1 sideeffects=none output=json:predictions.label first=10s tolerance=0.1 action=report",
			),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.createEndpoint("digits", "v1")
	_, err = c.sagemaker.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("digits"), EndpointConfigName: aws.String("mirrored"),
		DeploymentConfig: &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
			TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
				Type: types.TrafficRoutingConfigTypeAllAtOnce, WaitIntervalInSeconds: aws.Int32(0),
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	eventually(t, time.Minute, "pairs", func() bool {
		for range 20 {
			c.reads("digits", sent)
			sent++
		}
		return s.exposed("slipway_mirror_pairs_total", `result="compared"`) >= 30
	})
	distance := s.exposed("slipway_mirror_distance_sum") / s.exposed("slipway_mirror_distance_count")
	if distance <= 0 || distance > 0.5 {
		t.Errorf("v2 disagrees with v1 on %.3f of the digits", distance)
	}
	if n := s.exposed("slipway_endpoint_invocations_total", `endpoint="digits"`); n != float64(sent) {
		t.Errorf("%v requests are counted, %d were sent", n, sent)
	}
	c.awaitInService("digits")
	s.stop()
}

// What was not sent of a shadow stays absent, so that a plan after the apply is
// empty.
func TestTerraformPlansAShadowClean(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.sdk().deployable("m", 1, nil)
	tf := newTerraform(s, `
resource "aws_sagemaker_endpoint_configuration" "c" {
  name = "c"
  production_variants {
    variant_name           = "main"
    model_name             = "m"
    initial_instance_count = 1
    instance_type          = "ml.m5.large"
  }
  shadow_production_variants {
    variant_name           = "next"
    model_name             = "m"
    initial_instance_count = 1
    instance_type          = "ml.m5.large"
    initial_variant_weight = 0.5
  }
}
`)
	tf.settles()
	tf.run(0, "destroy", "-auto-approve")
}
