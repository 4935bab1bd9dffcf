package evidence

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
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
	rate, failing := map[string]float64{}, map[string]float64{}
	for _, v := range plan.Variants {
		n, err := p.sum(e, v.Name, "Invocations")
		if err != nil {
			return nil, err
		}
		bad, err := p.sum(e, v.Name, "InvocationModelErrors")
		if err != nil {
			return nil, err
		}
		answered += n
		rate[v.Name] = n / lately.Seconds()
		if n > 0 {
			failing[v.Name] = min(1, bad/n)
		}
	}
	out = append(out, record.Starved(plan, int64(answered), lately)...)
	return append(out, record.Blind(e, rate, failing)...), nil
}

// Chances returns how likely each of the named alarms rolls back a deployment
// whose new instances are no worse than allowed, of those on evidence.
func (p *Plans) Chances(sc arn.Scope, names []string) []float64 { return p.Alarms.Chances(sc, names) }

// sum adds up a metric of a variant over the last minutes.
func (p *Plans) sum(e *hosting.Endpoint, variant, name string) (n float64, err error) {
	end := time.Now().Truncate(time.Second).Add(time.Second)
	points, err := p.Metrics.Statistics(e.Scope, metrics.StatisticsQuery{
		Metric: metric.ID{Namespace: metrics.Namespace, Name: name, Dimensions: []metric.Dimension{
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
