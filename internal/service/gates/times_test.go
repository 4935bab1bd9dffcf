package gates_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// route is what the router has: both fleets, as the deployment divides them.
func (y *yard) route(traffic.Key) (traffic.Route, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	v := y.routed
	v.Name = "v"
	fleet := func(id string, share float64) traffic.Fleet {
		f := traffic.Fleet{ID: id, Share: share}
		for slot := range 4 {
			f.Instances = append(f.Instances, traffic.Instance{ID: fmt.Sprint(id, slot), Slot: slot})
		}
		return f
	}
	share := 0.0
	if y.e != nil {
		share = y.e.Deployment.State.Variants[0].NewShare
	}
	v.Fleets = []traffic.Fleet{fleet("f-1", 1-share)}
	if share > 0 {
		v.Fleets = append(v.Fleets, fleet("f-"+string(y.id), share))
	}
	return traffic.Route{Version: y.version, Variants: []traffic.Variant{v}}, true
}

// answered sends 20 requests a second, which end as after says.
func (y *yard) answered(during time.Duration, share float64, after func(s *traffic.Sample)) {
	for range during / (50 * time.Millisecond) {
		s := sample(y.x.Float64() < share, y.x.IntN(4), share)
		if s.Draw.Role == traffic.NewFleet {
			s.Draw.Fleet = "f-" + string(y.id)
		}
		s.ModelLatency = time.Duration(20e6 * math.Exp(0.4*y.x.NormFloat64()))
		after(&s)
		y.s.Sample(s)
		time.Sleep(50 * time.Millisecond)
	}
	synctest.Wait()
}

func isNew(s *traffic.Sample) bool { return s.Draw.Role == traffic.NewFleet }

// judged deploys with a gate that rolls back, and divides traffic.
func (y *yard) judged(k gate.Kind, words string) {
	y.deploy("d-1", map[string]string{string(k): "action=rollback " + words})
	y.bake(0.25)
}

func TestASlowNewFleetIsTakenBackAndOneInSlowTimesIsNot(t *testing.T) {
	slower := func(all, green float64) func(*traffic.Sample) {
		return func(s *traffic.Sample) {
			if isNew(s) {
				s.ModelLatency = time.Duration(float64(s.ModelLatency) * green)
			}
			s.ModelLatency = time.Duration(float64(s.ModelLatency) * all)
		}
	}
	for name, c := range map[string]struct {
		after func(*traffic.Sample)
		want  string // the beginning of why
	}{
		"twice as slow":     {slower(1, 2), `gate "latency" fired: `},
		"a little slower":   {slower(1, 1.05), ""},
		"both become slow":  {slower(5, 1), ""},
		"quicker":           {slower(1, 0.5), ""},
		"one slot of four":  {func(s *traffic.Sample) { slowSlot(s, 2) }, `gate "latency" fired: `},
		"one of the old is": {func(s *traffic.Sample) { slowOld(s) }, ""},
		// The old fleet refuses its hardest requests, which the new one answers, slowly.
		"the old fleet fails the slow ones": {
			func(s *traffic.Sample) {
				if s.ModelLatency > 40*time.Millisecond {
					if s.ModelLatency *= 4; !isNew(s) {
						s.ModelLatency, s.ModelError, s.Status5XX = time.Millisecond, true, true
					}
				}
			}, "",
		},
		// A new fleet that fails at once is not quick.
		"failures are neither": {
			func(s *traffic.Sample) {
				if isNew(s) {
					s.ModelLatency, s.ModelError, s.Status5XX = time.Millisecond, true, true
				}
			}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(y *yard) {
				y.judged(gate.Latency, "")
				y.answered(10*time.Minute, 0.25, c.after)
				why := y.why("d-1")
				if !strings.HasPrefix(why, c.want) || (why == "") != (c.want == "") {
					t.Errorf(seed+"%q", why)
				}
				if x, _ := y.value("LatencyEvidence"); (x > 3) != (c.want != "") {
					t.Errorf(seed+"LatencyEvidence is %v", x)
				}
				if x, _ := y.value("AnyEvidence"); c.want != "" && x < 2 {
					t.Errorf(seed+"AnyEvidence is %v", x)
				}
			})
		})
	}
}

func slowSlot(s *traffic.Sample, slot int) {
	if isNew(s) && s.Draw.Slot == slot {
		s.ModelLatency *= 4
	}
}

func slowOld(s *traffic.Sample) {
	if !isNew(s) && s.Draw.Slot == 2 {
		s.ModelLatency *= 4
	}
}

// What a gate of times says names what was compared, and by how much.
func TestWhatIsSaidOfTimesNamesThem(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.judged(gate.Latency, "factor=1.2")
		y.answered(5*time.Minute, 0.25, func(s *traffic.Sample) {
			if isNew(s) {
				s.ModelLatency *= 3
			}
		})
		why := y.why("d-1")
		for _, part := range []string{
			"of v1's requests take longer than ", "of v2's take longer than ", "(20 % slower was allowed)",
		} {
			if !strings.Contains(why, part) {
				t.Errorf(seed+"%q has no %q", why, part)
			}
		}
		f := y.s.Facts("d-1")
		if f[0].Kind == gate.Errors {
			f = f[1:]
		}
		if s := f[0].Seen; s.Cut < 10*time.Millisecond || s.Cut > 80*time.Millisecond || s.New.Rate() <= s.Old.Rate() ||
			s.Load < 0.3 || s.Load > 0.4 {
			t.Errorf(seed+"%+v", s)
		}
	})
}

// A new fleet that is cold after each shift is no slower for it, if it is not for
// long.
func TestAColdNewFleetIsNotCalledSlow(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.judged(gate.Latency, "")
		for _, share := range []float64{0.25, 0.5} {
			y.bake(share)
			shifted := time.Now()
			y.answered(5*time.Minute, share, func(s *traffic.Sample) {
				if isNew(s) && time.Since(shifted) < 50*time.Second {
					s.ModelLatency *= 5
				}
			})
		}
		if x, _ := y.value("LatencyEvidence"); x > 0.5 || y.why("d-1") != "" {
			t.Errorf(seed+"evidence %v, %s", x, y.why("d-1"))
		}
		y.bake(0.75)
		time.Sleep(2 * time.Second)
		if f := y.s.Facts("d-1"); f[len(f)-1].Held != "the new fleet warms up" {
			t.Errorf(seed+"%+v", f)
		}
	})
}

// Callers that do not wait for a fleet that hangs say so, by leaving.
func TestANewFleetThatHangsIsTakenBackThoughItsCallersLeave(t *testing.T) {
	for _, k := range []gate.Kind{gate.Latency, gate.Abandoned} {
		inBubble(t, func(y *yard) {
			y.judged(k, "")
			y.answered(10*time.Minute, 0.25, func(s *traffic.Sample) {
				if isNew(s) && y.x.IntN(2) == 0 {
					s.ModelLatency, s.Abandoned = 2*time.Second, true
				}
			})
			if why := y.why("d-1"); !strings.HasPrefix(why, fmt.Sprintf("gate %q fired: ", string(k))) {
				t.Errorf(seed+"%s: %q", k, why)
			}
		})
	}
}

// Of streams it is compared when they begin, and never how long they are.
func TestStreamsAreComparedByTheirFirstPart(t *testing.T) {
	stream := func(y *yard, begin, length float64) {
		y.answered(8*time.Minute, 0.25, func(s *traffic.Sample) {
			s.Streaming, s.FirstChunk = true, s.ModelLatency
			s.ModelLatency *= 10
			if isNew(s) {
				s.FirstChunk = time.Duration(float64(s.FirstChunk) * begin)
				s.ModelLatency = time.Duration(float64(s.ModelLatency) * length)
			}
		})
	}
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"latency": "action=rollback", "first-chunk": "action=rollback"})
		y.bake(0.25)
		stream(y, 1, 4)
		if x, n := y.value("FirstChunkEvidence"); x > 1 || n == 0 || y.why("d-1") != "" {
			t.Errorf(seed+"longer streams: evidence %v, %d values, %s", x, n, y.why("d-1"))
		}
		stream(y, 2, 1)
		if why := y.why("d-1"); !strings.HasPrefix(why, `gate "first-chunk" fired: `) {
			t.Errorf(seed+"%q", why)
		}
		if x, _ := y.value("LatencyEvidence"); x != 0 {
			t.Errorf(seed+"streams count as latency: %v", x)
		}
	})
}

// Copies that keep the new fleet's instances busy while they answer requests make
// them slow for no fault of theirs.
func TestTimesAreNotComparedWhileCopiesKeepInstancesBusy(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.routed.Mirror = &traffic.Mirror{Ratio: 0.1, To: traffic.Fleet{Instances: []traffic.Instance{{ID: "f-d-10"}}}}
		y.judged(gate.Latency, "")
		y.answered(5*time.Minute, 0.25, func(s *traffic.Sample) {
			if isNew(s) {
				s.ModelLatency *= 3
			}
		})
		const burden = "copies of requests keep its instances busy"
		f := y.s.Facts("d-1")
		if x, _ := y.value("LatencyEvidence"); x != 0 || f[len(f)-1].Held != burden {
			t.Errorf(seed+"evidence %v, %+v", x, f)
		}
	})
}

// A request is compared by what was known before it came.
func TestARequestIsTimedByTheCutsOfItsDraw(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.judged(gate.Latency, "warmup=0s")
		y.answered(time.Minute, 0.25, func(*traffic.Sample) {})
		counted := func(after func(*traffic.Sample)) (n float64) {
			y.s.Take(place)
			s := sample(true, 0, 0.25)
			s.Draw.Fleet = "f-d-1"
			after(&s)
			y.s.Sample(s)
			for _, c := range y.s.Take(place).Counts[evidence.Latency] {
				n += c.N
			}
			return n
		}
		if n := counted(func(*traffic.Sample) {}); n != 1 {
			t.Errorf("%v of one were counted", n)
		}
		if n := counted(func(s *traffic.Sample) { s.Draw.At = s.Draw.At.Add(-90 * time.Second) }); n != 0 {
			t.Errorf("%v were counted of one from before there were cuts", n)
		}
		if n := counted(func(s *traffic.Sample) { s.Draw.Epoch = 9 }); n != 0 {
			t.Errorf("%v were counted of one by a route that is not known", n)
		}
		s := sample(true, 0, 0.25)
		s.Draw.Fleet = "f-d-1"
		if n := testing.AllocsPerRun(1000, func() { y.s.Sample(s) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
