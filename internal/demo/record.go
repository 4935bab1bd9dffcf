package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// deployment is what the demo checks of a deployment's record.
type deployment struct {
	ID       string `json:"DeploymentId"`
	To       string `json:"EndpointConfigName"`
	Verdict  string `json:"Verdict"`
	Requests int    `json:"Requests"` // that the new instances answered
}

// records shows what is kept of the deployments, with the commands that a
// person would use.
func (d *show) records(ctx context.Context) error {
	d.head("what is on record, in the commands' own words")
	if err := d.command(ctx, "deployments", endpoint); err != nil {
		return err
	}
	text, err := d.server.run(ctx, "deployments", endpoint, "--json")
	if err != nil {
		return err
	}
	all, err := parseDeployments(text)
	if err != nil {
		return err
	}
	if len(all) < 4 {
		return fmt.Errorf("%d deployments are on record", len(all))
	}
	drifted, misled, bad, good := all[0], all[1], all[2], all[3] // the newest comes first
	if err := d.command(ctx, "deployment", bad.ID); err != nil {
		return err
	}
	d.check(
		good.To == configOf("v2") && good.Verdict == "Succeeded" && bad.To == configOf(broken) &&
			bad.Verdict == "RolledBack" && misled.To == configOf(wrong) && misled.Verdict == "RolledBack" &&
			drifted.To == configOf(unmirrored) && drifted.Verdict == "RolledBack",
		"v2 is on record as %s, v3 as %s, v4 as %s, twice", good.Verdict, bad.Verdict, misled.Verdict,
	)
	got := d.traffic.exposed().requests
	d.check(
		bad.Requests == got, "so is what v3 was exposed to: %d requests of %d that the demo counted", bad.Requests, got,
	)
	took := d.traffic.phases[driftingV4].by[wrong]
	d.check(
		misled.Requests == 0 && drifted.Requests == took,
		"and v4: %d requests with copies first, %d without, of %d that the demo counted", misled.Requests,
		drifted.Requests, took,
	)
	if err := d.wantRecord(ctx, misled, "disagreement", configOf(wrong)+" answers "); err != nil {
		return err
	}
	if err := d.wantRecord(ctx, drifted, "drift", configOf(unmirrored)+"'s answers are "); err != nil {
		return err
	}

	// SageMaker's waiters take a rolled-back update for a success.
	_, err = d.server.run(ctx, "wait", endpoint)
	d.check(err != nil, "\"slipway wait %s\" fails, because the last update was rolled back", endpoint)
	return nil
}

func parseDeployments(text string) ([]deployment, error) {
	var list struct{ Deployments []deployment }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("slipway deployments --json: %w", err)
	}
	return list.Deployments, nil
}

// command runs one of slipway's own commands and shows what it prints.
func (d *show) command(ctx context.Context, args ...string) error {
	text, err := d.server.run(ctx, args...)
	if err != nil {
		return err
	}
	d.line("")
	d.note("$ slipway " + strings.Join(args, " "))
	for line := range strings.Lines(text) {
		d.line("  " + strings.TrimRight(line, " \n"))
	}
	d.line("")
	return nil
}
