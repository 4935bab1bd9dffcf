package watch

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// InstanceNamespace is where the metrics of instances are (spec §7.2).
const InstanceNamespace = "/aws/sagemaker/Endpoints"

// Instance is what an instance that takes traffic takes of its host.
type Instance struct {
	Endpoint traffic.Key
	Variant  string
	ID       string
	CPU      time.Duration // since it started
	Memory   float64       // share of what it may use, 0 to 1
}

// seen is what an instance had taken when it was last looked at.
type seen struct {
	cpu time.Duration
	at  time.Time
}

// sampleInstances puts a sample for each instance: CPUUtilization is 100 for
// each core, over the time since the last look, and so needs two of them.
func (s *Service) sampleInstances(ctx context.Context, now time.Time) {
	if s.Instances == nil {
		return
	}
	all, err := s.Instances(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.WarnContext(ctx, "instances were not sampled", "err", err)
		}
		return
	}
	before := s.instances
	s.instances = make(map[string]seen, len(all))
	for _, i := range all {
		s.instances[i.ID] = seen{i.CPU, now}
		s.sampleInstance(i, "MemoryUtilization", now, 100*i.Memory)
		if b, ok := before[i.ID]; ok && i.CPU >= b.cpu && now.After(b.at) {
			s.sampleInstance(i, "CPUUtilization", now, 100*float64(i.CPU-b.cpu)/float64(now.Sub(b.at)))
		}
	}
}

func (s *Service) sampleInstance(i Instance, name string, now time.Time, percent float64) {
	l, err := s.shelf.line(i.Endpoint.Region, metric.ID{Namespace: InstanceNamespace, Name: name, Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: i.Endpoint.Name}, {Name: "VariantName", Value: i.Variant},
	}}, s.MaxSeries)
	if err != nil {
		s.unrecorded.Add(1)
		return
	}
	l.add(&s.shelf, "Percent", now, func(series *metric.Series) { series.Add(now, percent) })
	if len(s.book.watchersOf(l.key)) > 0 {
		s.rings.metric(l.key)
	}
}
