package demo

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// glance is the traffic at one moment, for the live view.
type glance struct {
	at       time.Duration // since the traffic began
	sum      sum
	by       shares // requests a second, over the last second or less
	p50, p99 time.Duration
	trend    []time.Duration // p99 of each glance so far, oldest first
	stage    string          // what the deployment is doing, "" for none
}

// trendLength bounds the trend to what a terminal shows.
const trendLength = 48

// seen is who had answered by a moment.
type seen struct {
	at time.Time
	by shares
}

// glance looks at the traffic, and at who answered since so many glances ago.
func (t *traffic) glance(back int) glance {
	now := seen{time.Now(), t.shares()}
	g := glance{at: now.at.Sub(t.began), sum: t.sum()}
	t.mu.Lock()
	defer t.mu.Unlock()
	last := seen{at: t.began}
	if n := len(t.seen); n > 0 {
		last = t.seen[max(0, n-back)]
	}
	g.by = now.by.since(last.by).over(now.at.Sub(last.at))
	t.seen = append(t.seen, now)
	t.seen = t.seen[max(0, len(t.seen)-back):]
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

// rows is the account as a table: a heading, then a row per phase.
func (t *traffic) rows() [][]string {
	rows := [][]string{{"", "requests", "v1 / v2 / v3 / v4", "500s of v3", "lost", "p50", "p99", "max"}}
	for i, name := range []string{
		"v1 in service", "v2 by canary", "v2 in service", "v3 by canary", "v2 in service again",
		"v4 beside v2", "v2 in service still", "v4 by canary", "v2 in the end",
	} {
		p := &t.phases[i]
		rows = append(rows, []string{
			name, strconv.Itoa(p.ok + p.broken + p.lost),
			fmt.Sprintf("%d / %d / %d / %d", p.by["v1"], p.by["v2"], p.by["v3"], p.by["v4"]), strconv.Itoa(p.broken),
			strconv.Itoa(p.lost),
			milliseconds(p.latency.Quantile(0.5)), milliseconds(p.latency.Quantile(0.99)),
			milliseconds(p.latency.Max()),
		})
	}
	return rows
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
