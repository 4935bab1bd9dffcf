package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

var drawn = traffic.Key{Region: "us-east-1", Name: "e"}

// split draws a route whose variant has an old and a new fleet, and now and then
// a remnant, of which some have no instance.
func split(x *rand.Rand, version int64) traffic.Route {
	fleet := func(id string, role traffic.Role, share float64) traffic.Fleet {
		f := traffic.Fleet{ID: id, Config: "c", Role: role, Share: share}
		for i := range x.IntN(3) {
			in := fmt.Sprint(id, i)
			f.Instances = append(f.Instances, traffic.Instance{ID: in, Address: in, Slot: i})
		}
		return f
	}
	share := float64(x.IntN(5)) / 8
	v := traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{
		fleet("old", traffic.OldFleet, (1-share)*.75), fleet("remnant", traffic.NeitherFleet, (1-share)*.25),
		fleet("new", traffic.NewFleet, share),
	}}
	return traffic.Route{
		Scope: arn.Scope{Region: drawn.Region}, Name: drawn.Name, Version: version, Variants: []traffic.Variant{v},
	}
}

// chances counts, by the probability that draws say, how many drew which fleet.
type chances map[float64]*struct{ green, both float64 }

func (cs chances) add(d traffic.Draw) {
	if d.Role == traffic.NeitherFleet {
		return
	}
	c := cs[d.Share]
	if c == nil {
		c = new(struct{ green, both float64 })
		cs[d.Share] = c
	}
	c.both++
	if d.Role == traffic.NewFleet {
		c.green++
	}
}

// check fails unless each share came as often as it says, within five standard
// deviations.
func (cs chances) check(t *testing.T) {
	t.Helper()
	for s, c := range cs {
		if got, off := c.green/c.both, 5*math.Sqrt(s*(1-s)/c.both); math.Abs(got-s) > off {
			t.Errorf("of %.0f draws that say %v the new fleet has %v", c.both, s, got)
		}
	}
}

// The statistics of gates bet on that: whatever the route, and whatever was tried
// before, the new fleet is drawn as often as the draw says.
func TestTheNewFleetIsDrawnAsOftenAsTheDrawSays(t *testing.T) {
	const seed = 1
	x := rand.New(rand.NewPCG(seed, 0))
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cs := chances{}
	for n := range 200 {
		r.Set(split(x, int64(n)))
		for range 1000 {
			c := &Call{Key: drawn, r: r}
			if r.pick(c) != nil {
				continue
			}
			first := c.draw
			if first.Epoch != int64(n) || first.Fleet == "" || first.Instance == "" || first.At.IsZero() {
				t.Fatalf("seed %d: %+v", seed, first)
			}
			c.count(-1)
			r.release(c.in)
			c.tried = append(c.tried, c.in)
			if r.pick(c) == nil { // as after a connection that was refused
				c.count(-1)
				r.release(c.in)
			}
			if c.draw != first {
				t.Fatalf("seed %d: %+v became %+v", seed, first, c.draw)
			}
			cs.add(c.draw)
		}
	}
	if len(cs) < 6 || cs[0] == nil || cs[1] == nil {
		t.Errorf("seed %d: only %d shares were drawn", seed, len(cs))
	}
	cs.check(t)
}

// A change of the route between the draw and the claim must not favour a fleet:
// the draw is repeated also if it is not the fleet that was drawn that left.
func TestAChangeOfTheRouteFavoursNoFleet(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	route := func(version int64, old ...traffic.Instance) traffic.Route {
		green := []traffic.Instance{{ID: "new", Address: "new"}}
		return traffic.Route{
			Scope: arn.Scope{Region: drawn.Region}, Name: drawn.Name, Version: version,
			Variants: []traffic.Variant{{Name: "v", Fleets: []traffic.Fleet{
				{ID: "old", Role: traffic.OldFleet, Share: .75, Instances: old},
				{ID: "new", Role: traffic.NewFleet, Share: .25, Instances: green},
			}}},
		}
	}
	r.Set(route(1, traffic.Instance{ID: "old", Address: "old"}))
	en := (*r.shard(drawn).table.Load())[drawn]
	was := en.route.Load()
	r.Set(route(2))
	for _, f := range was.variants[0].fleets {
		if in := f.instances[0]; r.take(en, was, in) {
			t.Errorf("a draw of the %s fleet stands though the route is another", f.ID)
		} else if n := in.outstanding.Load(); n != 0 {
			t.Errorf("%d requests count as on their way to the %s fleet", n, f.ID)
		}
	}
	c := &Call{Key: drawn, r: r}
	if err := r.pick(c); err != nil || c.draw.Fleet != "new" || c.draw.Share != 1 || c.draw.Epoch != 2 {
		t.Errorf("drawn anew: %+v, %v", c.draw, err)
	}
}

// A request that nobody looks at costs no memory for the sake of those who would.
func TestARequestThatNobodyLooksAtAllocatesNothing(t *testing.T) {
	r, err := New(Config{OnSample: func(traffic.Sample) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Listen("test", nil)
	r.Set(split(rand.New(rand.NewPCG(3, 0)), 1))
	c := &Call{Key: drawn, r: r}
	if n := testing.AllocsPerRun(1000, func() {
		c.draw = traffic.Draw{}
		if err := r.pick(c); err != nil {
			t.Fatal(err)
		}
		c.Finish()
	}); n != 0 || c.draw.Fleet == "" {
		t.Errorf("%v allocations for each, drawn %+v", n, c.draw)
	}
}
