package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// The exit codes of the command line, for scripts. 1 is everything else.
const (
	exitRolledBack = 2 // the deployment came out other than it was meant to
	exitUnderWay   = 3 // the time to wait was over before the deployment was
)

// exit is an error with an exit code of its own. Without a text, all is said.
type exit struct {
	code int
	text string
}

func (e *exit) Error() string { return e.text }

// patience is how long a server may be away while it is waited for: it may be
// restarting.
const patience = 30 * time.Second

func newWait() *cobra.Command {
	var c connection
	var timeout, poll time.Duration
	cmd := &cobra.Command{
		Use:   "wait ENDPOINT",
		Short: "Wait for the last deployment of an endpoint, and fail if it did",
		Long: `Waits until the newest deployment of an endpoint has ended, and tells how. Exits with 0 if
it succeeded, with 2 if it was rolled back or failed, with 3 if it was still under way
after --timeout, and with 1 if that could not be found out.

The waiters of AWS clients wait for the status InService, which an endpoint has also
after its update was rolled back: they call that a success.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			progress := cmd.ErrOrStderr()
			if c.json {
				progress = io.Discard
			}
			last, err := r.await(cmd.Context(), args[0], poll, time.After(timeout), progress)
			if err != nil {
				return err
			}
			if c.json {
				answer, err := json.Marshal(last)
				if err != nil {
					return err
				}
				if err := printJSON(cmd.OutOrStdout(), answer); err != nil {
					return err
				}
			}
			switch {
			case shape.Val(last.Verdict) == "InProgress":
				return &exit{
					exitUnderWay, fmt.Sprintf("Still not over after %s: %s", timeout, clean(shape.Val(last.Summary))),
				}
			case !c.json:
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), clean(shape.Val(last.Summary))); err != nil {
					return err
				}
			}
			if shape.Val(last.Verdict) != "Succeeded" {
				return &exit{code: exitRolledBack}
			}
			return nil
		},
	}
	c.bind(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait")
	cmd.Flags().DurationVar(&poll, "poll", 500*time.Millisecond, "how often to ask")
	return cmd
}

// await returns the endpoint's newest deployment once it has ended, or as it is
// when the time is over; it looks at least once. It tells of every phase until
// then.
func (r *remote) await(
	ctx context.Context, endpoint string, poll time.Duration, over <-chan time.Time, progress io.Writer,
) (last *slipway.DeploymentSummary, err error) {
	var seen time.Time // when the server last answered
	for {
		all, err := r.deployments(ctx, endpoint, 5) // a newer one may begin meanwhile
		if err == nil {
			seen = time.Now()
		} else if _, gone := errors.AsType[*away](err); !gone || ctx.Err() != nil || time.Since(seen) > patience {
			return nil, err
		}
		for _, d := range all.Deployments {
			if last != nil && shape.Val(last.DeploymentId) != shape.Val(d.DeploymentId) {
				continue
			}
			// How it came out is the answer, not a phase on the way.
			if shape.Val(d.Verdict) == "InProgress" && (last == nil || shape.Val(last.Phase) != shape.Val(d.Phase)) {
				fmt.Fprintf(progress, "%s %s\n", time.Now().UTC().Format(time.TimeOnly), clean(shape.Val(d.Summary)))
			}
			last = &d
			if shape.Val(d.Verdict) != "InProgress" {
				return last, nil
			}
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-over:
			if last == nil {
				return nil, fmt.Errorf("nothing is known of a deployment of %s", endpoint)
			}
			return last, nil
		case <-time.After(poll):
		}
	}
}
