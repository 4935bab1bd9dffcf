package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

const (
	// allowed is the percentage of answers in which v4 may differ from v2.
	allowed = 2
	// copiesFirst is how long a version gets copies of requests before any traffic,
	// unless its answers speak against it sooner.
	copiesFirst = 20 * time.Second
	// odds are what a gate asks for: so many to one.
	odds = 1000
)

// gatesOf returns the gates with which a version is deployed, as the tags of its
// endpoint configuration say it.
func gatesOf(version string) map[string]string {
	switch version {
	case wrong:
		return map[string]string{"disagreement": fmt.Sprintf(
			"action=rollback tolerance=%v output=json:predictions.0.label mirror=0.5 sideeffects=none first=%s "+
				"patience=10s", allowed/100., copiesFirst,
		)}
	case unmirrored:
		return map[string]string{
			"drift": fmt.Sprintf("action=rollback tolerance=%v output=json:predictions.0.label@label", allowed/100.),
		}
	}
	return nil
}

// mislead tries to replace v2 by v4, which no alarm on errors or latency finds: its
// answers are compared with v2's before anybody gets one.
func (d *show) mislead(ctx context.Context) error {
	d.head(fmt.Sprintf(
		"v4 answers everything in time, with status 200, and never reads an eight: it gets copies of requests first,\n"+
			"  and may answer at most %d %% of them otherwise than v2", allowed,
	))
	began := time.Now()
	out, err := d.replace(ctx, wrong, canary{1, canaryBake}, v4Began)
	if err != nil {
		return err
	}
	d.done("rollback", "v2 went on serving, v4 stopped, under load", time.Since(began))
	reason := aws.ToString(out.FailureReason)
	d.note("FailureReason: " + reason)
	serves := aws.ToString(out.EndpointConfigName)
	d.check(
		out.EndpointStatus == types.EndpointStatusInService && serves == configOf("v2"), "the endpoint is %s on %s",
		out.EndpointStatus, serves,
	)
	s, said := read(reason)
	d.check(
		said && s.differs > allowed && s.odds >= odds,
		"a gate found it: %.2g %% of answers differ, and evidence is %d to 1 after %d requests", s.differs, s.odds,
		s.compared,
	)
	at, why, err := d.tripped(ctx, wrong)
	if err != nil {
		return err
	}
	d.check(at.IsZero(), "its alarm on errors had nothing to say: every answer was a 200%s", short(why, 90))
	return nil
}

// drift tries v4 once more, and nobody copies requests: how often it answers which
// digit gives it away.
func (d *show) drift(ctx context.Context) error {
	d.head(fmt.Sprintf(
		"v4 again, without copies: half of the traffic at once, and each digit may be answered %d points more or less\n"+
			"  often than v2 does; the first ten seconds it is learnt how often that is", allowed,
	))
	began := time.Now()
	out, err := d.replace(ctx, unmirrored, canary{instances / 2, 60}, driftBegan)
	if err != nil {
		return err
	}
	d.done("rollback", "v2 serves everything, v4 stopped, under load", time.Since(began))
	reason := aws.ToString(out.FailureReason)
	d.note("FailureReason: " + reason)
	d.note("(labels are told by number, the most frequent first: which digit it is stays with the endpoint)")
	serves := aws.ToString(out.EndpointConfigName)
	d.check(
		out.EndpointStatus == types.EndpointStatusInService && serves == configOf("v2"), "the endpoint is %s on %s",
		out.EndpointStatus, serves,
	)
	d.check(
		strings.Contains(reason, `gate "drift" fired: `) &&
			strings.Contains(reason, configOf(unmirrored)+"'s answers are"),
		"a gate found that it answers other digits than v2",
	)
	return nil
}

// sentence is what a gate has against a version, in numbers.
type sentence struct {
	differs  float64 // percentage of the answers compared
	odds     int     // to one
	compared int     // requests
}

// read finds the numbers in what a gate of disagreement says; ok if it does.
func read(text string) (s sentence, ok bool) {
	m := regexp.MustCompile(
		`gate "disagreement" fired: \S+ answers ([0-9.]+) % of requests differently than .* ` +
			`evidence (?:more than )?1:([0-9,]+) after ([0-9,]+) requests`,
	).FindStringSubmatch(text)
	if m == nil {
		return s, false
	}
	whole := func(t string) int {
		n, _ := strconv.Atoi(strings.ReplaceAll(t, ",", "")) // digits and commas
		return n
	}
	s.differs, _ = strconv.ParseFloat(m[1], 64) // digits and points; more than one give 0
	s.odds, s.compared = whole(m[2]), whole(m[3])
	return s, true
}

// gateOf is what the demo reads of a deployment's gates.
type gateOf struct {
	Name       string   `json:"GateName"`
	Statements []string `json:"Statements"`
}

// wantRecord checks that the record of a deployment has what its gate said, and
// shows it.
func (d *show) wantRecord(ctx context.Context, of deployment, gate, says string) error {
	text, err := d.server.run(ctx, "deployment", of.ID, "--json")
	if err != nil {
		return err
	}
	var record struct{ Gates []gateOf }
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		return fmt.Errorf("slipway deployment --json: %w", err)
	}
	said := ""
	for _, g := range record.Gates {
		if g.Name == gate {
			said = strings.Join(g.Statements, " ")
		}
	}
	d.note("the record of " + of.To + ": " + said)
	d.check(strings.Contains(said, says), "it says so in words, and how strong the evidence was")
	return nil
}
