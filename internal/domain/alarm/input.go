package alarm

import (
	"slices"
	"strings"
)

// CheckInput refuses what CloudWatch does not take into a new alarm. Slipway
// once took it: alarms that have it still are evaluated.
func (d *Definition) CheckInput() error {
	for _, a := range slices.Concat(d.OKActions, d.AlarmActions, d.InsufficientDataActions) {
		if service, ok := strings.CutPrefix(a, "arn:"); !ok || service == "" {
			return refuse("Invalid arn syntax: %s", clip(a))
		}
	}
	if strings.TrimSpace(d.Rule) != d.Rule {
		return refuse("AlarmRule must not contain leading or trailing whitespace or be null")
	}
	if err := d.Metric.CheckASCII(""); err != nil {
		return err
	}
	for _, q := range d.Metrics {
		if q.Stat == nil {
			continue
		}
		if err := q.Stat.Metric.CheckASCII(""); err != nil {
			return err
		}
	}
	return nil
}
