package alarm_test

import (
	"errors"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

func TestWhatCloudWatchDoesNotTakeIsRefusedInNewAlarmsAlone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*alarm.Definition)
		want   string
	}{
		"an action that is no ARN": {
			func(d *alarm.Definition) { d.AlarmActions = []string{"arn:aws:sns:eu-west-1:1:a", "pager"} },
			"Invalid arn syntax: pager",
		},
		"the start of an ARN": {
			func(d *alarm.Definition) { d.OKActions = []string{"arn:"} }, "Invalid arn syntax: arn:",
		},
		"an action of the third kind": {
			func(d *alarm.Definition) { d.InsufficientDataActions = []string{"x"} }, "Invalid arn syntax: x",
		},
		"a dimension in another script": {
			func(d *alarm.Definition) { d.Metric.Dimensions = []metric.Dimension{{Name: "Till", Value: "Köln"}} },
			"The value for parameter Dimensions.member.1.Value contains non-ASCII characters.",
		},
		"a metric's name in another script": {
			func(d *alarm.Definition) { d.Metric.Name = "Größe" },
			"The value for parameter MetricName contains non-ASCII characters.",
		},
		"space after the rule": {
			func(d *alarm.Definition) { *d = alarm.Definition{Name: "c", Rule: "ALARM(a)\n"} },
			"AlarmRule must not contain leading or trailing whitespace or be null",
		},
		"space before the rule": {
			func(d *alarm.Definition) { *d = alarm.Definition{Name: "c", Rule: " ALARM(a)"} },
			"AlarmRule must not contain leading or trailing whitespace or be null",
		},
	} {
		d := threshold()
		if err := d.CheckInput(); err != nil {
			t.Fatal(err)
		}
		c.change(&d)
		err := d.CheckInput()
		if _, got := fault.Public(err); !errors.Is(err, fault.Invalid) || got != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s is stored, and not evaluated: %v", name, err)
		}
	}
}
