package fleet

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// comparisons notes, with the rows of a device, how models do that it compares at
// the moment. One of a deployment that is unknown, or over, changes nothing.
func (b *batch) comparisons(ctx context.Context, c *checkin) error {
	for _, d := range c.heartbeat.Comparisons {
		o, err := b.ordered(ctx, d.Deployment)
		if err != nil {
			return err
		}
		if o.Stage == 0 || o.Order.Mirror == nil || d.Comparison.Finding != edge.Comparing {
			continue
		}
		row, ok, err := b.tx.RowOf(ctx, o.Stage, c.polled.Device.ID)
		if err != nil {
			return err
		}
		e := edge.Event{
			Kind: edge.Reported, At: c.at, Attempt: o.Attempt, Outcome: edge.Progress,
			Message: clean(d.Handle + " " + o.Order.Mirror.Sentence(d.Comparison)),
		}
		if _, changed := edge.NextDevice(row, e); !ok || !changed {
			continue
		}
		b.plans[o.Plan] = true
		if err := move(ctx, b.tx, o.Stage, row, e, b.deltas); err != nil {
			return err
		}
	}
	return nil
}

// mirror adds what a device told of the models that it compared.
func (b *batch) mirror(stage int64, m edge.Mirrored) {
	if b.mirrored[stage] == nil {
		b.mirrored[stage] = new(edge.Mirrored)
	}
	*b.mirrored[stage] = b.mirrored[stage].Plus(m)
}

// saveMirrored adds what devices told to their stages.
func (b *batch) saveMirrored(ctx context.Context) error {
	for _, stage := range slices.Sorted(maps.Keys(b.mirrored)) {
		p, err := b.tx.PlanOfStage(ctx, stage)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		st := p.Stages[stageIndex(p, stage)]
		st.Mirrored = st.Mirrored.Plus(*b.mirrored[stage])
		if err := b.tx.SaveSweep(ctx, st); err != nil {
			return err
		}
	}
	return nil
}
