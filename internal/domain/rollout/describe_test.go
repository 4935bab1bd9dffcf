package rollout_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// told is what DescribeEndpoint shows of a ride with ideal facts.
func told(r *ride, f rollout.Facts) []string {
	head := rollout.Status(r.plan, r.state)
	if rollout.Pending(r.plan, r.state) {
		head += " pending"
	}
	for _, c := range rollout.Counts(r.plan, r.state, f) {
		head += fmt.Sprintf(" %d/%d", c.Old, c.New)
	}
	all := []string{head}
	for _, v := range rollout.Statuses(r.plan, r.state, f) {
		all = append(all, fmt.Sprintf("%s %s %s: %s", v.Variant, v.Fleet, v.Status, v.Message))
	}
	return all
}

type shown struct {
	ride *ride
	bend func(*rollout.Facts)
	want []string
}

func wantShown(t *testing.T, tests map[string]shown) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := ideal(tt.ride.state, tt.ride.now)
			if tt.bend != nil {
				tt.bend(&f)
			}
			if diff := cmp.Diff(tt.want, told(tt.ride, f)); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
		})
	}
}

// Spec §3.4 and §3.5. The head line is the status, whether a pending
// deployment is shown, and CurrentInstanceCount of the old and new fleet.
func TestWhatAForwardUpdateShows(t *testing.T) {
	in := func(c *rollout.Policy, n int, ph rollout.Phase, step int) *ride {
		return start(t, plan(t, rollout.Update, c, fleet(n, n))).to(ph, step)
	}
	c, l, b := canary(count(1), 600, 120), linear(percent(33), 180, 120), rolling(percent(50), rollout.Size{}, 60)
	still := func(n int) func(*rollout.Facts) { return func(f *rollout.Facts) { f.Old[0].Exists = n } }
	wantShown(t, map[string]shown{
		"provisioning green": {
			in(c, 3, rollout.Launching, 0), nil,
			[]string{"Updating pending 3/0", "A new Creating: Launching 3 instance(s)."},
		},
		"canary flips": {
			in(c, 3, rollout.Shifting, 0), nil,
			[]string{
				"Updating pending 3/1",
				"A new ActivatingTraffic: Activating traffic on canary capacity of 1 instance(s).",
			},
		},
		"canary bakes": {
			in(c, 3, rollout.Baking, 0), nil,
			[]string{
				"Updating pending 3/1",
				"A new Baking: Baking for 600 seconds (WaitIntervalInSeconds) with traffic enabled on canary " +
					"capacity of 1 instance(s).",
			},
		},
		"the rest flips": {
			in(c, 3, rollout.Shifting, 1), nil,
			[]string{
				"Updating pending 3/3",
				"A new ActivatingTraffic: Activating traffic on full capacity of 3 instance(s).",
			},
		},
		"final bake": {
			in(c, 3, rollout.Baking, 1), nil,
			[]string{
				"Updating pending 3/3",
				"A new Baking: Baking for 120 seconds (TerminationWaitInSeconds) with traffic enabled on full " +
					"capacity of 3 instance(s).",
			},
		},
		"cleaning up blue": {
			in(c, 3, rollout.Committed, 1), still(2),
			[]string{"Updating pending 2/3", "A old Deleting: Terminating 2 instance(s)."},
		},
		"completed": {in(c, 3, rollout.Succeeded, 1), nil, []string{"InService 0/3"}},
		"a linear step": {
			in(l, 3, rollout.Baking, 1), nil,
			[]string{
				"Updating pending 3/2",
				"A new Baking: Baking for 180 seconds (WaitIntervalInSeconds) with traffic enabled on linear step " +
					"capacity of 1 instance(s).",
			},
		},
		"the last of them": {
			in(l, 3, rollout.Shifting, 2), nil,
			[]string{
				"Updating pending 3/3",
				"A new ActivatingTraffic: Activating traffic on full capacity of 3 instance(s).",
			},
		},
		"a rolling batch": {
			in(b, 4, rollout.Launching, 1), nil,
			[]string{"Updating pending 2/2", "A new Creating: Launching 2 instance(s)."},
		},
		"it flips": {
			in(b, 4, rollout.Shifting, 1), nil,
			[]string{
				"Updating pending 2/4",
				"A new ActivatingTraffic: Activating traffic on rolling batch capacity of 2 instance(s).",
			},
		},
		"it bakes": {
			in(b, 4, rollout.Baking, 0), nil,
			[]string{
				"Updating pending 4/2",
				"A new Baking: Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on rolling batch " +
					"capacity of 2 instance(s).",
			},
		},
		"an old batch goes": {
			in(b, 4, rollout.Retiring, 0), still(4),
			[]string{"Updating pending 4/2", "A old Deleting: Terminating 2 instance(s)."},
		},
	})
}

func TestWhatARollbackShows(t *testing.T) {
	b := rolling(percent(50), rollout.Size{}, 60)
	back := func(turns int) *ride {
		r := start(t, plan(t, rollout.Update, b, fleet(4, 4))).to(rollout.Baking, 1)
		for range turns {
			r.turn(cannotStart)
		}
		return r
	}
	still := func(f *rollout.Facts) { f.New[0].Exists = 2 }
	wantShown(t, map[string]shown{
		"what is alive takes traffic": {
			back(1), nil,
			[]string{
				"Updating pending 2/2",
				"A old ActivatingTraffic: Activating traffic on rolling batch capacity of 2 instance(s).",
			},
		},
		"what is missing is launched": {
			back(2), nil,
			[]string{"Updating pending 2/2", "A old Updating: Launching 2 instance(s)."},
		},
		"the whole fleet serves again": {
			back(3), nil,
			[]string{
				"Updating pending 4/0",
				"A old ActivatingTraffic: Activating traffic on full capacity of 4 instance(s).",
			},
		},
		"green is terminated": {
			back(4), still,
			[]string{"Updating pending 4/0", "A new Deleting: Terminating 2 instance(s)."},
		},
		"rolled back": {back(5), nil, []string{"InService 4/0"}},
	})
}

func TestWhatOtherDeploymentsShow(t *testing.T) {
	in := func(k rollout.Kind, from, to int, ph rollout.Phase, step int) *ride {
		return start(t, plan(t, k, nil, fleet(from, to))).to(ph, step)
	}
	failed := func(k rollout.Kind, from, to int) *ride {
		r := in(k, from, to, rollout.Launching, 0)
		r.turn(cannotStart)
		return r
	}
	oneOld := func(f *rollout.Facts) { f.Old[0] = rollout.Fleet{Ready: 1, Exists: 1} }
	oneNew := func(f *rollout.Facts) { f.New[0] = rollout.Fleet{Ready: 1, Exists: 2} }
	wantShown(t, map[string]shown{
		"creating, one is healthy": {
			in(rollout.Create, 0, 2, rollout.Launching, 0), oneNew,
			[]string{"Creating pending 0/1", "A new Creating: Launching 2 instance(s)."},
		},
		"created":     {in(rollout.Create, 0, 2, rollout.Succeeded, 0), nil, []string{"InService 0/2"}},
		"not created": {failed(rollout.Create, 0, 2), nil, []string{"Failed 0/0"}},
		"scaling out": {
			in(rollout.Scale, 3, 6, rollout.Launching, 0), nil,
			[]string{"Updating 3/0", "A old Updating: Scaling out desired instance count to 6."},
		},
		"scaling in": {
			in(rollout.Scale, 6, 3, rollout.Committed, 0),
			func(f *rollout.Facts) { f.Old[0].Exists = 5 },
			[]string{"Updating 5/0", "A old Updating: Scaling in desired instance count to 3."},
		},
		"scaled":        {in(rollout.Scale, 3, 6, rollout.Succeeded, 0), nil, []string{"InService 6/0"}},
		"weights alone": {in(rollout.Scale, 3, 3, rollout.Launching, 0), nil, []string{"Updating 3/0"}},
		"scaling out failed": {
			failed(rollout.Scale, 3, 6), nil,
			[]string{"RollingBack 3/0", "A old Updating: Scaling in desired instance count to 3."},
		},
		"deleting": {
			in(rollout.Delete, 2, 0, rollout.Committed, 0), oneOld,
			[]string{"Deleting 1/0", "A old Deleting: Terminating 1 instance(s)."},
		},
		"deleted": {in(rollout.Delete, 2, 0, rollout.Succeeded, 0), nil, []string{" 0/0"}},
	})
}

// Spec §8 names the order of a canary's stages.
func TestTheStagesOfACanaryComeInTheOrderOfItsEvents(t *testing.T) {
	p := plan(t, rollout.Update, canary(count(1), 60, 60), fleet(3, 3))
	var got []string
	for _, m := range rollout.Timeline(p, t0) {
		for _, v := range rollout.Statuses(p, m.State, rollout.Facts{Old: []rollout.Fleet{{Exists: 3}}}) {
			got = append(got, v.Status)
			if !v.StartTime.Equal(t0.Add(m.At)) {
				t.Errorf("%s starts at %v, want %v after the beginning", v.Status, v.StartTime, m.At)
			}
		}
	}
	want := []string{"Creating", "ActivatingTraffic", "Baking", "ActivatingTraffic", "Baking", "Deleting"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}
