package edge_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// baking takes the turns of a stage whenever it asks for one, until it starts
// the next stage or asks for none.
func baking(p edge.Policy, s edge.Stage, now time.Time, f edge.Facts) (edge.Stage, edge.Action, time.Time) {
	for {
		f.Now = now
		next, a := edge.NextStage(p, s, f)
		if s = next; a.StartNext || a.Wake.IsZero() {
			return s, a, now
		}
		now = a.Wake
	}
}

// passed is a stage that has just passed.
func passed(p edge.Policy) edge.Stage {
	s := edge.Stage{Status: edge.StageInProgress, Ordered: t0, Counts: edge.Counts{Deployed: 2}}
	s, _ = edge.NextStage(p, s, edge.Facts{Now: t0, Listening: t0.Add(-time.Hour)})
	return s
}

func TestABakeStartsOverAfterAGap(t *testing.T) {
	p := edge.Policy{AutoNext: true, Bake: 10 * time.Minute}
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	for name, c := range map[string]struct {
		back      time.Duration // when somebody looks again
		listening time.Duration // since when it hears
		over      time.Duration // when the bake is over
	}{
		"nobody looked for an hour":              {time.Hour, -time.Hour, time.Hour + 10*time.Minute},
		"the server restarted at once":           {10 * time.Second, 9 * time.Second, 10*time.Minute + 10*time.Second},
		"check-ins were lost":                    {time.Minute, 50 * time.Second, 11 * time.Minute},
		"it was away for longer than the bake":   {20 * time.Minute, 19 * time.Minute, 30 * time.Minute},
		"the clock jumped back":                  {-3 * time.Hour, -9 * time.Hour, -3*time.Hour + 10*time.Minute},
		"somebody looked a bit later than asked": {100 * time.Second, -time.Hour, 10 * time.Minute},
	} {
		s := passed(p)
		n, a := edge.NextStage(p, s, edge.Facts{Now: at(c.back), Listening: at(c.listening)})
		if a.StartNext {
			t.Errorf("%s: the next stage was started with a bake that nobody watched", name)
			continue
		}
		if told := s.Missed(n); (told == "") != (c.over == 10*time.Minute) {
			t.Errorf("%s: told %q", name, told)
		}
		if _, a, over := baking(p, n, a.Wake, edge.Facts{Listening: at(c.listening)}); !a.StartNext ||
			!over.Equal(at(c.over)) {
			t.Errorf("%s: over after %s, want %s", name, over.Sub(t0), c.over)
		}
	}
}

// A server that restarts in the middle of every bake ends it all the same, after
// having watched for as long as it lasts.
func TestABakeEndsThoughTheServerRestartsAgainAndAgain(t *testing.T) {
	p := edge.Policy{AutoNext: true, Bake: time.Hour}
	s, now, up := passed(p), t0, t0.Add(-time.Hour)
	watched := time.Duration(0)
	for restarts := 0; ; restarts++ {
		if restarts == 30 {
			t.Fatalf("it never ends: %+v", s)
		}
		for end := now.Add(15 * time.Minute); now.Before(end); now = now.Add(time.Minute) {
			var a edge.Action
			if s, a = edge.NextStage(p, s, edge.Facts{Now: now, Listening: up}); a.StartNext {
				if watched < p.Bake || restarts > 12 {
					t.Errorf("over after %s and %d restarts", watched, restarts)
				}
				return
			}
			watched += time.Minute
		}
		now = now.Add(8 * time.Hour)
		up = now
	}
}

func TestTimeThatNobodyWatchedIsNoneThatDevicesWereSilent(t *testing.T) {
	waiting := edge.Stage{
		Status: edge.StageInProgress, Ordered: t0, Counts: edge.Counts{InProgress: 1},
		Watch: edge.Watch{Last: t0},
	}
	stopping := edge.Stage{
		Status: edge.StageStopping, Ordered: t0, StopAsked: t0, Counts: edge.Counts{Stopping: 1},
		Watch: edge.Watch{Last: t0},
	}
	limit := 3 * time.Hour
	for name, c := range map[string]struct {
		p edge.Policy
		s edge.Stage
	}{
		"a device that times out": {edge.Policy{DeviceTimeout: limit}, waiting},
		"a stop that is waited":   {edge.Policy{}, stopping},
	} {
		s, f := c.s, edge.Facts{StopGrace: limit, Oldest: t0, Listening: t0}
		for hour := range 20 { // up for an hour, down for five
			for minute := range 60 {
				f.Now = t0.Add(time.Duration(6*hour)*time.Hour + time.Duration(minute)*time.Minute)
				if s, _ = edge.NextStage(c.p, s, f); s.Sweep.Kind != edge.NoSweep {
					if hour != 3 {
						t.Errorf("%s: over after having watched for %d hours", name, hour)
					}
					break
				}
			}
			if s.Sweep.Kind != edge.NoSweep {
				break
			}
			f.Listening = t0.Add(time.Duration(6*hour+6) * time.Hour)
		}
		if s.Sweep.Kind == edge.NoSweep {
			t.Errorf("%s: never over", name)
		}
	}
}

// A stage passed long ago, and only now is the next to follow it.
func TestABakeBeginsWhenThePolicyAsksForIt(t *testing.T) {
	p := edge.Policy{AutoNext: true, Bake: time.Hour}
	s, later := passed(edge.Policy{}), t0.Add(48*time.Hour)
	if _, a, now := baking(p, s, later, edge.Facts{}); !a.StartNext || !now.Equal(later.Add(time.Hour)) {
		t.Errorf("over %s after the policy was set", now.Sub(later))
	}
}
