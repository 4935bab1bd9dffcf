package slipway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

func TestTheRecordOfADeploymentThatSucceeded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.data = "92eb5ffee6ae2fec3ad71c777531578f" // somebody has overwritten it
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.answered = 42
		w.after(5 * time.Minute)
		w.after(2 * time.Minute)
		w.golden("succeeded.json", w.describe())
		w.golden("list.json", w.ok("Slipway.ListDeployments", `{"EndpointName":"e"}`))
	})
}

func TestTheRecordOfADeploymentThatAnAlarmRolledBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		time.Sleep(31 * time.Second)
		w.answered = 7
		w.firing = []hosting.TrippedAlarm{
			{Name: "errors", Reason: "Threshold Crossed: 1 datapoint [0.5] was greater than the threshold " +
				"(0.1).", Since: time.Now().UTC(), Taken: time.Now().UTC().Add(time.Second)},
		}
		w.settle()
		w.golden("rolled-back.json", w.describe())
	})
}

func TestARunningDeploymentSaysHowTheOldFleetDoes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		if d := w.describe(); strings.Contains(d, "PreviousFleetTrouble") {
			w.t.Errorf("one that is well: %s", d)
		}
		e, is, err := w.db.EndpointView(w.t.Context(), scope, "e")
		for _, i := range is {
			if err == nil && i.Fleet == e.Fleet.ID {
				_, err = w.db.ReportInstance(w.t.Context(), hosting.InstanceReport{
					ID: i.ID, Status: hosting.InstanceUnhealthy, Address: "a", Detail: "/ping answered 503",
				}, time.Now().UTC())
			}
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if d := w.describe(); !strings.Contains(d, `"PreviousFleetTrouble":"0 of `) ||
			!strings.Contains(d, "/ping answered 503") {
			w.t.Errorf("of one whose checks all fail is said: %s", d)
		}
		events := w.ok("Slipway.ListDeployments", `{"EndpointName":"e"}`)
		for _, d := range []string{w.describe(), events} {
			if strings.Count(d, `"Kind":"PreviousFleet","Message":"0 of `) != 1 {
				w.t.Errorf("what happened to it is told: %s", d)
			}
		}
		w.settle()
	})
}

// What happened beside the steps of deployments is told, too: none healthy, and yet
// requests go to those that run.
func TestAnOutageIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		report := func(status hosting.InstanceStatus) {
			w.t.Helper()
			_, is, err := w.db.EndpointView(w.t.Context(), scope, "e")
			for _, i := range is {
				if err == nil {
					_, err = w.db.ReportInstance(w.t.Context(), hosting.InstanceReport{
						ID: i.ID, Status: status, Address: "a",
					}, time.Now().UTC())
				}
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		report(hosting.InstanceUnhealthy)
		const outage = "No instance passes its health checks: requests go to all that run, "
		if d := w.ok("SageMaker.DescribeEndpoint", `{"EndpointName":"e"}`); !strings.Contains(d, outage) {
			w.t.Errorf("while it lasts, DescribeEndpoint says %s", d)
		}
		report(hosting.InstanceReady)
		if d := w.ok("SageMaker.DescribeEndpoint", `{"EndpointName":"e"}`); strings.Contains(d, outage) {
			w.t.Errorf("afterwards, DescribeEndpoint says %s", d)
		}
		d := w.ok("Slipway.ListDeployments", `{"EndpointName":"e","MaxResults":3}`)
		if !strings.Contains(d, "The endpoint was InService and is OutOfService. "+outage) ||
			!strings.Contains(d, "The endpoint was OutOfService and is InService.") {
			w.t.Errorf("of what happened is told %s", d)
		}
	})
}

func TestThoseWhoStepInAreInTheRecordWithWhatItDid(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.answered = 1
		w.after(time.Minute)
		w.ok("Slipway.PauseDeployment", `{"EndpointName":"e"}`)
		w.after(10 * time.Minute)
		w.golden("paused.json", w.describe())
		w.refused(
			"Slipway.PauseDeployment", `{"EndpointName":"e"}`,
			`{"__type":"ValidationException","message":"The deployment is paused already."}`,
		)
		w.ok("Slipway.ResumeDeployment", `{"EndpointName":"E"}`)
		w.after(time.Minute)
		w.ok("Slipway.PromoteDeployment", `{"EndpointName":"e"}`)
		w.settle()
		w.after(time.Second)
		w.golden("promoted.json", w.describe())
		w.refused("Slipway.AbortDeployment", `{"EndpointName":"e"}`,
			`{"__type":"ValidationException","message":"Endpoint `+
				`\"arn:aws:sagemaker:us-east-1:000000000000:endpoint/e\" has no deployment in progress."}`)
	})
}

func TestAnAbortRollsBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.after(time.Minute)
		out := w.ok("Slipway.AbortDeployment", `{"EndpointName":"e"}`)
		if want := `{"EndpointArn":"arn:aws:sagemaker:us-east-1:000000000000:endpoint/e","DeploymentId":"` + w.last() +
			`"}`; out != want {
			t.Errorf("got %s, want %s", out, want)
		}
		w.settle()
		var d struct{ Verdict, Summary string }
		if err := json.Unmarshal([]byte(w.describe()), &d); err != nil {
			t.Fatal(err)
		}
		const want = `The update to "v2" was rolled back after 1m0s: "v1" serves. Endpoint deployment was aborted by ` +
			`arn:aws:iam::000000000000:user/ada.`
		if d.Verdict != "RolledBack" || d.Summary != want {
			t.Errorf("%+v", d)
		}
	})
}

func TestAPlanIsWhatThenRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		plan := w.ok("Slipway.PlanUpdateEndpoint", canary)
		w.golden("plan.json", plan)
		if n := strings.Count(w.ok("Slipway.ListDeployments", `{"EndpointName":"e"}`), "DeploymentId"); n != 1 {
			t.Errorf("planning began a deployment: there are %d", n)
		}
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.after(5 * time.Minute)
		w.after(2 * time.Minute)

		type step struct {
			Phase                              string
			StepNumber                         int
			StartsAfterSeconds, ElapsedSeconds float64
			WaitInSeconds, DurationSeconds     float64
			Variants                           []map[string]any
		}
		var planned struct{ Plan struct{ Steps []step } }
		var ran struct{ Steps []step }
		if json.Unmarshal([]byte(plan), &planned) != nil || json.Unmarshal([]byte(w.describe()), &ran) != nil {
			t.Fatal("no JSON")
		}
		if len(ran.Steps) != len(planned.Plan.Steps) {
			t.Fatalf("planned %d steps, ran %d", len(planned.Plan.Steps), len(ran.Steps))
		}
		for i, p := range planned.Plan.Steps {
			r := ran.Steps[i]
			if p.Phase != r.Phase || p.StepNumber != r.StepNumber || p.StartsAfterSeconds != r.ElapsedSeconds ||
				p.WaitInSeconds != r.DurationSeconds ||
				fmt.Sprint(p.Variants) != fmt.Sprint(r.Variants) {
				t.Errorf("step %d: planned %+v, ran %+v", i, p, r)
			}
		}
	})
}

func TestAPlanIsRefusedAsTheUpdateWouldBe(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		for _, body := range []string{
			`{"EndpointName":"e","EndpointConfigName":"v1"}`, `{"EndpointName":"nope","EndpointConfigName":"v2"}`,
			`{"EndpointName":"e","EndpointConfigName":"nope"}`, `{"EndpointName":"e"}`,
			`{"EndpointName":"e e","EndpointConfigName":"v2"}`,
			`{"EndpointName":"e","EndpointConfigName":"v2","RetainDeploymentConfig":true,` +
				`"DeploymentConfig":{"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"ALL_AT_ONCE",` +
				`"WaitIntervalInSeconds":0}}}}`,
		} {
			status, want := w.call("SageMaker.UpdateEndpoint", body)
			if status != 400 {
				t.Fatalf("%s: %d %s", body, status, want)
			}
			w.refused("Slipway.PlanUpdateEndpoint", body, want)
		}
	})
}

func TestWhatIsSuspiciousAboutAPlan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.ok("SageMaker.CreateEndpointConfig", `{"EndpointConfigName":"small","ProductionVariants":[
			{"VariantName":"main","ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.m5.large"},
			{"VariantName":"idle","ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.m5.large",
				"InitialVariantWeight":0}]}`)
		for name, c := range map[string]struct {
			change func(*rollout.Policy) // nil: no guardrails
			config string
			want   string
		}{
			"no guardrail at all":   {nil, "small", "NoGuardrail FewerInstances NoWeight Looked"},
			"a bake without alarms": {func(p *rollout.Policy) { p.Alarms = nil }, "v2", "NothingWatched Looked"},
			"a last step without one": {
				func(p *rollout.Policy) { p.TerminationWait = 0 }, "v2", "StepWithoutBake Looked",
			},
			"alarms without a bake": {
				func(p *rollout.Policy) { p.Strategy, p.TerminationWait = rollout.AllAtOnce, 0 }, "v2",
				"NoBake SizeIgnored Looked",
			},
			"nothing of its own": {func(*rollout.Policy) {}, "v2", "Looked"},
		} {
			if c.change != nil {
				w.policy(c.change)
			}
			body := fmt.Sprintf(
				`{"EndpointName":"e","EndpointConfigName":%q,"RetainDeploymentConfig":%t}`, c.config, c.change != nil,
			)
			var out struct{ Findings []struct{ Code string } }
			if err := json.Unmarshal([]byte(w.ok("Slipway.PlanUpdateEndpoint", body)), &out); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range out.Findings {
				got = append(got, f.Code)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s: %s, want %s", name, s, c.want)
			}
		}
	})
}

func TestDeploymentsArePaged(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		for i := range 3 {
			time.Sleep(time.Second)
			w.ok("SageMaker.UpdateEndpointWeightsAndCapacities", fmt.Sprintf(
				`{"EndpointName":"e","DesiredWeightsAndCapacities":[{"VariantName":"main","DesiredInstanceCount":%d}]}`,
				i+1,
			))
			w.settle()
		}
		var kinds []string
		token := ""
		for {
			var out struct {
				Deployments []struct{ Kind, Verdict, StartedBy string }
				NextToken   string
			}
			if err := json.Unmarshal(
				[]byte(w.ok("Slipway.ListDeployments", `{"EndpointName":"e","MaxResults":3,"NextToken":"`+token+`"}`)),
				&out,
			); err != nil {
				t.Fatal(err)
			}
			for _, d := range out.Deployments {
				kinds = append(kinds, d.Kind+" "+d.Verdict+" "+d.StartedBy)
			}
			if token = out.NextToken; token == "" {
				break
			}
		}
		const by = " Succeeded arn:aws:iam::000000000000:user/ada"
		if got, want := strings.Join(
			kinds, ";",
		), strings.Join([]string{"Scale" + by, "Scale" + by, "Scale" + by, "Create" + by}, ";"); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		w.refused(
			"Slipway.ListDeployments", `{"EndpointName":"e","NextToken":"x"}`,
			`{"__type":"ValidationException","message":"Invalid pagination token."}`,
		)
	})
}

func TestRefusalsAreInTheWordsOfTheAPI(t *testing.T) {
	inWorld(t, func(w *world) {
		const arn = `arn:aws:sagemaker:us-east-1:000000000000:endpoint/nope`
		w.refused(
			"Slipway.ListDeployments", `{"EndpointName":"nope"}`,
			`{"__type":"ValidationException","message":"Could not find endpoint \"`+arn+`\"."}`,
		)
		w.refused(
			"Slipway.PauseDeployment", `{"EndpointName":"nope"}`,
			`{"__type":"ValidationException","message":"Could not find endpoint \"`+arn+`\"."}`,
		)
		w.refused(
			"Slipway.DescribeDeployment", `{"DeploymentId":"d-1"}`,
			`{"__type":"ValidationException","message":"Could not find deployment \"d-1\"."}`,
		)
		w.refused(
			"Slipway.DescribeDeployment", `{}`,
			`{"__type":"ValidationException","message":"1 validation error detected: Value null at 'deploymentId' `+
				`failed to satisfy constraint: Member must not be null"}`,
		)
		w.refused(
			"Slipway.DeleteEndpoint", `{"EndpointName":"e"}`,
			`{"__type":"UnknownOperationException","message":"The operation DeleteEndpoint is not implemented by `+
				`Slipway."}`,
		)
	})
}
