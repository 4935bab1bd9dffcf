package gates_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// herd is four old instances and some new ones of a canary.
func (y *yard) herd(fresh int) (is []hosting.Instance) {
	y.mu.Lock()
	defer y.mu.Unlock()
	add := func(f *hosting.Fleet, n int) {
		f.Variants = []hosting.FleetVariant{{Variant: hosting.Variant{Name: "v"}, Active: n}}
		for i := range n {
			id := hosting.InstanceID(string(f.ID) + "-" + string(rune('a'+i)))
			is = append(is, hosting.Instance{
				ID: id, Fleet: f.ID, Variant: "v", Ordinal: i, Wanted: true, Status: hosting.InstanceReady,
				Address: "here",
			})
		}
	}
	add(y.e.Fleet, 4)
	add(y.e.Deployment.Green, fresh)
	return is
}

// A canary that is killed every 20 seconds is taken back though it answers all that
// it gets; so is one that is back, elsewhere, before anybody looked. Instances that
// both fleets lose, and ones that nobody wants any more, are nothing against it.
func TestACanaryThatIsKilledAgainAndAgainIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		fresh int
		at    func(second int, is []hosting.Instance)
		fires bool
	}{
		"killed": {1, func(second int, is []hosting.Instance) {
			if is[4].Status = hosting.InstanceReady; second%20 < 3 {
				is[4].Status = hosting.InstanceUnhealthy
			}
		}, true},
		"back at once": {1, func(second int, is []hosting.Instance) {
			is[4].Address = strings.Repeat("x", second/20)
		}, true},
		"one of four": {4, func(second int, is []hosting.Instance) {
			if is[6].Status = hosting.InstanceReady; second%20 < 3 {
				is[6].Status = hosting.InstanceUnhealthy
			}
		}, true},
		"once": {1, func(second int, is []hosting.Instance) {
			if is[4].Status = hosting.InstanceReady; second > 100 && second < 110 {
				is[4].Status = hosting.InstanceUnhealthy
			}
		}, false},
		"all alike": {4, func(second int, is []hosting.Instance) {
			for i := range is {
				if is[i].Status = hosting.InstanceReady; (second+5*i)%40 < 3 {
					is[i].Status = hosting.InstanceUnhealthy
				}
			}
		}, false},
		"not wanted": {4, func(second int, is []hosting.Instance) {
			is[5].Wanted, is[6].Wanted = second%20 > 3, second%20 > 5
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(y *yard) {
				y.judged(gate.InstanceLoss, "")
				is := y.herd(c.fresh)
				lasted := 0
				for second := range 900 {
					if c.at(second, is); y.why("d-1") == "" {
						lasted = second
					}
					y.s.Stands("d-1", y.e, is)
					time.Sleep(time.Second)
				}
				synctest.Wait()
				why := y.why("d-1")
				t.Logf("%d s: %s", lasted, why)
				if strings.HasPrefix(why, `gate "instance-loss" fired: v2 loses an instance in `) != c.fires {
					t.Errorf("%q", why)
				}
				if x, n := y.value("InstanceLossEvidence"); x > 3 != c.fires || n == 0 {
					t.Errorf("evidence is %v, of %d values", x, n)
				}
			})
		})
	}
}

// What happens while nobody looks is nothing against either fleet.
func TestLossesThatNobodyWatchedDoNotCount(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.judged(gate.InstanceLoss, "")
		is := y.herd(1)
		for n := range 40 {
			is[4].Address = strings.Repeat("x", n)
			y.s.Stands("d-1", y.e, is)
			time.Sleep(20 * time.Second)
		}
		if x, _ := y.value("InstanceLossEvidence"); x != 0 {
			t.Errorf("evidence is %v", x)
		}
	})
}
