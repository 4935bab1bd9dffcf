package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func newEdge() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Watch over edge deployment plans: what happened, and by which rules",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEdgeShow(), newEdgePolicy(), newEdgeFloor())
	return cmd
}

func newEdgeShow() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "show PLAN",
		Short: "Show the record of an edge deployment plan",
		Long: `Shows a plan: its policy, its stages with their devices counted, and everything that
happened, with the time, who asked for it, and the figures that decided it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := slipway.DescribeEdgeDeploymentInput{EdgeDeploymentPlanName: &args[0]}
			return ask(cmd, &c, "DescribeEdgeDeployment", in, showEdge)
		},
	}
	c.bind(cmd)
	return cmd
}

// policyFlags are a plan's policy as flags.
type policyFlags struct {
	autoNext                       bool
	bake, reachable, deviceTimeout time.Duration
	success, failure               float64
	minSample                      int32
	onFailure                      string
	off                            bool
	compare                        comparisonFlags
}

const policyHelp = `Replaces the policy of an edge deployment plan. Without one a plan does what it does on
AWS: every stage is started by hand and waits for all of its devices, and a device that
fails stops nothing. Without any flag of the policy the command shows what is set.

  --auto-next            start the next stage of the plan when a stage has passed
  --bake 10m             but only so long after it passed, with no threshold broken meanwhile
  --success 95           a stage passes when 95 % of the devices that reported succeeded and
                         no device that is reachable is pending; the others are late
  --failure 5            when more than 5 % of the devices that reported failed ...
  --on-failure stop      ... stop the stage, or 'rollback': undo it and the stages before it
  --min-sample 20        neither is judged before 20 devices reported, or all of them
  --reachable 1h         a device is reachable that was heard of so recently
  --device-timeout 2h    a device that did not report after so long has failed
  --max-disagreement 1%  a new model first runs beside the old one: what applications ask is
                         given to both, they get the old one's answers, and the new one takes
                         its place if it answers at most 1 % of requests differently ...
  --mirror 10m           ... for so long (10m), with both models in memory
  --min-pairs 100        ... and of so many compared requests (100); with less, nothing is
                         proven: the device keeps the old model, and has failed
  --mirror-share 25%     ... given only a part of the requests
  --compare label        ... by these outputs alone, perhaps with a tolerance for their numbers:
                         --compare scores=0.05; repeat it for more. Otherwise by all of them`

func newEdgePolicy() *cobra.Command {
	var c connection
	var f policyFlags
	cmd := &cobra.Command{
		Use:   "policy PLAN",
		Short: "Set what Slipway does with a plan beyond AWS",
		Long:  policyHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			in, set, err := f.policy(cmd)
			if err != nil {
				return err
			}
			var out struct{ Policy *slipway.EdgePolicy } // both operations answer with it
			if set {
				ask := slipway.SetEdgePolicyInput{EdgeDeploymentPlanName: &args[0], Policy: &in}
				_, err = r.call(cmd.Context(), "SetEdgePolicy", ask, &out)
			} else {
				ask := slipway.DescribeEdgeDeploymentInput{EdgeDeploymentPlanName: &args[0]}
				_, err = r.call(cmd.Context(), "DescribeEdgeDeployment", ask, &out)
			}
			if err != nil {
				return err
			}
			p := out.Policy
			if c.json {
				answer, err := json.Marshal(p)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), answer)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(policyLines(p), "\n"))
			return err
		},
	}
	c.bind(cmd)
	f.bind(cmd)
	return cmd
}

func (f *policyFlags) bind(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.autoNext, "auto-next", false, "start the next stage when a stage has passed")
	fl.DurationVar(&f.bake, "bake", 0, "wait so long before that")
	fl.Float64Var(
		&f.success, "success", 0, "percentage of successes with which a stage passes; 0: all devices must succeed",
	)
	fl.Float64Var(&f.failure, "failure", 0, "percentage of failures above which --on-failure happens")
	fl.StringVar(&f.onFailure, "on-failure", "none", "stop, rollback or none")
	fl.Int32Var(&f.minSample, "min-sample", 0, "devices that must have reported before a percentage counts")
	fl.DurationVar(&f.reachable, "reachable", time.Hour, "how long ago a reachable device was heard of")
	fl.DurationVar(&f.deviceTimeout, "device-timeout", 0, "how long a device may take; 0: for ever")
	fl.BoolVar(&f.off, "off", false, "remove the policy")
	f.compare.bind(fl)
}

// policy reads the flags, and reports whether any of them was given.
func (f *policyFlags) policy(cmd *cobra.Command) (p slipway.EdgePolicy, set bool, err error) {
	for _, name := range []string{
		"auto-next", "bake", "success", "failure", "on-failure", "min-sample", "reachable", "device-timeout", "off",
	} {
		set = set || cmd.Flags().Changed(name)
	}
	set = f.compare.given(cmd) || set
	if !set || f.off {
		return p, set, nil
	}
	on := slipway.EdgeReaction(strings.ToUpper(f.onFailure))
	if on != slipway.EdgeReactionNone && on != slipway.EdgeReactionStop && on != slipway.EdgeReactionRollback {
		return p, set, fmt.Errorf("--on-failure is stop, rollback or none, not %q", f.onFailure)
	}
	seconds := func(d time.Duration) *int32 { return new(int32(d / time.Second)) }
	p = slipway.EdgePolicy{
		AutoNext: &f.autoNext, BakeInSeconds: seconds(f.bake), SuccessThreshold: &f.success,
		MinimumSample:      &f.minSample,
		ReachableInSeconds: seconds(f.reachable), FailureThreshold: &f.failure, OnFailure: &on,
		DeviceTimeoutInSeconds: seconds(f.deviceTimeout),
	}
	return p, set, f.compare.fill(cmd, &p)
}

func newEdgeFloor() *cobra.Command {
	var c connection
	var job string
	var serial int64
	cmd := &cobra.Command{
		Use:   "floor MODEL",
		Short: "Have devices refuse older packages of a model from now on",
		Long: `Sets the oldest package of a model that devices may still take. Every package has a serial
number, which grows from one packaging job to the next, whatever clocks say. The floor is
signed into each package of the model that is made from now on; a device that has taken one
of these refuses packages below the floor, even when they are properly signed: whoever takes
over the way to a device cannot bring back an old model with known faults.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := slipway.SetEdgePackageFloorInput{ModelName: &args[0]}
			switch {
			case job != "" && !cmd.Flags().Changed("serial"):
				in.EdgePackagingJobName = &job
			case job == "" && cmd.Flags().Changed("serial"):
				in.Serial = &serial
			default:
				return fmt.Errorf("name either the --job that made the oldest package to accept, or its --serial")
			}
			return ask(cmd, &c, "SetEdgePackageFloor", in, func(
				w io.Writer, out slipway.SetEdgePackageFloorOutput,
			) error {
				_, err := fmt.Fprintf(w,
					"Packages of %s made from now on make devices refuse those with a serial below %d.\n",
					args[0], shape.Val(out.Serial))
				return err
			})
		},
	}
	c.bind(cmd)
	cmd.Flags().StringVar(&job, "job", "", "packaging job whose package is the oldest to accept")
	cmd.Flags().Int64Var(&serial, "serial", 0, "serial of that package")
	return cmd
}

// policyLines tells a policy in words.
func policyLines(p *slipway.EdgePolicy) (lines []string) {
	if p == nil {
		return []string{"as on AWS: stages are started by hand and wait for all of their devices"}
	}
	seconds := func(n *int32) time.Duration { return time.Duration(shape.Val(n)) * time.Second }
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	sample := ""
	if n := shape.Val(p.MinimumSample); n > 0 {
		sample = fmt.Sprintf(", once %d reported", n)
	}
	if t := shape.Val(p.SuccessThreshold); t > 0 {
		add(
			"a stage passes when %g %% succeeded%s, and no device heard of in the last %s is pending", t, sample,
			seconds(p.ReachableInSeconds),
		)
	}
	if shape.Val(p.AutoNext) {
		add("the next stage starts %s after a stage passed", seconds(p.BakeInSeconds))
	}
	switch shape.Val(p.OnFailure) {
	case slipway.EdgeReactionStop:
		add("a stage stops when more than %g %% failed%s", shape.Val(p.FailureThreshold), sample)
	case slipway.EdgeReactionRollback:
		add("the plan is rolled back when more than %g %% of a stage failed%s", shape.Val(p.FailureThreshold), sample)
	}
	if d := seconds(p.DeviceTimeoutInSeconds); d > 0 {
		add("a device has failed that did not report after %s", d)
	}
	if p.MaximumDisagreement != nil {
		lines = append(lines, comparisonLines(p)...)
	}
	if len(lines) == 0 {
		return policyLines(nil)
	}
	return lines
}

func showEdge(w io.Writer, d slipway.DescribeEdgeDeploymentOutput) error {
	p := newPage(w)
	p.facts([2]string{"Plan", clean(shape.Val(d.EdgeDeploymentPlanArn))}, [2]string{
		"Fleet", clean(shape.Val(d.DeviceFleetName)),
	})
	for i, l := range policyLines(d.Policy) {
		p.facts([2]string{map[bool]string{true: "Policy", false: " "}[i == 0], l})
	}
	p.line("")
	var rows []table.Row
	for _, s := range d.Stages {
		rows = append(rows, table.Row{
			clean(shape.Val(s.StageName)), shape.Val(s.StageStatus), shape.Val(s.Verdict), shape.Val(s.Success),
			shape.Val(s.Pending), shape.Val(s.Failed),
			shape.Val(s.Stopped), shape.Val(s.Late),
			clock(s.StartTime), clean(shape.Val(s.Message)),
		})
	}
	p.table(
		table.Row{"STAGE", "STATUS", "VERDICT", "SUCCESS", "PENDING", "FAILED", "STOPPED", "LATE", "STARTED", "REASON"},
		rows, "SUCCESS", "PENDING", "FAILED", "STOPPED", "LATE",
	)
	for _, s := range d.Stages {
		if m := s.Mirror; m != nil {
			p.line("")
			p.facts([2]string{"Compared in " + clean(shape.Val(s.StageName)), clean(shape.Val(m.Summary))})
		}
	}
	if len(d.Events) > 0 {
		p.line("")
		rows = nil
		for _, e := range d.Events {
			rows = append(rows, table.Row{
				clock(e.Time), clean(shape.Val(e.StageName)), clean(shape.Val(e.Kind)), clean(shape.Val(e.Message)),
				clean(shape.Val(e.By)),
			})
		}
		p.table(table.Row{"TIME", "STAGE", "WHAT", "REASON", "BY"}, rows)
	}
	return p.print(w)
}
