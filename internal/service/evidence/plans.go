package evidence

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// Plans knows what makes a planned deployment doubtful that the plan alone does
// not show.
type Plans struct {
	Alarms  *alarms.Service
	Metrics *metrics.Service
}

// lately is how far back traffic is looked at.
const lately = 5 * time.Minute

// Suspicions says how the alarms stand that shall guard e's deployment, and
// whether there is traffic to judge it by.
func (p *Plans) Suspicions(_ context.Context, e *hosting.Endpoint) (out []record.Finding, err error) {
	plan := e.Deployment.Plan
	g := alarm.Guarded{Endpoint: e.Name, From: e.Deployment.From, To: e.Deployment.To()}
	g.Step, g.Bake = record.ShortestBake(plan)
	for _, v := range plan.Variants {
		if v.New > 0 {
			g.Variants = append(g.Variants, v.Name)
		}
	}
	for _, s := range p.Alarms.Suspicions(e.Scope, plan.Policy.Alarms, g) {
		out = append(out, record.Finding{Severity: record.Warning, Code: string(s.Kind), Message: s.Text})
	}
	var answered float64
	for _, v := range plan.Variants {
		n, err := p.invocations(e, v.Name)
		if err != nil {
			return nil, err
		}
		answered += n
	}
	return append(out, record.Starved(plan, int64(answered), lately)...), nil
}

// invocations counts the requests that a variant has answered lately.
func (p *Plans) invocations(e *hosting.Endpoint, variant string) (n float64, err error) {
	end := time.Now().Truncate(time.Second).Add(time.Second)
	points, err := p.Metrics.Statistics(e.Scope, metrics.StatisticsQuery{
		Metric: metric.ID{Namespace: metrics.Namespace, Name: "Invocations", Dimensions: []metric.Dimension{
			{Name: "EndpointName", Value: e.Name}, {Name: "VariantName", Value: variant},
		}},
		Start: end.Add(-lately), End: end, Period: time.Minute, Stats: []metric.Stat{metric.Sum},
	})
	for _, at := range points {
		if sum := at.Values[0]; sum != nil {
			n += *sum
		}
	}
	return n, err
}
