package metrics

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

// usage is what an instance had taken when it was last looked at.
type usage struct {
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
	s.instances = make(map[string]usage, len(all))
	for _, i := range all {
		s.instances[i.ID] = usage{i.CPU, now}
		s.sampleInstance(i, "MemoryUtilization", now, 100*i.Memory)
		if b, ok := before[i.ID]; ok && i.CPU >= b.cpu && now.After(b.at) {
			s.sampleInstance(i, "CPUUtilization", now, 100*float64(i.CPU-b.cpu)/float64(now.Sub(b.at)))
		}
	}
}

func (s *Service) sampleInstance(i Instance, name string, now time.Time, percent float64) {
	id := metric.ID{Namespace: InstanceNamespace, Name: name, Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: i.Endpoint.Name}, {Name: "VariantName", Value: i.Variant},
	}}
	m, err := s.registry.open(i.Endpoint.Region, id)
	if err != nil {
		s.drop(unmeasured{fleetKey: fleetKey{endpoint: i.Endpoint, variant: i.Variant}})
		return
	}
	m.add("Percent", now, func(series *metric.Series) { series.Add(now, percent) })
	s.notify(m.key)
}

// sampleInFlight samples how many requests each fleet has in flight (spec
// §7.1). Those of a variant are the sum over its fleets.
func (s *Service) sampleInFlight(now time.Time) {
	if s.Counts == nil {
		return
	}
	byEndpoint := map[traffic.Key][]*fleet{}
	s.fleets.each(func(f *fleet) {
		byEndpoint[f.endpoint] = append(byEndpoint[f.endpoint], f)
	})
	for k, fs := range byEndpoint {
		counts := s.Counts(k)
		whole := map[string]float64{}
		variants := map[string]*metricSeries{}
		for _, f := range fs {
			n, counted := 0.0, false
			for _, c := range counts { // several fleets may have one configuration
				if c.Variant == f.variant && c.Config == f.config {
					n, counted = n+float64(c.InFlight), true
				}
			}
			if !counted {
				continue
			}
			s.fleets.mu.Lock()
			room := s.open(f, concurrent)
			both := f.series[concurrent]
			s.fleets.mu.Unlock()
			if !room {
				s.drop(unmeasured{fleetKey: f.fleetKey})
				continue
			}
			whole[f.variant] += n
			variants[f.variant] = both[0]
			s.gauge(both[1], now, n)
		}
		for v, n := range whole {
			s.gauge(variants[v], now, n)
		}
	}
}

func (s *Service) gauge(m *metricSeries, now time.Time, n float64) {
	m.add(ofFleets[concurrent].unit, now, func(series *metric.Series) { series.Add(now, n) })
	s.notify(m.key)
}
