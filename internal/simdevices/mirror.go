package simdevices

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// How a new version is worse than the old one on a device.
const (
	ByAnswers  = "answers"  // it answers one of ten requests differently
	ByFailures = "failures" // it fails one of ten
)

// Differs says how a version of a model is worse than any before it on a device, ""
// if it is not. It depends on nothing else: what becomes of a plan whose devices
// compare models can be known beforehand.
func Differs(seed uint64, differ float64, device, name, version string) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d\x00differs\x00%s\x00%s\x00%s", seed, device, name, version) // hashes never fail
	switch draw := chance(rand.NewPCG(seed, h.Sum64())); {
	case draw < differ/2:
		return ByAnswers
	case draw < differ:
		return ByFailures
	}
	return ""
}

// beside is a simulated model that runs beside another.
type beside struct {
	s    *sim
	old  model.Info
	how  string
	from time.Duration // when the requests were last counted
	rest float64       // of a request
}

// Begin is device.Mirrors'.
func (s *sim) Begin(handle string, fresh model.Runner, m *edge.Mirror) (device.Mirroring, error) {
	r := fresh.(*runner)
	i := slices.IndexFunc(s.loaded, func(o *model.Loaded) bool { return o.Handle == handle })
	if i < 0 {
		return nil, model.ErrNotLoaded
	}
	return &beside{
		s: s, old: s.loaded[i].Info,
		how: Differs(s.fleet.cfg.Seed, s.fleet.cfg.Differ, s.name, r.name, r.version), from: s.fleet.clock(),
	}, nil
}

// Old is device.Mirroring's.
func (b *beside) Old() model.Info { return b.old }

// On is device.Mirroring's: no application loads models of its own here.
func (*beside) On() bool { return true }

// Take is device.Mirroring's: what came since the last time, at the pace of the
// configuration.
func (b *beside) Take() (p edge.Pairs) {
	now := b.s.fleet.clock()
	b.rest += (now - b.from).Seconds() * b.s.fleet.cfg.Requests
	b.from = now
	n := int64(b.rest)
	b.rest -= float64(n)
	p.Compared = n
	switch b.how {
	case ByAnswers:
		p.Differing = (n + 9) / 10
	case ByFailures:
		p.Failed = (n + 9) / 10
		p.Compared -= p.Failed
	}
	return p
}

// Memory says nothing.
func (*beside) Memory() (old, fresh int64) { return 0, 0 }

// End has nothing to free.
func (*beside) End() {}
