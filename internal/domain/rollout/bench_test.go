package rollout_test

import (
	"math/rand/v2"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// A turn in which nothing happens: the bulk of them.
func BenchmarkNextWhileBaking(b *testing.B) {
	r := start(b, plan(b, rollout.Update, watching(canary(count(1), 300, 120)), fleet(4, 4))).to(rollout.Baking, 0)
	f := ideal(r.state, r.now.Add(secs(10)))
	b.ReportAllocs()
	for b.Loop() {
		rollout.Next(r.plan, r.state, f)
	}
}

// A turn that moves traffic.
func BenchmarkNextShifting(b *testing.B) {
	r := start(b, plan(b, rollout.Update, watching(canary(count(1), 300, 120)), fleet(4, 4))).to(rollout.Baking, 0)
	f := ideal(r.state, r.now.Add(secs(300)))
	b.ReportAllocs()
	for b.Loop() {
		rollout.Next(r.plan, r.state, f)
	}
}

// One deployment from beginning to end in a hostile world, all promises
// checked.
func BenchmarkWholeDeployment(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		if err := live(rand.New(rand.NewPCG(seed, 4)).IntN); err != nil {
			b.Fatal(err)
		}
		seed++
	}
}
