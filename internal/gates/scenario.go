package main

import "cmp"

// bake is how long a deployment of the table bakes, in seconds: half of it with
// a twentieth of the traffic on the new fleet, half with half.
const bake = 1800

// scenario is a deployment: what its traffic is like, and what is wrong with the
// new fleet. What is not said is as in usual().
type scenario struct {
	name, about string
	runs        int     // bakes that are measured
	alone       bool    // without the peers
	rps         float64 // requests a second
	errOld      float64 // share of the old fleet's requests that fail
	errNew      float64
	slower      float64 // how many times as slow the new fleet is
	tail        float64 // and that on the slowest 2 % of requests, besides
	badInstance bool    // one instance of the new fleet: 5 points of errors, twice as slow
	flip        float64 // share of the new fleet's labels that are wrong
	bias        float64 // of its numbers, in standard deviations
	bursts      bool    // load, speed, outputs and errors of both fleets move
	incidents   bool    // single instances have bad moments
	hosts       bool    // so do hosts, with instances of both fleets on them
	cold        bool    // the new fleet is slow at first
	onset       int     // the second in which it goes bad
	spread      float64 // standard deviation between instances, for good
	instances   int     // of the new fleet; the old one has 4, or as the split says
	share       float64 // of the new fleet, all the time; 0: a canary of 5 %, then 50 %
	mirrored    float64 // share of the old fleet's requests that are copied to the new one
	patience    float64 // seconds after which callers leave; 0: never
	hangs       float64 // share of the new fleet's requests that hang for a minute
	sheds       bool    // the old fleet refuses its heaviest 2 %; the new one answers them
	uncapped    bool    // without the guard against one instance's bad moments
	counted     bool    // only failures, drawn as counts
	edge        bool    // the new fleet fails as much as is allowed at every moment (counted alone)
}

// usual fills in what a scenario does not say.
func (s scenario) usual() scenario {
	set := func(v *float64, usual float64) {
		if *v == 0 {
			*v = usual
		}
	}
	set(&s.rps, 50)
	set(&s.errOld, 0.001)
	set(&s.errNew, s.errOld)
	set(&s.slower, 1)
	set(&s.tail, 1)
	set(&s.spread, 0.02)
	set(&s.mirrored, 0.1)
	if s.instances == 0 {
		s.instances = 4
	}
	return s
}

// split is the new fleet's share of traffic in a second.
func (s *scenario) split(t int) float64 {
	switch {
	case s.share > 0:
		return s.share
	case t < bake/2:
		return 0.05
	}
	return 0.5
}

// everything is all scenarios of the page.
func everything() []scenario { return append(append(harmless(), counted()...), harmful()...) }

// exact is a spread that is none.
const exact = 1e-9

// harmless are the deployments that no alarm should stop.
func harmless() []scenario {
	edge := scenario{runs: 1000, alone: true, errNew: 0.0025, slower: 1.10, flip: 0.004, spread: exact, uncapped: true}
	burst := edge
	edge.name, edge.about = "edge", "errors, latency and pairs exactly at the allowance, no guard"
	burst.name, burst.about, burst.bursts = "edge-bursts", "the same, bursts and drift in both fleets", true
	failing := edge
	failing.name, failing.about = "edge-failing", "the same, the old fleet fails 5 %"
	failing.errOld, failing.errNew, failing.rps, failing.runs = 0.05, 0.076, 10, 2000
	much := scenario{rps: 10, errOld: 0.05, alone: true, bursts: true, runs: 6000}
	moments, shared := much, much
	moments.name, moments.about = "failing-incidents-10", "both fail 5 %, bursts, bad moments of instances — 10 rps"
	moments.incidents = true
	shared.name, shared.about = "failing-hosts-10", "both fail 5 %, bursts, bad moments of hosts — 10 rps"
	shared.hosts = true
	much = moments
	much.name, much.about = "failing-one-10", "the same, one new instance with half of the traffic — 10 rps"
	much.share, much.instances, much.incidents = 0.5, 1, false
	many := func(s scenario) scenario {
		s.name, s.about, s.rps, s.runs, s.alone = s.name+"-10", "— 10 requests a second", 10, 17_500, true
		return s
	}
	same := scenario{name: "same", about: "no change"}
	bursts := scenario{name: "same-bursts", about: "bursts and drift in both fleets", bursts: true}
	incidents := scenario{name: "same-incidents", about: "bad moments of single instances", incidents: true}
	hosts := scenario{name: "same-hosts", about: "bad moments of hosts, with instances of both fleets", hosts: true}
	all := []scenario{
		same, many(same), bursts, many(bursts), incidents, many(incidents), hosts, many(hosts),
		{name: "same-cold", about: "the new fleet starts cold, 5× as slow", cold: true},
		{name: "same-one", about: "one new instance with 5 % all the time", share: 0.05, instances: 1},
		{
			name: "same-one-incidents", about: "— bad moments of single instances", share: 0.05, instances: 1,
			incidents: true,
		},
		{name: "same-quiet", about: "0.2 requests a second, both fail 0.5 %", rps: 0.2, errOld: 0.005, runs: 10_000},
		{
			name: "same-sheds", about: "the old fleet refuses its heaviest 2 %, the new one answers them",
			sheds: true,
		},
		moments, shared, much, edge, burst, failing,
	}
	for i := range all {
		all[i].runs = cmp.Or(all[i].runs, 1000)
	}
	return all
}

// harmful are the deployments that an alarm should stop, each with the gate that
// is to tell.
func harmful() []scenario {
	one := func(s scenario) scenario { s.share, s.instances = 0.05, 1; return s }
	all := []scenario{
		{name: "dead", about: "the new fleet fails every request", errNew: 0.999},
		one(scenario{name: "one-dead", about: "— one new instance", errNew: 0.999}),
		{name: "failing-dead", about: "— beside an old one that fails 5 %", errOld: 0.05, errNew: 0.999},
		one(scenario{
			name: "failing-one-dead", about: "— one new instance, the old fleet fails 5 %", errOld: 0.05, errNew: 0.999,
		}),
		{
			name: "busy-one-dead", about: "— one, half of 500 rps; the old fail 1 %", rps: 500,
			errOld: 0.01, errNew: 0.999, share: 0.5, instances: 1,
		},
		{name: "hangs", about: "every request hangs, callers leave after 2 s", hangs: 1, patience: 2},
		{name: "err-0.1-1", about: "errors 0.1 → 1 %", errNew: 0.01},
		one(scenario{name: "one-err-0.1-1", about: "— one new instance", errNew: 0.01}),
		{name: "err-0.5-5", about: "errors 0.5 → 5 %", errOld: 0.005, errNew: 0.05},
		one(scenario{name: "one-err-0.5-5", about: "— one new instance", errOld: 0.005, errNew: 0.05}),
		{name: "late-err-0.1-1", about: "errors 0.1 → 1 % from second 1,200", errNew: 0.01, onset: 1200},
		{name: "lat+10", about: "latency +10 %", slower: 1.1},
		{name: "lat+30", about: "latency +30 %", slower: 1.3},
		one(scenario{name: "one-lat+30", about: "— one new instance", slower: 1.3}),
		{name: "tail-x2", about: "only the slowest 2 % doubled", tail: 2},
		{name: "one-of-4-bad", about: "1 of 4: +5 points of errors, 2× latency", badInstance: true},
		{name: "flip-1", about: "1 % of labels wrong (0.5 % allowed)", flip: 0.01},
		{name: "flip-5", about: "5 % of labels wrong", flip: 0.05},
		{name: "bias-0.2", about: "number biased by 0.2 sd", bias: 0.2},
		{name: "quiet-err-5", about: "0.2 rps, errors 0.5 → 5 %", rps: 0.2, errOld: 0.005, errNew: 0.05},
		{name: "quiet-err-30", about: "0.2 rps, errors 0.5 → 30 %", rps: 0.2, errOld: 0.005, errNew: 0.3},
		{name: "quiet-flip-5", about: "0.2 rps, 5 % of labels wrong, all mirrored", rps: 0.2, flip: 0.05, mirrored: 1},
		{name: "busy-err-0.1-0.3", about: "500 rps, errors 0.1 → 0.3 %", rps: 500, errNew: 0.003},
		{name: "busy-err-0.1-0.5", about: "500 rps, errors 0.1 → 0.5 %", rps: 500, errNew: 0.005},
		{name: "busy-lat+15", about: "500 rps, latency +15 %", rps: 500, slower: 1.15},
	}
	for i := range all {
		all[i].runs = 200
	}
	return all
}
