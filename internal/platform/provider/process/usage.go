package process

import (
	"context"
	"errors"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// Usage implements provider.Meter: the sum over all processes in the session
// that an instance leads. What an ended process took is counted by its parent.
// Memory is resident memory as a share of the host's, shared pages counted for
// each process.
func (p *Provider) Usage(context.Context) (map[provider.ID]provider.Usage, error) {
	bySession := map[int]provider.ID{}
	p.mu.Lock()
	for id, e := range p.entries {
		if e.run != nil && !e.run.exited && e.run.rec.PID > 1 {
			bySession[e.run.rec.PID] = id
		}
	}
	p.mu.Unlock()
	used := map[provider.ID]provider.Usage{}
	if len(bySession) == 0 {
		return used, nil
	}
	total, _, ok := child.MachineMemory()
	if !ok {
		return nil, errors.New("the kernel does not say how much memory the host has")
	}
	all, err := child.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range all {
		s, err := child.ReadStat(pid)
		if err != nil {
			continue // it has just ended
		}
		if id, ours := bySession[s.Session]; ours {
			u := used[id]
			u.CPU += s.CPU + s.EndedCPU
			u.Memory += float64(s.Resident) / float64(total)
			used[id] = u
		}
	}
	return used, nil
}
