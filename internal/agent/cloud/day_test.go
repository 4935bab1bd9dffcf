package cloud_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/cloud"
	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// A device's day: a heartbeat every five minutes, and what it takes to be
// allowed to send it. What is counted is what TLS sends and receives; packets
// have headers besides.
func TestAnIdleDayIsCheap(t *testing.T) {
	s := cloudtest.New(t)
	var passed atomic.Int64
	s.Clock(func() time.Time { return time.Now().Add(time.Duration(passed.Load())) })
	day := func(name string, change func(*cloud.Config), between func(*cloud.Client)) int64 {
		passed.Store(0)
		c := dial(t, s, change)
		start := s.Sent.Load() + s.Received.Load()
		const beats, pause = 24 * 60 / 5, 5 * time.Minute
		for range beats {
			if _, err := c.Heartbeat(t.Context(),
				edge.Heartbeat{AgentVersion: "slipway-agent 1.0", HasModels: true}); err != nil {
				t.Fatal(err)
			}
			c.Age(pause)
			c.Advance(pause) // every signature is another one
			passed.Add(int64(pause))
			between(c)
		}
		total := s.Sent.Load() + s.Received.Load() - start
		t.Logf("%s: %d bytes a day, %d a heartbeat", name, total, total/beats)
		return total
	}
	kept := func(*cloud.Client) {}
	closed := func(c *cloud.Client) { c.Close() }
	http1 := func(c *cloud.Config) { c.HTTP1 = true }
	http2 := func(*cloud.Config) {}
	chosen := day("HTTP/2, kept open", http2, kept)
	for _, other := range []int64{
		day("HTTP/1.1, kept open", http1, kept),
		day("HTTP/2, resumed for every heartbeat", http2, closed),
		day("HTTP/1.1, resumed for every heartbeat", http1, closed),
	} {
		if other <= chosen {
			t.Error("another way is cheaper than the one that was chosen")
		}
	}
	if chosen > 150_000 {
		t.Errorf("an idle day takes %d bytes", chosen)
	}
	s.Life(12 * time.Hour)
	if long := day("HTTP/2, kept open, credentials for 12 hours", http2, kept); long >= chosen {
		t.Error("credentials that live longer save nothing")
	}
}
