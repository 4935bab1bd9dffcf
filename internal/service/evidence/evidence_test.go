package evidence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/evidence"
)

var (
	scope = arn.Scope{Region: "eu-west-3", Account: "123456789012"}
	since = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
)

// world is everything that evidence is gathered from.
type world struct {
	endpoint *hosting.Endpoint
	err      error
	asked    *time.Time // since when alarms were asked for; nil: they were not

	late, dropped, away rollout.Gap
	tripped             hosting.TrippedAlarm
}

func (w *world) EndpointOf(context.Context, hosting.DeploymentID) (*hosting.Endpoint, error) {
	return w.endpoint, nil
}

func (w *world) Firing(
	_ context.Context, sc arn.Scope, names []string, since time.Time,
) ([]hosting.TrippedAlarm, rollout.Gap, error) {
	w.asked = &since
	if sc != scope || !slices.Equal(names, []string{"a", "b"}) {
		return nil, rollout.Gap{}, errors.New("it asks for other alarms")
	}
	return []hosting.TrippedAlarm{{Name: "b"}}, w.late, w.err
}

func (w *world) Tripped(hosting.DeploymentID) (hosting.TrippedAlarm, bool) {
	return w.tripped, w.tripped.Name != ""
}

func (w *world) Dropped(traffic.Key, traffic.FleetRef) rollout.Gap { return w.dropped }
func (w *world) LastGap() rollout.Gap                              { return w.away }

func (w *world) Answered(k traffic.Key, f traffic.FleetRef) []traffic.Reading {
	if k != (traffic.Key{Region: scope.Region, Name: "e"}) || f != (traffic.FleetRef{ID: "f-2", Config: "green"}) {
		return nil
	}
	return []traffic.Reading{{Router: "r", Requests: 7}}
}

// under is an endpoint whose deployment brings up a fleet and has come so far.
func under(ph rollout.Phase, step int) *hosting.Endpoint {
	d := &hosting.Deployment{Green: &hosting.Fleet{ID: "f-2", ConfigName: "green"}}
	d.Plan.Policy.Alarms = []string{"a", "b"}
	d.State = rollout.State{Phase: ph, Step: step, Since: since}
	return &hosting.Endpoint{Scope: scope, Name: "e", Deployment: d}
}

// Before traffic has been shifted an alarm speaks only of this moment; from
// then on, also one that has recovered since the phase began.
func TestAlarmsAreAskedForSinceThePhaseBegan(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoint *hosting.Endpoint
		want     time.Time
	}{
		"before the first shift":           {under(rollout.Launching, 0), time.Time{}},
		"while more instances are started": {under(rollout.Launching, 1), since},
		"while traffic is shifted":         {under(rollout.Shifting, 0), since},
		"in a bake":                        {under(rollout.Baking, 0), since},
	} {
		w := &world{endpoint: tt.endpoint}
		s := &evidence.Source{Endpoints: w, Alarms: w, Routers: w, Metrics: w, Watch: w}
		ev, err := s.Of(t.Context(), "d")
		if err != nil || w.asked == nil || !w.asked.Equal(tt.want) {
			t.Errorf("%s: asked since %v, want %v: %v", name, w.asked, tt.want, err)
		}
		if len(ev.Firing) != 1 || ev.Firing[0].Name != "b" || len(ev.Answered) != 1 || ev.Answered[0].Requests != 7 {
			t.Errorf("%s: %+v", name, ev)
		}
	}
}

func TestWhereThereIsNothingToAskNobodyIsAsked(t *testing.T) {
	noAlarms, noFleet := under(rollout.Baking, 0), under(rollout.Baking, 0)
	noAlarms.Deployment.Plan.Policy.Alarms = nil
	noFleet.Deployment.Green = nil
	for name, tt := range map[string]struct {
		endpoint *hosting.Endpoint
		answered int
	}{
		"a deployment that is over":          {nil, 0},
		"an endpoint at rest":                {&hosting.Endpoint{Scope: scope, Name: "e"}, 0},
		"no alarms":                          {noAlarms, 1},
		"a change within the fleet in place": {noFleet, 0},
	} {
		w := &world{endpoint: tt.endpoint}
		s := &evidence.Source{Endpoints: w, Alarms: w, Routers: w, Metrics: w, Watch: w}
		ev, err := s.Of(t.Context(), "d")
		if err != nil || w.asked != nil || len(ev.Firing) > 0 || len(ev.Answered) != tt.answered {
			t.Errorf("%s: %+v, alarms asked since %v, %v", name, ev, w.asked, err)
		}
	}
}

func TestAnAlarmThatCannotBeAskedIsNoEvidenceOfCalm(t *testing.T) {
	w := &world{endpoint: under(rollout.Baking, 0), err: errors.New("the database is away")}
	s := &evidence.Source{Endpoints: w, Alarms: w, Watch: w}
	if _, err := s.Of(t.Context(), "d"); !errors.Is(err, w.err) {
		t.Errorf("got %v", err)
	}
}

// Whoever could not look last decides since when everything was observed.
func TestTheLastGapOfAnyoneCounts(t *testing.T) {
	gap := func(s int) rollout.Gap { return rollout.Gap{Until: since.Add(time.Duration(s) * time.Second)} }
	for name, tt := range map[string]struct{ late, dropped, away, want rollout.Gap }{
		"the server": {gap(1), gap(2), gap(3), gap(3)},
		"an alarm":   {gap(4), gap(2), gap(3), gap(4)},
		"metrics":    {gap(1), gap(5), gap(3), gap(5)},
	} {
		w := &world{endpoint: under(rollout.Baking, 0), late: tt.late, dropped: tt.dropped, away: tt.away}
		s := &evidence.Source{Endpoints: w, Alarms: w, Routers: w, Metrics: w, Watch: w}
		ev, err := s.Of(t.Context(), "d")
		if err != nil || ev.Observed.Last != tt.want || time.Since(ev.Observed.Until) > time.Minute {
			t.Errorf("%s: %+v, want %+v, %v", name, ev.Observed, tt.want, err)
		}
	}
}

// Traffic was taken back already: that must end in a rollback, even if the
// alarm's state was never written.
func TestATripIsEvidence(t *testing.T) {
	for name, want := range map[string]int{"a": 2, "b": 1} {
		w := &world{endpoint: under(rollout.Baking, 0), tripped: hosting.TrippedAlarm{Name: name}}
		s := &evidence.Source{Endpoints: w, Alarms: w, Routers: w, Metrics: w, Watch: w}
		if ev, err := s.Of(t.Context(), "d"); err != nil || len(ev.Firing) != want {
			t.Errorf("%s: %+v, %v", name, ev.Firing, err)
		}
	}
}

// An alarm that sees nothing of the evidence that it watches is no evidence of calm:
// the bake starts over until there is room.
func TestADeploymentWhoseAlarmsSeeNoEvidenceIsNotObserved(t *testing.T) {
	full := fault.New(fault.Limit, "There is no room.")
	for name, c := range map[string]struct {
		on  []string
		err error
		gap string
	}{
		"an alarm on evidence":    {[]string{"b"}, full, `no room for the series of evidence that alarm "b" watches`},
		"no alarm on evidence":    {nil, full, ""},
		"there is room":           {[]string{"b"}, nil, ""},
		"no room, said otherwise": {[]string{"a"}, fmt.Errorf("begin: %w", full), `alarm "a"`},
	} {
		w := &world{endpoint: under(rollout.Baking, 0)}
		s := &evidence.Source{
			Endpoints: w, Alarms: w, Watch: w,
			Follow:     func(context.Context, hosting.DeploymentID, *hosting.Endpoint) error { return c.err },
			OnEvidence: func(arn.Scope, []string) []string { return c.on },
		}
		ev, err := s.Of(t.Context(), "d")
		last := ev.Observed.Last
		if err != nil || !strings.Contains(last.Missed, c.gap) || (last.Missed == "") != (c.gap == "") {
			t.Errorf("%s: %+v, %v", name, last, err)
		}
	}
}
