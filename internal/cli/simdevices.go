package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/simdevices"
)

// fraction is a flag like 5% or 0.05.
type fraction float64

func (f *fraction) String() string { return strconv.FormatFloat(float64(*f)*100, 'f', -1, 64) + "%" }

// Type is what the flag's value is called.
func (*fraction) Type() string { return "percent" }

// Set reads a percentage, or a fraction of 1.
func (f *fraction) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return errors.New("want a percentage like 5%, or a fraction like 0.05")
	}
	*f = fraction(v)
	return nil
}

// simulation are the flags of sim-devices.
type simulation struct {
	simdevices.Config
	loss, offline, fail, differ fraction
	duration                    time.Duration
	untilIdle                   bool
}

func newSimDevices() *cobra.Command {
	var c connection
	var f simulation
	cmd := &cobra.Command{
		Use:   "sim-devices --fleet FLEET",
		Short: "Simulate a fleet of devices in one process, against a real server",
		Long: `Registers devices sim-000000, sim-000001 ... in a fleet, which it makes if there is none,
and lets each act as the agent does: the same state machine, on a simulated disk, with an
engine that loads nothing. Packages are real: every device downloads them, checks every
byte, and unpacks them. It runs until it is stopped, for --duration, or --until-idle.

  --loss 5%      of the calls fail, half of them after the server acted
  --offline 20%  of the devices are away at a time, each for --away
  --fail 2%      of the devices refuse a package; which ones depends on --seed alone
  --differ 2%    of the devices see a new version answer, or fail, one of ten requests
                 otherwise than the old one, where a policy has them compare the two;
                 applications make --requests a second of each model

The devices share the credentials of the command and a few hundred connections. The
server's wishes about --poll and --heartbeat are followed if those are 0.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			f.Loss, f.Offline, f.Fail = float64(f.loss), float64(f.offline), float64(f.fail)
			f.Differ = float64(f.differ)
			remote := simdevices.NewRemote(r.url, r.region, r.credentials, f.Workers)
			defer remote.Close()
			f.Server = remote
			progress := cmd.ErrOrStderr()
			if !c.json {
				progress = cmd.OutOrStdout()
			}
			report, err := f.run(cmd.Context(), remote, progress)
			if err != nil || !c.json {
				return err
			}
			answer, err := json.Marshal(report)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	c.bind(cmd)
	f.bind(cmd)
	return cmd
}

func (f *simulation) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.Fleet, "fleet", "", "name of the device fleet")
	flags.IntVar(&f.Count, "count", 1000, "how many devices")
	flags.Uint64Var(&f.Seed, "seed", 1, "what decides over luck and ill luck")
	flags.Var(&f.loss, "loss", "calls that fail, before or after the server acted")
	flags.Var(&f.offline, "offline", "devices that are away at a time")
	flags.DurationVar(&f.Away, "away", 2*time.Minute, "for how long, about")
	flags.Var(&f.fail, "fail", "devices that refuse a package")
	flags.Var(&f.differ, "differ", "devices on which a new version is worse than the old one")
	flags.Float64Var(&f.Requests, "requests", 5, "requests a second that applications make of a model")
	flags.DurationVar(&f.Poll, "poll", time.Minute, "time between two polls; 0: what the server asks for")
	flags.DurationVar(
		&f.Heartbeat, "heartbeat", time.Minute, "time between two heartbeats; 0: what the server asks for",
	)
	flags.IntVar(&f.Workers, "workers", 256, "how many devices act at a time, and connections")
	flags.DurationVar(&f.duration, "duration", 0, "stop after this time")
	flags.BoolVar(
		&f.untilIdle, "until-idle", false, "stop when every device has asked, and has nothing to do or to report",
	)
	_ = cmd.MarkFlagRequired("fleet") // it is there
}

// run registers the devices and lets them act until it is enough.
func (f *simulation) run(ctx context.Context, remote *simdevices.Remote, out io.Writer) (simdevices.Report, error) {
	roots, err := remote.Roots(ctx)
	if err != nil {
		return simdevices.Report{}, err
	}
	f.Verifier = &bundle.Verifier{Roots: roots}
	fleet, err := simdevices.New(f.Config)
	if err != nil {
		return simdevices.Report{}, err
	}
	live := ticker{out: out, fancy: interactive(out)}
	if err := remote.Register(
		ctx, f.Fleet, f.Count,
		func(n int) { live.show(fmt.Sprintf("%d of %d devices registered with the server", n, f.Count)) },
	); err != nil {
		return simdevices.Report{}, err
	}
	enough, stop := context.WithCancel(ctx)
	defer stop()
	if f.duration > 0 {
		enough, stop = context.WithTimeout(enough, f.duration)
		defer stop()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fleet.Run(enough)
	}()
	f.watch(fleet, &live, done, stop)
	report := fleet.Report()
	live.end(report.Line(simdevices.Report{}))
	return report, nil
}

// watch shows what happens until the fleet has stopped, and stops it when it is
// idle and that is wanted.
func (f *simulation) watch(fleet *simdevices.Fleet, live *ticker, done <-chan struct{}, stop context.CancelFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before simdevices.Report
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		now := fleet.Report()
		live.show(now.Line(before))
		before = now
		if f.untilIdle && fleet.Idle() {
			stop()
			<-done
			return
		}
	}
}

// ticker shows one line that changes: in place on a terminal, elsewhere now and
// then.
type ticker struct {
	out   io.Writer
	fancy bool
	last  time.Time
}

func (t *ticker) show(line string) {
	switch {
	case t.fancy:
		fmt.Fprintf(t.out, "\r\x1b[K%s", line)
	case time.Since(t.last) >= 5*time.Second:
		t.last = time.Now()
		fmt.Fprintln(t.out, line)
	}
}

func (t *ticker) end(line string) {
	if t.fancy {
		fmt.Fprint(t.out, "\r\x1b[K")
	}
	fmt.Fprintln(t.out, line)
}

// interactive reports whether a person looks at w.
func interactive(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
