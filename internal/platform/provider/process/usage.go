package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// tick is the unit of processor time in /proc; Linux has the same everywhere.
const tick = 10 * time.Millisecond

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
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err != nil {
		return nil, fmt.Errorf("ask for the host's memory: %w", err)
	}
	memory := float64(host.Totalram) * float64(host.Unit)
	all, err := pids()
	if err != nil {
		return nil, err
	}
	for _, pid := range all {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue // it has just ended
		}
		l, ok := parseLoad(b)
		if id, ours := bySession[l.session]; ok && ours {
			u := used[id]
			u.CPU += l.cpu
			u.Memory += float64(l.pages) * float64(os.Getpagesize()) / memory
			used[id] = u
		}
	}
	return used, nil
}

// load is what /proc/<pid>/stat says about what a process takes.
type load struct {
	session int
	cpu     time.Duration // its own and that of children that ended
	pages   int64         // resident
}

func parseLoad(b []byte) (l load, ok bool) {
	_, rest, found := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(") "))
	f := strings.Fields(string(rest))
	if !found || len(f) < 22 {
		return l, false
	}
	n := func(field int) int64 { // as proc(5) numbers them, from 1
		v, err := strconv.ParseInt(f[field-3], 10, 64)
		ok = ok && err == nil
		return v
	}
	ok = true
	l.session = int(n(6))
	l.cpu = time.Duration(n(14)+n(15)+n(16)+n(17)) * tick
	l.pages = n(24)
	return l, ok
}
