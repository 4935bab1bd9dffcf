package alarm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// sees changes the metric's namespace and dimensions: pairs of name and value.
func sees(namespace string, pairs ...string) func(*alarm.Definition) {
	return func(d *alarm.Definition) {
		d.Metric.Namespace, d.Metric.Dimensions = namespace, nil
		for i := 0; i < len(pairs); i += 2 {
			d.Metric.Dimensions = append(d.Metric.Dimensions, metric.Dimension{Name: pairs[i], Value: pairs[i+1]})
		}
	}
}

// compared makes it the ratio of the same metric of two configurations.
func compared(a, b string) func(*alarm.Definition) {
	return func(d *alarm.Definition) {
		of := func(config string) *alarm.MetricStat {
			id := errors5xx
			id.Dimensions = append([]metric.Dimension{{Name: "EndpointConfigName", Value: config}}, id.Dimensions...)
			return &alarm.MetricStat{Metric: id, Period: 60, Stat: "Sum"}
		}
		d.Metric, d.Statistic, d.Period = metric.ID{}, "", 0
		d.Metrics = []alarm.Query{
			{ID: "r", Expression: "m1 / m2"},
			{ID: "m1", Stat: of(a), ReturnData: new(false)},
			{ID: "m2", Stat: of(b), ReturnData: new(false)},
		}
	}
}

func TestAnAlarmThatCannotSeeTheDeploymentIsPointedOut(t *testing.T) {
	const mine, machine = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
	for name, c := range map[string]struct {
		change func(*alarm.Definition)
		want   string // "": it sees it
	}{
		"the variant, whatever its configuration": {sees(mine, "EndpointName", "e", "VariantName", "v"), ""},
		"the new configuration": {sees(mine, "EndpointConfigName", "v2", "EndpointName", "e",
			"VariantName", "v"), ""},
		"somebody's own metric": {sees("Shop", "EndpointName", "other"), ""},
		"another endpoint": {
			sees(mine, "EndpointName", "other", "VariantName", "v"),
			`Alarm "a" cannot see this deployment: it watches endpoint "other", not "e".`,
		},
		"another endpoint's machines": {
			sees(machine, "EndpointName", "other", "VariantName", "v"),
			`Alarm "a" cannot see this deployment: it watches endpoint "other", not "e".`,
		},
		"another variant": {
			sees(mine, "EndpointName", "e", "VariantName", "w"),
			`Alarm "a" cannot see the new instances: it watches production variant "w", which "v2" does not have.`,
		},
		"the old configuration": {sees(mine, "EndpointConfigName", "v1", "EndpointName", "e", "VariantName",
			"v"), `Alarm "a" cannot see the new instances: it watches those of "v1", the configuration before, not those of "v2".`},
		"some other configuration": {sees(mine, "EndpointConfigName", "v0", "EndpointName", "e", "VariantName",
			"v"), `Alarm "a" cannot see this deployment: it watches configuration "v0", not "v2".`},
		"the new compared with the old": {compared("v1", "v2"), ""},
		"two old ones compared": {
			compared("v1", "v0"),
			`Alarm "a" cannot see the new instances: it watches those of "v1", the configuration before, not those of "v2".`,
		},
	} {
		found := newJudge(t, threshold(c.change)).Suspicions(alarm.Look{State: ok(), Now: t0, Guarded: alarm.Guarded{
			Endpoint: "e", Variants: []string{"v"}, From: "v1", To: "v2", Step: 1, Bake: time.Hour,
		}})
		var got []string
		for _, f := range found {
			if f.Kind == alarm.CannotSee {
				got = append(got, f.Text)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, s, c.want)
		}
	}
}
