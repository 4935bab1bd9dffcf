package alarms

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// AlarmFilter is what DescribeAlarms asks for (spec §7.3). Zero members do not
// filter, except that nothing is returned of a type that is not asked for.
type AlarmFilter struct {
	Names        []string // exclusive with Prefix; unknown names are silently absent
	Prefix       string
	Metric       bool // metric alarms are wanted; the API's default is these alone
	Composite    bool // composite alarms are wanted
	State        alarm.StateValue
	ActionPrefix string
	ChildrenOf   string // the alarms that a composite alarm mentions
	ParentsOf    string // the composite alarms that mention an alarm
	Limit        int    // page size; 0 is 50
	After        string // the last name of the page before
}

// Alarms returns a page of alarms by name, whatever their type, and whether more
// follow; After the last one's name. They are not to be changed.
func (s *Service) Alarms(sc arn.Scope, f AlarmFilter) (page []alarm.Record, more bool) {
	f.Limit = cmp.Or(f.Limit, 50)
	var among []string
	related := f.ChildrenOf != "" || f.ParentsOf != ""
	switch {
	case f.ChildrenOf != "":
		if e := s.index.find(sc.Region, nameOf(f.ChildrenOf)); e != nil {
			among = children(e)
		}
	case f.ParentsOf != "":
		among = s.index.parents(sc.Region, nameOf(f.ParentsOf))
	}
	es := s.index.some(sc.Region, func(e *entry) bool {
		d := &e.Definition
		return d.Name > f.After &&
			(d.Composite() && f.Composite || !d.Composite() && f.Metric) &&
			(!related || slices.Contains(among, d.Name)) &&
			(len(f.Names) == 0 || slices.Contains(f.Names, d.Name)) &&
			strings.HasPrefix(d.Name, f.Prefix) &&
			(f.State == "" || e.State.Value == f.State) &&
			(f.ActionPrefix == "" || acts(d, f.ActionPrefix))
	})
	if len(es) > f.Limit {
		es, more = es[:f.Limit], true
	}
	for _, e := range es {
		page = append(page, e.Record)
	}
	return page, more
}

func acts(d *alarm.Definition, prefix string) bool {
	for _, actions := range [][]string{d.AlarmActions, d.OKActions, d.InsufficientDataActions} {
		if slices.ContainsFunc(actions, func(a string) bool { return strings.HasPrefix(a, prefix) }) {
			return true
		}
	}
	return false
}

// MetricFilter is what DescribeAlarmsForMetric asks for. Empty members do not
// filter, but the dimensions are exact.
type MetricFilter struct {
	Metric            metric.ID
	Statistic         string
	ExtendedStatistic string
	Period            int
	Unit              metric.Unit
}

// AlarmsForMetric returns the alarms that watch a metric by themselves or as a
// part of metric math, by name.
func (s *Service) AlarmsForMetric(sc arn.Scope, f MetricFilter) []alarm.Record {
	k := f.Metric.Key()
	var out []alarm.Record
	for _, e := range s.index.some(sc.Region, func(e *entry) bool {
		d := &e.Definition
		return slices.Contains(e.judge.Metrics(), k) &&
			(f.Statistic == "" || d.Statistic == f.Statistic) &&
			(f.ExtendedStatistic == "" || d.ExtendedStatistic == f.ExtendedStatistic) &&
			(f.Period == 0 || d.Period == f.Period) &&
			(f.Unit == "" || d.Unit == f.Unit)
	}) {
		out = append(out, e.Record)
	}
	return out
}

// Missing returns those of the named alarms that do not exist.
func (s *Service) Missing(sc arn.Scope, names []string) []string {
	var missing []string
	for _, n := range names {
		if s.index.find(sc.Region, n) == nil && !slices.Contains(missing, n) {
			missing = append(missing, n)
		}
	}
	return missing
}
