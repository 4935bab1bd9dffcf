package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
)

// invoke asks the model of endpoint "live" for an answer with this status.
func (c *sdk) invoke(status int) {
	c.t.Helper()
	_, err := c.once.InvokeEndpoint(c.t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String("live"), CustomAttributes: aws.String(fmt.Sprintf("status=%d", status)),
		Body: []byte("x"),
	})
	if (err == nil) != (status == 200) {
		c.t.Fatalf("asked for the status %d, the answer is %v", status, err)
	}
}

func TestInvocationsAppearAsMetricsUnderBothDimensionSets(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 2, nil)
	c.createEndpoint("live", "m")
	for status, times := range map[int]int{200: 12, 500: 5, 404: 3} {
		for range times {
			c.invoke(status)
		}
	}
	for _, config := range []string{"", "m"} {
		c.wantSum("Invocations", "live", config, 20)
		c.wantSum("InvocationsPerInstance", "live", config, 10)
		c.wantSum("Invocation5XXErrors", "live", config, 5)
		c.wantSum("Invocation4XXErrors", "live", config, 3)
		c.wantSum("InvocationModelErrors", "live", config, 8)
		c.wantLatencies(config, 20)
	}
	c.wantSum("Invocations", "live", "another", 0)
	c.wantListed()

	// Samples outlive a server that is stopped, and alarms one that is killed.
	cw := c.cloudwatch()
	c.guard("live", "m")
	alarm := c.alarm("m-5xx")
	if _, err := cw.TagResource(
		t.Context(),
		&cloudwatch.TagResourceInput{
			ResourceARN: alarm.AlarmArn, Tags: []cwtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		},
	); err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.restart()
	if again := c.alarm("m-5xx"); again.AlarmConfigurationUpdatedTimestamp == nil ||
		!again.AlarmConfigurationUpdatedTimestamp.Equal(*alarm.AlarmConfigurationUpdatedTimestamp) {
		t.Errorf("after kill -9 the alarm is %+v", again)
	}
	if tags := c.tagsOf(alarm.AlarmArn); !slices.Equal(tags, []string{"k=v"}) {
		t.Errorf("after kill -9 the tags are %v", tags)
	}
	c.invoke(200)
	c.wantAnySum("Invocations", "m")
	s.stop()
	s.restart()
	c.wantAnySum("Invocations", "m")
	s.stop()
}

// wantLatencies checks that both latencies have so many samples, and
// percentiles that are plausible.
func (c *sdk) wantLatencies(config string, n float64) {
	c.t.Helper()
	now := time.Now()
	for _, name := range []string{"ModelLatency", "OverheadLatency"} {
		query := func(id, stat string) cwtypes.MetricDataQuery {
			return cwtypes.MetricDataQuery{Id: &id, MetricStat: &cwtypes.MetricStat{
				Period: aws.Int32(3600), Stat: &stat, Unit: cwtypes.StandardUnitMicroseconds,
				Metric: &cwtypes.Metric{
					Namespace: aws.String("AWS/SageMaker"), MetricName: &name, Dimensions: dimensions("live", config),
				},
			}}
		}
		out, err := c.cloudwatch().GetMetricData(c.t.Context(), &cloudwatch.GetMetricDataInput{
			StartTime: aws.Time(now.Add(-time.Hour)), EndTime: aws.Time(now.Add(time.Minute)),
			MetricDataQueries: []cwtypes.MetricDataQuery{query("n", "SampleCount"), query("p99", "p99")},
		})
		if err != nil {
			c.t.Fatal(err)
		}
		samples, worst := 0.0, 0.0
		for _, v := range out.MetricDataResults[0].Values {
			samples += v
		}
		for _, v := range out.MetricDataResults[1].Values {
			worst = max(worst, v)
		}
		if samples != n || worst <= 0 || worst > 60e6 {
			c.t.Errorf("%s of %q has %v samples and a p99 of %v µs", name, config, samples, worst)
		}
	}
}

// wantListed checks that each metric is listed with either set of dimensions
// and with no other.
func (c *sdk) wantListed() {
	c.t.Helper()
	found := map[string][]int{}
	pages := cloudwatch.NewListMetricsPaginator(
		c.cloudwatch(), &cloudwatch.ListMetricsInput{Namespace: aws.String("AWS/SageMaker")},
	)
	for pages.HasMorePages() {
		page, err := pages.NextPage(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, m := range page.Metrics {
			found[*m.MetricName] = append(found[*m.MetricName], len(m.Dimensions))
			for _, d := range m.Dimensions {
				if want := map[string]string{
					"EndpointName": "live", "VariantName": "main", "EndpointConfigName": "m",
				}[*d.Name]; *d.Value != want {
					c.t.Errorf("%s has the dimension %s=%s", *m.MetricName, *d.Name, *d.Value)
				}
			}
		}
	}
	for _, name := range []string{
		"Invocations", "InvocationsPerInstance", "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors",
		"ModelLatency", "OverheadLatency",
	} {
		slices.Sort(found[name])
		if !slices.Equal(found[name], []int{2, 3}) {
			c.t.Errorf("%s is listed with %v dimensions", name, found[name])
		}
	}
}

// wantAnySum checks that there are samples at all.
func (c *sdk) wantAnySum(metric, config string) {
	c.t.Helper()
	eventually(c.t, 10*time.Second, "the metric has samples", func() bool {
		out, err := c.cloudwatch().GetMetricStatistics(c.t.Context(), &cloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String("AWS/SageMaker"), MetricName: &metric, Dimensions: dimensions("live", config),
			Period:    aws.Int32(60),
			StartTime: aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now().Add(time.Minute)),
			Statistics: []cwtypes.Statistic{cwtypes.StatisticSum},
		})
		return err == nil && len(out.Datapoints) > 0
	})
}

func (c *sdk) alarm(name string) cwtypes.MetricAlarm {
	c.t.Helper()
	out, err := c.cloudwatch().DescribeAlarms(c.t.Context(), &cloudwatch.DescribeAlarmsInput{
		AlarmNames: []string{name}, AlarmTypes: []cwtypes.AlarmType{cwtypes.AlarmTypeMetricAlarm},
	})
	if err != nil || len(out.MetricAlarms) != 1 {
		c.t.Fatalf("%v, %v", out, err)
	}
	return out.MetricAlarms[0]
}

// boto3 puts alarms, watches a bad canary being rolled back, and its own waiter
// calls that a success.
func TestBoto3GuardsADeployment(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.client(python(t), "testdata/py/cloudwatch.py", s.modelData("v1"), s.modelData("v2"))
	eventually(t, 30*time.Second, "no instance is left", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

// boto3 puts an alarm on evidence, and a tag: what fails more than the old fleet at
// the same time is rolled back, and what does not is not, although it follows at
// once.
func TestBoto3RollsBackByEvidence(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.client(python(t), "testdata/py/evidence.py", s.modelData("v1"), s.modelData("v2"))
	eventually(t, 30*time.Second, "no instance is left", func() bool { return len(s.instances()) == 0 })
	s.stop()
}
