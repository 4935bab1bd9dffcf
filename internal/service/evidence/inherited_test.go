package evidence_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/store"
	storealarms "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	storemetrics "github.com/slipway-ml/slipway/internal/platform/store/metrics"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/evidence"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

var here = arn.Scope{Region: "us-east-1", Account: "000000000000"}

var odds = metric.ID{Namespace: alarm.Evidence, Name: "AnyEvidence", Dimensions: []metric.Dimension{
	{Name: "EndpointName", Value: "e"}, {Name: "VariantName", Value: "v"},
}}

// judged is an endpoint whose deployments are judged by every alarm of a table.
type judged struct {
	t      *testing.T
	alarms *alarms.Service
	names  []string
	begun  time.Time
	phase  rollout.State
	// scarce has values come every ten seconds except in the first and the last
	// minute of a phase: alarms of long periods miss none, and each of their
	// evaluations reads all values of many minutes.
	scarce bool
}

// EndpointOf implements evidence.Endpoints.
func (j *judged) EndpointOf(context.Context, hosting.DeploymentID) (*hosting.Endpoint, error) {
	return &hosting.Endpoint{Scope: here, Name: "e", Deployment: &hosting.Deployment{
		Begun: j.begun, State: j.phase, Green: &hosting.Fleet{ConfigName: "c"},
		Plan: rollout.Plan{Policy: rollout.Policy{Alarms: j.names}},
	}}, nil
}

// LastGap implements evidence.Watcher.
func (j *judged) LastGap() rollout.Gap { return rollout.Gap{} }

// define puts an alarm for each of some periods, M out of N and treatment of
// missing data.
func (j *judged) define(periods ...int) {
	for _, period := range periods {
		for _, of := range [][2]int{{1, 1}, {2, 3}, {3, 3}} {
			for _, treat := range []string{alarm.Missing, alarm.Ignore, alarm.Breaching, alarm.NotBreaching} {
				d := alarm.Definition{
					Name: fmt.Sprintf("%ds %d of %d %s", period, of[0], of[1], treat), Metric: odds,
					Statistic: "Maximum", Period: period, DatapointsToAlarm: of[0], EvaluationPeriods: of[1],
					Threshold: new(2.0), ComparisonOperator: alarm.Greater, TreatMissingData: treat,
				}
				if err := j.alarms.PutAlarm(j.t.Context(), here, d, nil); err != nil {
					j.t.Fatal(err)
				}
				j.names = append(j.names, d.Name)
			}
		}
	}
	d := alarm.Definition{Name: "above", Rule: fmt.Sprintf("ALARM(%q)", j.names[1])}
	if err := j.alarms.PutAlarm(j.t.Context(), here, d, nil); err != nil {
		j.t.Fatal(err)
	}
	j.names = append(j.names, d.Name)
}

// say publishes a value time and again for a while, and returns how often an alarm
// stood against the deployment meanwhile, by alarm.
func (j *judged) say(value float64, during time.Duration) map[string]int {
	j.t.Helper()
	stood := map[string]int{}
	source := &evidence.Source{Endpoints: j, Alarms: j.alarms, Watch: j}
	for n := range during / time.Second {
		if left := during/time.Second - n; !j.scarce || n < 60 || left <= 60 || n%10 == 0 {
			if err := j.alarms.Metrics.PutEvidence(here, odds, time.Now(), value); err != nil {
				j.t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n > 60 && n%7 != 0 { // the first minute is the one that matters
			continue
		}
		ev, err := source.Of(j.t.Context(), "d")
		if err != nil {
			j.t.Fatal(err)
		}
		for _, a := range ev.Firing {
			stood[a.Name]++
		}
	}
	return stood
}

func (j *judged) begin() {
	j.t.Helper()
	if err := j.alarms.Begin(j.t.Context(), here, odds); err != nil {
		j.t.Fatal(err)
	}
	j.begun = time.Now()
	j.phase = rollout.State{Phase: rollout.Launching, Begun: j.begun, Since: j.begun}
}

// A deployment is rolled back by its evidence, and a next one begins at once:
// whatever the alarms, it is judged by its own evidence, from the moment that it
// begins, and of that by all of them.
func TestNoVerdictIsInherited(t *testing.T) {
	for name, c := range map[string]struct {
		periods            []int
		first, next, again time.Duration // until all alarms have seen all that they look back on
	}{
		"by alarms of short periods": {[]int{1, 10}, 3 * time.Minute, 4 * time.Minute, 2 * time.Minute},
		"by alarms of long periods":  {[]int{60, 300}, 25 * time.Minute, 20 * time.Minute, 16 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inAWorld(t, func(t *testing.T, j *judged) {
				j.define(c.periods...)
				j.scarce = c.periods[0] > 10
				time.Sleep(17*time.Second + 400*time.Millisecond) // no period begins just then
				j.begin()
				stood := j.say(5, c.first)
				for _, n := range j.names {
					if stood[n] == 0 {
						t.Errorf("%s never fired", n)
					}
				}
				j.begin()
				if stood := j.say(0, 2*time.Minute); len(stood) > 0 {
					t.Errorf("in Launching, the verdict on the deployment before stood so many seconds: %v", stood)
				}
				j.phase = rollout.State{Phase: rollout.Baking, Begun: j.begun, Since: time.Now()}
				if stood := j.say(0, c.next); len(stood) > 0 {
					t.Errorf("in Baking, the verdict on the deployment before stood so many seconds: %v", stood)
				}
				stood = j.say(5, c.again)
				for _, n := range j.names {
					if stood[n] == 0 {
						t.Errorf("%s does not fire on evidence of the deployment itself", n)
					}
				}
			})
		})
	}
}

// What began by a clock that was set back since is judged by evidence at once, and not
// only when the clock has caught up.
func TestEvidenceCountsAtOnceWhenTheClockWasSetBack(t *testing.T) {
	inAWorld(t, func(t *testing.T, j *judged) {
		j.define(1, 10)
		j.begin()
		j.begun = j.begun.Add(time.Hour)
		stood := j.say(5, 3*time.Minute)
		for _, n := range j.names {
			if stood[n] == 0 {
				t.Errorf("%s never fired", n)
			}
		}
	})
}

// inAWorld runs a test under virtual time with the real store, metrics and alarms.
func inAWorld(t *testing.T, test func(*testing.T, *judged)) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		log := slog.New(slog.DiscardHandler)
		m, err := metrics.New(t.Context(), metrics.Config{Store: storemetrics.New(db), Log: log})
		if err != nil {
			t.Fatal(err)
		}
		as, err := alarms.New(t.Context(), alarms.Config{Store: storealarms.New(db), Metrics: m, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { as.Run(ctx) })
		defer func() { cancel(); wg.Wait() }()
		test(t, &judged{t: t, alarms: as})
	})
}
