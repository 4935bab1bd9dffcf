package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/service/mirror"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// onlooker holds the body of every request until it is over, and sees the whole
// answer: what a hook costs that does nothing with what it gets.
type onlooker struct{}

func (onlooker) Observe(q *router.Request) (router.Exchange, int) {
	s := q.Hold()
	if s == nil {
		return nil, 0
	}
	return onlooking{s}, 6 << 20
}

type onlooking struct{ body *connlimit.Shared }

func (o onlooking) End(*router.Answer) { o.body.Release() }

// shadowed has a part of the requests copied to a shadow of some instances at an
// address.
func shadowed(r *router.Router, rt *traffic.Route, ratio float64, addr string) error {
	m, err := mirror.New(mirror.Config{Router: r})
	if err != nil {
		return err
	}
	m.Listen()
	v := &rt.Variants[0]
	f := traffic.Fleet{Config: v.Fleets[0].Config, Share: 1}
	for i := range 16 {
		f.Instances = append(f.Instances, traffic.Instance{ID: fmt.Sprint("s", i), Address: addr})
	}
	v.Shadows = []traffic.Shadow{{Name: "s", Ratio: ratio, Container: "primary", Fleets: []traffic.Fleet{f}}}
	return nil
}

// silence returns an address where connections are taken and nothing is answered.
func silence() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	taken := make(chan net.Conn, 1<<16) // nobody closes them
	go func() {                         // until the process ends
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			taken <- c
		}
	}()
	return l.Addr().String(), nil
}

// observed has the requests of a route looked at, with what of them is told.
func observed(r *router.Router, rt *traffic.Route, how string) error {
	switch how {
	case "shadow":
		return shadowed(r, rt, 0.1, rt.Variants[0].Fleets[0].Instances[0].Address)
	case "hangs":
		addr, err := silence()
		if err != nil {
			return err
		}
		return shadowed(r, rt, 1, addr)
	case "":
	case "split", "evidence":
		divide(rt)
	case "off":
		r.Listen("bench", onlooker{})
	case "all":
		r.Listen("bench", onlooker{})
		rt.Variants[0].Fleets[0].Capture = &traffic.Capture{Percent: 100, Input: true, Output: true}
	default:
		return fmt.Errorf("requests cannot be observed %q", how)
	}
	return nil
}

// benchObserve compares the router without observers, with one that no route
// asks for, with one that looks at every request, with all of them captured, with
// two fleets of a deployment, whose requests are weighed or not, with a shadow that
// gets a tenth of them, and with one that gets all and answers none. The processor's time for a
// request is the figure that other work on the machine disturbs least.
func benchObserve(ctx context.Context, o options) error {
	a, err := newArena(o)
	if a == nil || err != nil {
		return err
	}
	defer a.stop()
	up, err := startChild("child-upstream")
	if err != nil {
		return err
	}
	a.servers["upstream"] = up
	names := []string{
		"no observer", "observer off", "observer on", "all captured", "two fleets", "with evidence", "shadow of 10 %",
		"shadow that hangs",
	}
	for i, how := range []string{"", "off", "all", "", "split", "evidence", "shadow", "hangs"} {
		args := []string{"-observe=" + how, "-upstream", up.addr}
		if names[i] == "all captured" {
			args = append(args, "-capture", filepath.Join(a.dir, "data"))
		}
		p, err := startChild("child-router", args...)
		if err != nil {
			return err
		}
		a.add(names[i], p)
	}
	for _, c := range []struct{ size, conns int }{{1 << 10, 64}, {100 << 10, 64}} {
		fmt.Printf("-- %d KiB each way, %d connections, wrk -t1, %d rounds of %v\n", c.size>>10, c.conns, o.rounds,
			o.length)
		if err := a.observing(ctx, names, c.size, c.conns); err != nil {
			return err
		}
	}
	return nil
}

// observing loads the servers, and says how the others compare with the first.
func (a *arena) observing(ctx context.Context, names []string, size, conns int) error {
	got, spent := map[string][]figure{}, map[string][]float64{}
	for range a.o.rounds {
		for _, name := range names {
			pid := a.servers[name].cmd.Process.Pid
			before := cpu(pid)
			f, err := a.wrk(ctx, name, size, conns)
			if err != nil {
				return err
			}
			got[name] = append(got[name], f)
			spent[name] = append(spent[name], (cpu(pid)-before).Seconds()/(f.rate*a.o.length.Seconds()))
		}
	}
	a.print(got, size)
	base := names[0]
	for _, name := range names[1:] {
		fmt.Printf("%s: of that without one: throughput %s, p99 %s, processor time %s\n", name,
			ratio(got[name], got[base], func(f figure) float64 { return f.rate }),
			ratio(got[name], got[base], func(f figure) float64 { return float64(f.p99) }),
			ratio(spent[name], spent[base], func(s float64) float64 { return s }))
	}
	fmt.Printf("peak RSS so far %.0f MiB without, %.0f MiB with the last\n",
		peak(a.servers[base].cmd.Process.Pid), peak(a.servers[names[len(names)-1]].cmd.Process.Pid))
	return nil
}

// ratio says what part of base some measurements are, round by round.
func ratio[T any](of, base []T, f func(T) float64) string {
	parts := make([]float64, len(of))
	for i := range of {
		parts[i] = f(of[i]) / f(base[i])
	}
	slices.Sort(parts)
	return fmt.Sprintf("%.3f (%.3f..%.3f)", middle(parts), parts[0], parts[len(parts)-1])
}
