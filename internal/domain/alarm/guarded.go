package alarm

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// Guarded is what an alarm is to guard: the deployment that somebody plans.
type Guarded struct {
	Endpoint string   // "": not known, so nothing is said of what the alarm sees
	Variants []string // of the new configuration
	From, To string   // the configurations before and after
	Step     int      // the one baked the shortest, from 1
	// Bake is how long that step is watched, at the least. 0: no step is baked,
	// which the plan itself shows.
	Bake time.Duration
}

// blind says why no sample of the new instances reaches the alarm, "" if one
// can. It is enough that one of several metrics sees them: the others may be
// there to compare with.
func (j *Judge) blind(g Guarded) (why string) {
	if g.Endpoint == "" {
		return ""
	}
	for _, a := range j.stats {
		hidden := g.hidden(a.metric)
		if hidden == "" {
			return ""
		}
		if why == "" {
			why = hidden
		}
	}
	return why
}

// hidden says why the new instances put no sample into a metric, going by its
// dimensions (spec §7.2). Of metrics that clients put themselves, nothing is
// known.
func (g Guarded) hidden(id metric.ID) string {
	if id.Namespace != endpointMetrics && id.Namespace != instanceMetrics && id.Namespace != Evidence {
		return ""
	}
	config := ""
	for _, d := range id.Dimensions {
		switch d.Name {
		case "EndpointName":
			if d.Value != g.Endpoint {
				return fmt.Sprintf("cannot see this deployment: it watches endpoint %q, not %q.", d.Value, g.Endpoint)
			}
		case "VariantName":
			if !slices.Contains(g.Variants, d.Value) {
				return fmt.Sprintf("cannot see the new instances: it watches production variant %q, which %q "+
					"does not have.", d.Value, g.To)
			}
		case "EndpointConfigName":
			config = d.Value
		}
	}
	switch config {
	case "", g.To:
		return ""
	case g.From:
		return fmt.Sprintf("cannot see the new instances: it watches those of %q, the configuration before, not "+
			"those of %q.", g.From, g.To)
	}
	return fmt.Sprintf("cannot see this deployment: it watches configuration %q, not %q.", config, g.To)
}
