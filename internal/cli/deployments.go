package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func newDeployments() *cobra.Command {
	var c connection
	var limit int
	cmd := &cobra.Command{
		Use:   "deployments ENDPOINT",
		Short: "List what was deployed to an endpoint and how that came out",
		Long: `Lists the deployments of an endpoint, newest first: creating it, updating it, scaling it,
deleting it. They are known also after the endpoint is gone.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit must be at least 1")
			}
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			all, err := r.deployments(cmd.Context(), args[0], limit)
			if err != nil {
				return err
			}
			if !c.json {
				return showDeployments(cmd.OutOrStdout(), all)
			}
			answer, err := json.Marshal(all)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	c.bind(cmd)
	cmd.Flags().IntVar(&limit, "limit", 20, "how many to list at most")
	return cmd
}

// deployments reads the newest deployments of an endpoint, over several pages, and
// what else happened to it.
func (r *remote) deployments(
	ctx context.Context, endpoint string, limit int,
) (all slipway.ListDeploymentsOutput, err error) {
	in := slipway.ListDeploymentsInput{EndpointName: &endpoint}
	for {
		var page slipway.ListDeploymentsOutput
		in.MaxResults = new(int32(min(100, limit-len(all.Deployments))))
		if _, err := r.call(ctx, "ListDeployments", in, &page); err != nil {
			return all, err
		}
		all.Deployments, all.Events = append(all.Deployments, page.Deployments...), append(all.Events, page.Events...)
		in.NextToken = page.NextToken
		if in.NextToken == nil || len(all.Deployments) >= limit {
			return all, nil
		}
	}
}

func newDeployment() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "deployment ID",
		Short: "Show all that is known of a deployment",
		Long: `Shows a deployment from plan to verdict: every step with its time, its traffic, its
instances and how many requests it was exposed to, the alarms that tripped, and who
stepped in.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := slipway.DescribeDeploymentInput{DeploymentId: &args[0]}
			return ask(cmd, &c, "DescribeDeployment", in, showDeployment)
		},
	}
	c.bind(cmd)
	return cmd
}

// newOrders returns the commands that step in while a deployment runs.
func newOrders() (cmds []*cobra.Command) {
	for _, o := range []struct{ verb, op, short, long, done string }{
		{
			"pause", "PauseDeployment", "Hold the deployment of an endpoint where it is",
			`Holds the deployment in progress: no traffic moves on, and the wait of its step stands
still. Instances go on starting, MaximumExecutionTimeoutInSeconds goes on counting, and
failures and alarms roll back as ever.`,
			"Paused",
		},
		{"resume", "ResumeDeployment", "Let a paused deployment go on", `Ends a pause: the wait of the step goes on ` +
			`where it stood still.`, "Resumed"},
		{
			"promote", "PromoteDeployment", "Skip the waits that are left of a deployment",
			`Skips every wait that is left: traffic moves step by step, each only onto instances that
are ready and while no alarm fires, and the deployment commits.`,
			"Promoted",
		},
		{"abort", "AbortDeployment", "Roll back the deployment of an endpoint", `Rolls back the deployment in ` +
			`progress, as an alarm would.`, "Aborted"},
	} {
		var c connection
		cmd := &cobra.Command{
			Use: o.verb + " ENDPOINT", Short: o.short, Long: o.long + " The record of the deployment says who did it.",
			RunE: func(cmd *cobra.Command, args []string) error {
				show := func(w io.Writer, out slipway.OrderOutput) error {
					id := clean(shape.Val(out.DeploymentId))
					_, err := fmt.Fprintf(w, "%s deployment %s of endpoint %s.\n", o.done, id, args[0])
					return err
				}
				return ask(cmd, &c, o.op, slipway.OrderInput{EndpointName: &args[0]}, show)
			},
		}
		c.bind(cmd)
		cmds = append(cmds, cmd)
	}
	return cmds
}
