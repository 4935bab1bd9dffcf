package demo

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// glance is the traffic at one moment, for the live view.
type glance struct {
	sent, ok, failed int
	v1, v2           int // answers since the last glance
	p50, p99         time.Duration
	trend            []time.Duration // p99 of each glance so far, oldest first
}

// trendLength bounds the trend to what a terminal shows.
const trendLength = 48

func (t *traffic) glance() glance {
	s := t.sum()
	t.mu.Lock()
	defer t.mu.Unlock()
	g := glance{sent: s.sent, ok: s.ok, failed: s.failed}
	g.v1, g.v2 = t.shares()
	slices.Sort(t.recent)
	if n := len(t.recent); n > 0 {
		g.p50, g.p99 = t.recent[n/2], t.recent[n*99/100]
		t.drawn = append(t.drawn, g.p99)
		t.drawn = t.drawn[max(0, len(t.drawn)-trendLength):]
	}
	t.recent = t.recent[:0]
	g.trend = slices.Clone(t.drawn)
	return g
}

// shares returns the answers of each version since the last call.
func (t *traffic) shares() (v1, v2 int) {
	total := func(version string) int {
		if s := t.models[version]; s != nil {
			return s.total
		}
		return 0
	}
	now := [2]int{total("v1"), total("v2")}
	v1, v2 = now[0]-t.seen[0], now[1]-t.seen[1]
	t.seen = now
	return v1, v2
}

// rows is the account as a table: a heading, then a row per phase.
func (t *traffic) rows() [][]string {
	rows := [][]string{{"", "requests", "failed", "v1 / v2", "p50", "p99", "max"}}
	for i, name := range []string{"before the update", "during the update", "after the update"} {
		p := &t.phases[i]
		rows = append(rows, []string{
			name, strconv.Itoa(p.ok + p.failed), strconv.Itoa(p.failed),
			fmt.Sprintf("%d / %d", p.by["v1"], p.by["v2"]),
			milliseconds(p.latency.Quantile(0.5)), milliseconds(p.latency.Quantile(0.99)), milliseconds(p.latency.Max()),
		})
	}
	return rows
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
