package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func newGate() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "gate ENDPOINT",
		Short: "Show what compares the new fleet of a running deployment with the old one",
		Long: `Shows the gates of the deployment in progress: what each was told and by whom, how strongly
what was seen speaks against the new fleet, what is proven, why nothing can be compared, and
how often updates like this one are rolled back though nothing is wrong with them.

EVIDENCE is a power of ten: 3 is 1,000 to 1 against the new fleet. A gate fires when it is
above its THRESHOLD. It is never the probability that the new fleet is bad.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, &c, "DescribeGates", slipway.DescribeGatesInput{EndpointName: &args[0]}, showGates)
		},
	}
	c.bind(cmd)
	return cmd
}

func showGates(w io.Writer, out slipway.DescribeGatesOutput) error {
	p := newPage(w)
	p.line("%s", clean(shape.Val(out.Summary)))
	if out.DeploymentId != nil {
		p.line("")
		p.facts([][2]string{
			{"Deployment", clean(*out.DeploymentId)},
			{"Endpoint", clean(shape.Val(out.EndpointArn))},
			{"From", clean(shape.Val(out.PreviousEndpointConfigName))},
			{"To", clean(shape.Val(out.EndpointConfigName))},
		}...)
	}
	p.gates(out.Gates)
	return p.print(w)
}

// gates prints what gates came to, and below it what they say and were told.
func (p *page) gates(all []slipway.DeploymentGate) {
	if len(all) == 0 {
		return
	}
	var rows []table.Row
	for _, g := range all {
		rows = append(rows, table.Row{
			clean(shape.Val(g.GateName)), clean(shape.Val(g.VariantName)), clean(shape.Val(g.Action)),
			clean(shape.Val(g.Origin)), decades(g.Evidence), decades(g.Threshold), decades(g.Proof), many(g.Requests),
		})
	}
	p.line("")
	p.table(
		table.Row{"GATE", "VARIANT", "ACTION", "SET BY", "EVIDENCE", "THRESHOLD", "PROOF", "REQUESTS"}, rows,
		"EVIDENCE", "THRESHOLD", "PROOF", "REQUESTS",
	)
	for _, g := range all {
		var words []string
		for _, w := range g.Words {
			words = append(words, clean(shape.Val(w.Word)+"="+shape.Val(w.Value)))
		}
		p.line(
			"\n%s of %s: %s", clean(shape.Val(g.GateName)), clean(shape.Val(g.VariantName)), strings.Join(words, " "),
		)
		for _, s := range g.Statements {
			p.line("  %s", clean(s))
		}
	}
}

func decades(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", *v)
}

func many(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
