package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// comparisonFlags say that devices compare a new model with the old one.
type comparisonFlags struct {
	most, share percentage
	time        time.Duration
	pairs       int32
	outputs     []string
}

// percentage is a flag like 1% or 1: a part of a hundred either way.
type percentage float64

func (p *percentage) String() string { return strconv.FormatFloat(float64(*p), 'f', -1, 64) + "%" }

// Type is what the flag's value is called.
func (*percentage) Type() string { return "percent" }

// Set reads it.
func (p *percentage) Set(text string) error {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(v >= 0 && v <= 100) {
		return fmt.Errorf("want a percentage like 1%%")
	}
	*p = percentage(v)
	return nil
}

func (f *comparisonFlags) bind(fl *pflag.FlagSet) {
	f.share = 100
	fl.Var(&f.most, "max-disagreement", "compare models on live requests; part that may be answered differently")
	fl.DurationVar(&f.time, "mirror", edge.DefaultMirrorTime, "how long they are compared")
	fl.Int32Var(&f.pairs, "min-pairs", edge.DefaultMinPairs, "requests that must be compared")
	fl.Var(&f.share, "mirror-share", "part of the requests that both models are given")
	fl.StringArrayVar(&f.outputs, "compare", nil, "OUTPUT or OUTPUT=TOLERANCE that counts; none: all outputs")
}

// details are the flags that mean something beside --max-disagreement.
func details() []string { return []string{"mirror", "min-pairs", "mirror-share", "compare"} }

// given reports whether any of the flags was.
func (f *comparisonFlags) given(cmd *cobra.Command) bool {
	given := cmd.Flags().Changed("max-disagreement")
	for _, name := range details() {
		given = given || cmd.Flags().Changed(name)
	}
	return given
}

// fill adds what the flags say to a policy.
func (f *comparisonFlags) fill(cmd *cobra.Command, p *slipway.EdgePolicy) error {
	if !cmd.Flags().Changed("max-disagreement") {
		for _, name := range details() {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s says nothing without --max-disagreement", name)
			}
		}
		return nil
	}
	if f.time%time.Second != 0 || f.time < time.Second {
		return fmt.Errorf("--mirror is a whole number of seconds, not %s", f.time)
	}
	p.MaximumDisagreement, p.MirrorShare = new(float64(f.most)), new(float64(f.share))
	p.MirrorInSeconds, p.MinimumPairs = new(int32(f.time/time.Second)), &f.pairs
	for _, text := range f.outputs {
		name, tolerance, has := cutLast(text, "=")
		o := slipway.ComparedOutput{OutputName: &name}
		if has {
			v, err := strconv.ParseFloat(tolerance, 64)
			if err != nil || !(v >= 0) {
				return fmt.Errorf("--compare is OUTPUT or OUTPUT=TOLERANCE, as in scores=0.05, not %q", text)
			}
			o.Tolerance = &v
		}
		p.ComparedOutputs = append(p.ComparedOutputs, o)
	}
	return nil
}

// cutLast cuts a text at the last separator.
func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// comparisonLines tell in words what a policy has devices compare, and what that
// costs and can show.
func comparisonLines(p *slipway.EdgePolicy) []string {
	m := edge.Mirror{
		MaxDisagreement: shape.Val(p.MaximumDisagreement), Time: shape.SecondsOf(p.MirrorInSeconds),
		MinPairs: int(shape.Val(p.MinimumPairs)), Share: shape.Val(p.MirrorShare),
	}
	for _, o := range p.ComparedOutputs {
		m.Outputs = append(m.Outputs, edge.ComparedOutput{
			Name: clean(shape.Val(o.OutputName)), Tolerance: shape.Val(o.Tolerance),
		})
	}
	return []string{
		m.String(),
		fmt.Sprintf("that takes the memory of both models for %s, and computes what is compared twice", m.Time),
		fmt.Sprintf("%d compared requests without a difference show that at most %.2g %% differ", m.MinPairs,
			m.Shows()),
	}
}
