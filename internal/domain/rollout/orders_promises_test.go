package rollout_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// people checks what is promised to those who give orders, and what a bake is
// worth. It has its own idea of when a deployment is paused.
type people struct {
	jumpy    bool      // no time can be told
	entered  time.Time // into the present bake
	since    time.Time // it has been paused
	paused   time.Duration
	promoted bool
	requests int64 // when the step's traffic moved
}

func (k *people) obeys(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State, wake time.Time) error {
	err := errors.Join(
		followsInTurn(s, f, n, wake),
		k.bakesAsLongAsItMust(p, s, f, n),
	)
	if len(n.Followed) > len(s.Followed) {
		err = errors.Join(err, k.listen(p, s, f, n))
	}
	if n.Phase == rollout.Shifting && (s.Phase != n.Phase || s.Step != n.Step) {
		k.requests = f.GreenRequests
	}
	if n.Phase == rollout.Baking && s.Phase != n.Phase {
		k.entered, k.paused = f.Now, 0
	}
	if started := n.Restarted; n.Phase == rollout.Baking && !started.Equal(s.Restarted) && !started.IsZero() {
		k.entered, k.paused, k.requests = later(started, n.Since), 0, f.GreenRequests
	}
	return errors.Join(err, k.bakesNoLonger(p, f, n, wake))
}

// bakesNoLonger: at rest in a bake, it asks again when its wait is over, pauses
// not counted.
func (k *people) bakesNoLonger(p rollout.Plan, f rollout.Facts, n rollout.State, wake time.Time) error {
	_, paused := n.Paused()
	if n.Phase != rollout.Baking || paused || k.jumpy || wake.Equal(f.Now) {
		return nil
	}
	if due := k.entered.Add(k.wait(p, n) + k.paused); due.After(f.Now) && wake.After(due) {
		return fmt.Errorf("wakes %v after the bake was to end", wake.Sub(due))
	}
	return nil
}

// followsInTurn: every order once, in turn, before anything else that is not a
// verdict; and a pause holds everything but a verdict.
func followsInTurn(s rollout.State, f rollout.Facts, n rollout.State, wake time.Time) error {
	turned := s.Turned.IsZero() && !n.Turned.IsZero()
	rewound := f.Now.Before(s.Since) || !n.Restarted.Equal(s.Restarted)
	switch heard := len(n.Followed) - len(s.Followed); {
	case heard < 0 || heard > 1 || len(n.Followed) > len(f.Orders):
		return fmt.Errorf("followed %d of %d orders after %d", len(n.Followed), len(f.Orders), len(s.Followed))
	case heard == 1 && n.Followed[len(s.Followed)].Order != f.Orders[len(s.Followed)]:
		return fmt.Errorf("followed %+v, given %+v", n.Followed[len(s.Followed)], f.Orders[len(s.Followed)])
	case heard == 0 && len(s.Followed) < len(f.Orders) && !turned && !rewound:
		return fmt.Errorf("did something before it followed an order")
	case heard == 1 || turned || rewound:
		return nil
	case !wake.Equal(f.Now) && len(n.Followed) < len(f.Orders):
		return fmt.Errorf("rests though an order is to be followed")
	}
	if _, paused := s.Paused(); paused && !equal(s, n) {
		return fmt.Errorf("went on from %s to %s though it is paused", line(s), line(n))
	}
	return nil
}

// listen notes an order that was just followed: what Obeys says of it is what
// happens.
func (k *people) listen(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State) error {
	o := n.Followed[len(s.Followed)]
	if refused := p.Obeys(s, o.Verb); (refused != nil) != (o.Ignored != "") {
		return fmt.Errorf("%s of %s: Obeys says %v, but ignored because %q", o.Verb, line(s), refused, o.Ignored)
	}
	_, is := n.Paused()
	_, was := s.Paused()
	switch {
	case o.Ignored != "":
		if is != was || n.Phase != s.Phase {
			return fmt.Errorf("an ignored %s changed something", o.Verb)
		}
	case is != (o.Verb == rollout.Pause):
		return fmt.Errorf("paused: %v after %s", is, o.Verb)
	case o.Verb == rollout.Abort && (n.Phase.Undoable() || n.Reason != "Endpoint deployment was aborted by eve."):
		return fmt.Errorf("aborted, but %s because %q", line(n), n.Reason)
	case o.Verb == rollout.Promote && !n.Promoted:
		return fmt.Errorf("promoted, but not")
	}
	if is && !was {
		k.since = o.At
	}
	if was && !is && !k.jumpy {
		from, wait := later(k.since, k.entered), k.wait(p, s)
		// else it was over and waited for something else
		if s.Phase == rollout.Baking && from.Before(k.entered.Add(wait+k.paused)) {
			k.paused += max(0, o.At.Sub(from))
		}
	}
	k.promoted = n.Promoted
	return nil
}

// bakesAsLongAsItMust: a step is left forward only after its wait, pauses not
// counted, and its minimum of requests, unless it was promoted. One that saw no
// request is marked.
func (k *people) bakesAsLongAsItMust(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State) error {
	if s.Phase != rollout.Baking || n.Phase == rollout.Baking || n.Reason != "" {
		return nil
	}
	wait, _ := p.Wait(s.Step)
	wait = least(p, s, f, wait)
	came := f.GreenRequests - k.requests
	none, marked := came == 0, len(n.Unproven) > len(s.Unproven)
	if p.Mirrored(s.Step) { // no request can come
		came, none = int64(p.Policy.MinimumRequests), false
	}
	switch baked := f.Now.Sub(k.entered) - k.paused; {
	case marked != none || marked && n.Unproven[len(s.Unproven)] != s.Step:
		return fmt.Errorf("%d requests came in step %d, marked are %v", came, s.Step, n.Unproven)
	case k.promoted:
		return nil
	case baked < wait && !k.jumpy:
		return fmt.Errorf("baked for %v, not for %v", baked, wait)
	case f.Observed.Until.Sub(later(k.entered, f.Observed.Last.Until))-k.paused < wait && !k.jumpy:
		return fmt.Errorf("observed from %v to %v, not for %v", f.Observed.Last.Until, f.Observed.Until, wait)
	case came < int64(p.Policy.MinimumRequests):
		return fmt.Errorf("the bake ended after %d requests, not %d", came, p.Policy.MinimumRequests)
	}
	return nil
}

// wait is how long the step of s has to bake: a moment if there are alarms to
// read, or requests to count.
func (k *people) wait(p rollout.Plan, s rollout.State) time.Duration {
	wait, _ := p.Wait(s.Step)
	if k.promoted {
		wait = 0
	}
	return max(wait, time.Millisecond)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
