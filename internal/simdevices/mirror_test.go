package simdevices

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// On a simulated device a comparison comes to what the seed says.
func TestASimulatedComparisonComesToWhatTheSeedSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &edge.Mirror{MaxDisagreement: 1, Time: 10 * time.Minute, MinPairs: 100}
		f := &Fleet{cfg: Config{Seed: 3, Differ: 0.3, Requests: 2}, begun: time.Now()}
		seen := map[string]int{}
		for i := range 300 {
			s := &sim{fleet: f, name: Name(i), loaded: []*model.Loaded{{Info: model.Info{Handle: "m"}}}}
			run, err := s.Begin("m", &runner{name: "digits", version: "2.0"}, m)
			if err != nil {
				t.Fatal(err)
			}
			trial := edge.NewTrial(m, nil)
			for trial.Finding == edge.Comparing {
				time.Sleep(20 * time.Second) // of the bubble
				trial.Add(run.Take(), 20*time.Second)
			}
			how := Differs(3, 0.3, s.name, "digits", "2.0")
			seen[how]++
			want := edge.Disagrees
			if how == "" {
				want = edge.Agrees
			}
			if trial.Finding != want {
				t.Fatalf("%s differs by %q, and the comparison is %+v", s.name, how, trial.Comparison)
			}
			run.End()
		}
		if seen[ByAnswers] < 20 || seen[ByFailures] < 20 || seen[""] < 150 {
			t.Errorf("300 devices differ by %v", seen)
		}
	})
}

// Without requests nothing is proven.
func TestASimulatedModelThatNobodyAsksProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &edge.Mirror{MaxDisagreement: 1, Time: time.Minute, MinPairs: 100}
		old := &model.Loaded{Info: model.Info{Handle: "m"}}
		s := &sim{fleet: &Fleet{begun: time.Now()}, name: Name(1), loaded: []*model.Loaded{old}}
		run, err := s.Begin("m", &runner{name: "digits", version: "2.0"}, m)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // of the bubble
		if got := edge.NewTrial(m, nil).Add(run.Take(), time.Minute); got != edge.NotProven {
			t.Errorf("it came to %s", got)
		}
	})
}
