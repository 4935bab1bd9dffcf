package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

func TestAStageDeploysToTheDevicesThatItNames(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("canary", "d001", "d002"))
		w.want("p", "canary", edge.StageReady, edge.Counts{})
		if got := w.poll("d001"); len(got) != 0 {
			t.Error("offered before its start:", got)
		}
		w.start("p", "canary")
		w.want("p", "canary", edge.StageInProgress, edge.Counts{Ready: 2})
		orders := w.poll("d001")
		if len(orders) != 1 || len(orders[0].Name) != 28 || orders[0].OnFailure != edge.RollbackOnFailure ||
			len(orders[0].Definitions) != 1 || orders[0].Definitions[0] != (edge.Definition{
			Handle: "m", S3URL: "s3://b/p-job", SHA1: "sha1-of-p-job", State: edge.Deploy,
		}) {
			t.Fatalf("%+v", orders)
		}
		if again := w.poll("d001"); len(again) != 1 || again[0].Name != orders[0].Name {
			t.Errorf("asked again: %+v", again)
		}
		w.want("p", "canary", edge.StageInProgress, edge.Counts{Ready: 1, InProgress: 1})
		w.report("d001", orders[0].Name, "SUCCESS")
		w.report("d001", orders[0].Name, "SUCCESS")
		w.report("d001", orders[0].Name, "FAIL")
		if left := w.poll("d001"); len(left) != 0 {
			t.Error("a finished deployment was offered again:", left)
		}
		w.report("d002", orders[0].Name, "success") // its own poll was never answered
		w.settle()
		w.want("p", "canary", edge.StageDeployed, edge.Counts{Deployed: 2})
		r := w.rows("p", "canary")["d001"]
		if r.Status != edge.DeviceDeployed || r.OwnerStage != "canary" || r.Started.IsZero() {
			t.Errorf("%+v", r)
		}
		refused(t, w.StartStage(t.Context(), scope, "p", "canary"), fault.Invalid, "DEPLOYED already")
		refused(t, w.StopStage(t.Context(), scope, "p", "canary"), fault.Invalid, "only a stage that runs")
		refused(
			t, w.StartStage(t.Context(), scope, "p", "x"), fault.NotFound,
			"Could not find stage 'x' in edge deployment plan 'p'.",
		)
		refused(
			t, w.StartStage(t.Context(), scope, "x", "x"), fault.NotFound, "Could not find edge deployment plan 'x'.",
		)
	})
}

func TestAPlanIsCheckedWhenItIsMade(t *testing.T) {
	onWorlds(t, func(w *world) {
		ctx := t.Context()
		makeFleet(t, w.Service, "f", 1)
		w.depot.missing["gone"] = true
		p := edge.Plan{Scope: scope, Name: "p", Fleet: "f", Models: []edge.ModelConfig{{Handle: "m", Job: "j"}}}
		try := func(change func(*edge.Plan)) error {
			q := p
			change(&q)
			_, err := w.CreatePlan(ctx, q, nil)
			return err
		}
		refused(t, try(func(p *edge.Plan) { p.Models = nil }), fault.Invalid, "between 1 and 20")
		refused(t, try(func(p *edge.Plan) { p.Models = append(p.Models, p.Models[0]) }), fault.Invalid, "given twice")
		refused(t, try(func(p *edge.Plan) { p.Models[0].Job = "gone" }), fault.Invalid, "not COMPLETED")
		p.Models = []edge.ModelConfig{{Handle: "m", Job: "j"}}
		refused(t, try(func(p *edge.Plan) { p.Fleet = "x" }), fault.NotFound, "No device fleet with name x")
		refused(
			t, try(func(p *edge.Plan) { p.Stages = []edge.Stage{percent("s", 1), percent("s", 2)} }), fault.Invalid,
			"given twice",
		)
		eleven := make([]edge.Stage, 11)
		for i := range eleven {
			eleven[i] = percent(fmt.Sprint("s", i), 1)
		}
		refused(t, try(func(p *edge.Plan) { p.Stages = eleven }), fault.Limit, "at most 10 stages")
		ok(t, try(func(p *edge.Plan) { p.Stages = eleven[:10] }))
		refused(t, try(func(*edge.Plan) {}), fault.InUse, "already exists")
		refused(t, w.AddStages(ctx, scope, "p", eleven[10:]), fault.Limit, "at most 10 stages")
		got, err := w.Plan(ctx, scope, "p")
		ok(t, err)
		if len(got.Stages) != 10 || got.Stages[9].Name != "s9" ||
			got.ARN() != "arn:aws:sagemaker:us-east-1:000000000000:edge-deployment/p" {
			t.Errorf("%+v", got)
		}
		ok(t, w.DeleteStage(ctx, scope, "p", "s3"))
		ok(t, w.AddStages(ctx, scope, "p", []edge.Stage{percent("s3", 1)}))
		if got, err = w.Plan(ctx, scope, "p"); err != nil || got.Stages[9].Name != "s3" {
			t.Error(got.Stages, err)
		}
		ok(t, w.DeletePlan(ctx, scope, "p"))
		refused(t, w.DeletePlan(ctx, scope, "p"), fault.NotFound, "Could not find edge deployment plan 'p'.")
		w.settle()
	})
}

func TestBothHabitsOfPercentagesReachEveryDevice(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 20)
		for name, habit := range map[string][]int{"growing": {10, 50, 100}, "parts": {10, 20, 70}} {
			sizes, seen := []int{}, map[string]bool{}
			var stages []edge.Stage
			for i, p := range habit {
				stages = append(stages, percent(fmt.Sprint("s", i), p))
			}
			w.plan(name, stages...)
			for _, st := range stages {
				w.start(name, st.Name)
				rows := w.rows(name, st.Name)
				sizes = append(sizes, len(rows))
				for _, d := range devices(rows) {
					if seen[d] {
						t.Errorf("%s: %s was selected twice", name, d)
					}
					seen[d] = true
				}
				w.work("SUCCESS", devices(rows)...)
				w.want(name, st.Name, edge.StageDeployed, edge.Counts{Deployed: len(rows)})
			}
			if want := map[string][]int{"growing": {2, 10, 8}, "parts": {2, 4, 14}}[name]; !slices.Equal(sizes, want) ||
				len(seen) != 20 {
				t.Errorf("%s: %v, want %v", name, sizes, want)
			}
			ok(t, w.AddStages(t.Context(), scope, name, []edge.Stage{percent("more", 1)}))
			refused(t, w.StartStage(t.Context(), scope, name, "more"), fault.Invalid, "Nothing to deploy")
		}
	})
}

func TestADryRunShowsWhatAStartWouldSelect(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 30)
		w.plan("p", named("a", "d003", "d017"), percent("b", 40), containing("c", "d00"))
		dry := w.rows("p", "b")
		if len(dry) != 12 {
			t.Errorf("%d devices", len(dry))
		}
		w.start("p", "a")
		dry = w.rows("p", "b")
		for _, d := range dry {
			if d.Status != edge.DeviceReady || !d.Started.IsZero() || d.Device == "d003" || d.OwnerStage != "" {
				t.Errorf("%+v", d)
			}
		}
		if c := w.rows("p", "c"); len(c) != 10 || c["d003"].OwnerStage != "a" || c["d004"].OwnerStage != "" {
			t.Errorf("%+v", c)
		}
		w.start("p", "b")
		if got := devices(w.rows("p", "b")); !slices.Equal(got, devices(dry)) || len(got) != 12 {
			t.Errorf("selected %v, the dry run said %v", got, devices(dry))
		}
	})
}

func TestADeviceInTwoStagesBelongsToOne(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("one", "d000", "d001"), containing("two", "d00"), named("three", "d000"))
		w.start("p", "one")
		w.work("SUCCESS", "d000")
		w.start("p", "two")
		w.want("p", "two", edge.StageInProgress, edge.Counts{Ready: 2})
		rows := w.rows("p", "two")
		if len(rows) != 4 || rows["d000"].OwnerStage != "one" || rows["d000"].Status != edge.DeviceDeployed ||
			rows["d001"].OwnerStage != "one" || rows["d002"].OwnerStage != "two" {
			t.Errorf("%+v", rows)
		}
		own, _, err := w.StageDevices(t.Context(), scope, "p", "two", edge.RowFilter{ExcludeOwnedElsewhere: true})
		if len(own) != 2 || err != nil {
			t.Error(own, err)
		}
		refused(t, w.StartStage(t.Context(), scope, "p", "three"), fault.Invalid, "Nothing to deploy")
		// What failed in one stage, another may take over.
		w.work("FAIL", "d001")
		w.want("p", "one", edge.StageFailed, edge.Counts{Deployed: 1, Failed: 1})
		w.work("FAIL", "d002", "d003")
		w.want("p", "two", edge.StageFailed, edge.Counts{Failed: 2})
		w.start("p", "two")
		w.want("p", "one", edge.StageFailed, edge.Counts{Deployed: 1})
		w.want("p", "two", edge.StageInProgress, edge.Counts{Ready: 3})
		if r := w.rows("p", "one")["d001"]; r.OwnerStage != "two" || r.Status != edge.DeviceReady {
			t.Errorf("%+v", r)
		}
	})
}

func TestAStartIsRefusedWhereItCannotGoWell(t *testing.T) {
	onWorlds(t, func(w *world) {
		ctx := t.Context()
		makeFleet(t, w.Service, "f", 3)
		many := []string{"d000"}
		for i := range 12 {
			many = append(many, fmt.Sprintf("x%02d", i))
		}
		w.plan("p", named("missing", many...), containing("none", "zzz"), percent("all", 100))
		refused(
			t, w.StartStage(ctx, scope, "p", "missing"), fault.Invalid,
			"x00, x01, x02, x03, x04, x05, x06, x07, x08, x09 and 2 more",
		)
		refused(t, w.StartStage(ctx, scope, "p", "none"), fault.Invalid, "Nothing to deploy")
		w.depot.tampered["s3://b/p-job"] = true
		refused(t, w.StartStage(ctx, scope, "p", "all"), fault.Invalid, "is not what the job made")
		w.depot.tampered["s3://b/p-job"] = false
		w.want("p", "missing", edge.StageReady, edge.Counts{})
		w.start("p", "all")
		ok(t, w.StartStage(ctx, scope, "p", "all")) // again: it goes on
		refused(t, w.DeletePlan(ctx, scope, "p"), fault.InUse, "cannot be deleted")
		refused(t, w.DeleteStage(ctx, scope, "p", "all"), fault.InUse, "cannot be deleted")
		refused(t, w.DeleteFleet(ctx, scope, "f"), fault.InUse, "in use by stage all of edge deployment plan p")
		// Another plan with the same handle waits; one with another does not.
		w.plan("q", percent("all", 34), named("one", "d001"))
		refused(
			t, w.StartStage(ctx, scope, "q", "all"), fault.Invalid,
			"Stage 'all' of edge deployment plan 'p' is deploying to model handle m of device",
		)
		w.planOf("r", []edge.ModelConfig{{Handle: "other", Job: "r-job"}}, named("one", "d001"))
		w.start("r", "one")
		if o := w.poll("d001"); len(o) != 2 || o[0].Definitions[0].Handle != "m" ||
			o[1].Definitions[0].Handle != "other" {
			t.Errorf("oldest stage first: %+v", o)
		}
		w.work("SUCCESS", "d001")
		w.start("q", "one")
	})
}

func TestStoppingAndResuming(t *testing.T) {
	onWorlds(t, func(w *world) {
		ctx := t.Context()
		makeFleet(t, w.Service, "f", 5)
		w.plan("p", percent("all", 100))
		refused(t, w.StopStage(ctx, scope, "p", "all"), fault.Invalid, "only a stage that runs")
		w.start("p", "all")
		first := w.poll("d000")[0].Name
		w.poll("d001")
		w.work("SUCCESS", "d002")
		ok(t, w.StopStage(ctx, scope, "p", "all"))
		if o := w.poll("d003"); len(o) != 0 {
			t.Error("a stage that was stopped offers still:", o)
		}
		w.settle()
		w.want("p", "all", edge.StageStopping, edge.Counts{Stopping: 2, Deployed: 1, Stopped: 2})
		ok(t, w.StopStage(ctx, scope, "p", "all"))
		refused(t, w.StartStage(ctx, scope, "p", "all"), fault.Invalid, "STOPPING")
		w.report("d000", first, "SUCCESS")
		w.report("d001", first, "FAIL")
		w.settle()
		w.want("p", "all", edge.StageStopped, edge.Counts{Deployed: 2, Failed: 1, Stopped: 2})
		// What registers later is not in it.
		ok(t, w.Register(ctx, scope, "f", []edge.Device{{Name: "late"}}, nil))
		w.start("p", "all")
		w.want("p", "all", edge.StageInProgress, edge.Counts{Ready: 3, Deployed: 2})
		if o := w.poll("d001"); len(o) != 1 || o[0].Name == first {
			t.Errorf("%+v", o)
		}
		w.report("d001", first, "SUCCESS") // of the order before
		w.want("p", "all", edge.StageInProgress, edge.Counts{Ready: 2, InProgress: 1, Deployed: 2})
		w.work("SUCCESS", "d001", "d003", "d004", "late")
		w.want("p", "all", edge.StageDeployed, edge.Counts{Deployed: 5})
	})
}

func TestDevicesThatLeaveEndWhatWasWantedOfThem(t *testing.T) {
	onWorlds(t, func(w *world) {
		ctx := t.Context()
		makeFleet(t, w.Service, "f", 3)
		w.plan("p", percent("all", 100))
		w.start("p", "all")
		w.work("SUCCESS", "d000")
		w.poll("d001")
		ok(t, w.Deregister(ctx, scope, "f", []string{"d001", "d002"}))
		w.settle()
		w.want("p", "all", edge.StageDeployed, edge.Counts{Deployed: 1, Stopped: 2})
		if r := w.rows("p", "all")["d001"]; r.Message != "device deregistered" || r.Status != edge.DeviceStopped {
			t.Errorf("%+v", r)
		}
		_, _, err := w.Deployments(ctx, scope, edge.Caller{}, "f", "d001")
		refused(t, err, fault.NotFound, "No device with name d001")
		ok(t, w.Register(ctx, scope, "f", []edge.Device{{Name: "d001"}}, nil))
		if o := w.poll("d001"); len(o) != 0 {
			t.Error("a device that came back joined again:", o)
		}
	})
}

func TestADeletedStageGivesItsDevicesBack(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", percent("a", 100), percent("b", 100))
		w.start("p", "a")
		w.work("SUCCESS", "d000", "d001", "d002", "d003")
		refused(t, w.StartStage(t.Context(), scope, "p", "b"), fault.Invalid, "Nothing to deploy")
		ok(t, w.DeleteStage(t.Context(), scope, "p", "a"))
		if p, err := w.Plan(t.Context(), scope, "p"); err != nil || p.Totals != (edge.Counts{}) {
			t.Error(p, err)
		}
		w.start("p", "b")
		w.want("p", "b", edge.StageInProgress, edge.Counts{Ready: 4})
		h, err := w.History(t.Context(), scope, "p")
		ok(t, err)
		var told strings.Builder
		for _, e := range h {
			told.WriteString(e.Stage + " " + string(e.Kind) + ": " + e.Text + "\n")
		}
		for _, want := range []string{
			"created with 2 stages", "a Stage: STARTING: 100 percent of the fleet of 4 devices",
			"a Stage: DEPLOYED: 4 succeeded", "stage deleted: it was DEPLOYED",
			"b Stage: INPROGRESS: 0 succeeded, 0 failed, 4 pending",
		} {
			if !strings.Contains(told.String(), want) {
				t.Errorf("the record does not tell %q:\n%s", want, told.String())
			}
		}
	})
}

func TestPlansAreListed(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		for _, n := range []string{"b", "a", "c"} {
			w.plan(n, percent("s", 50))
		}
		w.start("a", "s")
		for _, by := range []edge.SortBy{
			"", edge.ByPlainName, edge.ByFleetName, edge.ByCreationTime, edge.ByModifiedTime,
		} {
			f, seen := edge.PlanFilter{SortBy: by, Limit: 1}, ""
			for more := true; more; {
				page, m, err := w.ListPlans(t.Context(), scope, f)
				ok(t, err)
				more = m
				seen += page[0].Name
				if page[0].Name == "a" && page[0].Totals.Pending() != 2 || len(page[0].Stages) != 0 {
					t.Errorf("%+v", page[0])
				}
				f.After = f.Cursor(page[0])
			}
			if want := map[edge.SortBy]string{
				"": "cab", edge.ByPlainName: "cba", edge.ByFleetName: "cba", edge.ByCreationTime: "cab",
				edge.ByModifiedTime: "acb",
			}[by]; seen != want {
				t.Errorf("%s: %s, want %s", by, seen, want)
			}
		}
		if ps, _, err := w.ListPlans(t.Context(), scope, edge.PlanFilter{FleetContains: "x"}); len(ps) != 0 ||
			err != nil {
			t.Error(ps, err)
		}
	})
}
