package hosting

import (
	"fmt"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// holdShare has the old fleet of a deployment keep its share though none of its
// instances passes its health checks, as long as some run: most likely it is the
// checks that fail, and a canary of a few instances would not survive the rest of the
// requests. Of a new fleet that fails, the old one takes the share, as it was before.
func (e *Endpoint) holdShare(fleets []traffic.Fleet) {
	if e.Deployment == nil || len(fleets) < 2 {
		return
	}
	for i := range fleets {
		f := &fleets[i]
		if f.ID == string(e.Fleet.ID) && len(f.Instances) == 0 {
			f.Instances, f.Unhealthy = f.Unhealthy, nil
		}
	}
}

// OldServes says how well the fleet that a deployment leads away from serves: 2 as it
// should, or nothing is under way; 1 with fewer instances; 0 with none that is ready.
// The variant that does worst counts.
func (e *Endpoint) OldServes(instances []Instance) int {
	serves := 2
	if e.Deployment == nil || e.Deployment.Green == nil || e.Fleet == nil {
		return serves
	}
	for _, v := range e.Fleet.Variants {
		switch ready := len(serving(instances, e.Fleet.ID, v)); {
		case v.Active == 0:
		case ready == 0:
			serves = 0
		case ready < v.Active:
			serves = min(serves, 1)
		}
	}
	return serves
}

// OldTrouble says how the fleet that a deployment leads away from does while it
// serves; "" if it does as it should, or nothing is under way.
func (e *Endpoint) OldTrouble(instances []Instance) string {
	if e.Deployment == nil || e.Deployment.Green == nil || e.Fleet == nil {
		return ""
	}
	var all []string
	for _, v := range e.Fleet.Variants {
		ready := len(serving(instances, e.Fleet.ID, v))
		if v.Active == 0 || ready >= v.Active {
			continue
		}
		text := fmt.Sprintf("%d of %d instances of variant %s that serve the configuration before are ready.",
			ready, v.Active, v.Name)
		if n := len(failing(instances, e.Fleet.ID, v, v.Active)); ready == 0 && n > 0 {
			text += fmt.Sprintf(" None passes its health checks: their requests go to all that run, %d.", n)
		}
		for _, i := range instances {
			if i.Fleet == e.Fleet.ID && i.Variant == v.Name && i.Wanted && i.Status != InstanceReady && i.Detail != "" {
				text += " " + i.Detail
				break
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}
