package fleet

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// checkin is a heartbeat, or the delivery of orders, that waits to be written.
type checkin struct {
	scope         arn.Scope
	fleet, device string
	at            time.Time // the server's clock

	heartbeat *edge.Heartbeat
	caller    edge.Caller
	outcome   edge.Outcome
	polled    edge.Polled // of a heartbeat, once it is written

	id     int64        // of a delivery: the device
	offers []edge.Offer // what it is to be given
	given  []edge.Offer // what it was given, once that is written

	err  error      // why this one was refused, though the others were written
	done chan error // answered once
}

// writeTime bounds one transaction of check-ins.
const writeTime = 30 * time.Second

// Run writes check-ins, as many in one transaction as wait, until ctx ends. Then
// it answers those that wait, and returns.
func (s *Service) Run(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case c := <-s.queue:
			s.writeAll(ctx, c)
		case <-ctx.Done():
			for {
				select {
				case c := <-s.queue:
					s.writeAll(ctx, c)
				default:
					return
				}
			}
		}
	}
}

// writeAll writes a check-in and those that wait behind it.
func (s *Service) writeAll(ctx context.Context, first *checkin) {
	batch := []*checkin{first}
	for len(batch) < s.Batch {
		select {
		case c := <-s.queue:
			batch = append(batch, c)
			continue
		default:
		}
		break
	}
	// The same order in every server: they wait for each other's rows, but never
	// in a circle.
	slices.SortStableFunc(batch, func(a, b *checkin) int {
		return cmp.Or(
			cmp.Compare(a.scope.Region, b.scope.Region), cmp.Compare(a.fleet, b.fleet), cmp.Compare(a.device, b.device),
		)
	})
	s.commit(context.WithoutCancel(ctx), batch)
}

// commit writes a batch and answers everybody. If it cannot be written as a
// whole, its halves are tried, so that one bad check-in does not fail the
// others.
func (s *Service) commit(ctx context.Context, batch []*checkin) {
	bounded, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	var changed bool
	err := s.Change(bounded, func(tx store.Tx) error {
		b := newBatch(tx)
		if err := b.write(bounded, batch); err != nil {
			return err
		}
		changed = len(b.deltas) > 0
		return nil
	})
	writable := err == nil || s.writable(ctx)
	if err != nil && len(batch) > 1 && writable {
		s.commit(ctx, batch[:len(batch)/2])
		s.commit(ctx, batch[len(batch)/2:])
		return
	}
	if !writable {
		s.deaf()
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "check-ins were not written", "count", len(batch), "err", err)
	} else if changed {
		s.Wake.Notify()
	}
	for _, c := range batch {
		c.done <- cmp.Or(err, c.err)
	}
}

// writable reports whether the store takes transactions at all.
func (s *Service) writable(ctx context.Context) bool {
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return s.Change(bounded, func(store.Tx) error { return nil }) == nil
}

// batch is a transaction of check-ins.
type batch struct {
	tx      store.Tx
	devices map[place]*edge.Polled
	orders  map[string]edge.Offer // by deployment; of stage 0: there is no such order
	deltas  map[int64]*edge.Counts
	plans   map[int64]bool // whose rows have changed
	trouble map[int64]bool // stages with a reason for what went wrong; true: of a device that failed
	// by stage, what devices told of models that they compared
	mirrored map[int64]*edge.Mirrored
}

type place struct{ region, fleet, device string }

func newBatch(tx store.Tx) *batch {
	return &batch{
		tx,
		map[place]*edge.Polled{},
		map[string]edge.Offer{},
		map[int64]*edge.Counts{},
		map[int64]bool{},
		map[int64]bool{},
		map[int64]*edge.Mirrored{},
	}
}

// write writes every check-in, or notes why it is refused. An error is one of
// the whole batch.
func (b *batch) write(ctx context.Context, cs []*checkin) error {
	if err := b.lock(ctx, cs); err != nil {
		return err
	}
	for _, c := range cs {
		c.err = nil
		var err error
		if c.heartbeat != nil {
			err = b.heartbeat(ctx, c)
		} else {
			err = b.deliver(ctx, c)
		}
		if kind, _ := fault.Public(err); err != nil && (kind == fault.Internal || kind == fault.Unavailable) {
			return err // of the store, not of the check-in
		}
		c.err = err
	}
	var at time.Time
	for _, c := range cs {
		if c.at.After(at) {
			at = c.at
		}
	}
	plans := make([]int64, 0, len(b.plans))
	for id := range b.plans {
		plans = append(plans, id)
	}
	slices.Sort(plans)
	if err := b.tx.CountRows(ctx, plans, b.deltas, at); err != nil {
		return err
	}
	return b.saveMirrored(ctx)
}

// concerns are the deployments that a heartbeat says something of.
func (c *checkin) concerns() (names []string) {
	if c.heartbeat == nil {
		return nil
	}
	if c.heartbeat.Result != nil {
		names = append(names, c.heartbeat.Result.Deployment)
	}
	for _, o := range c.heartbeat.Comparisons {
		names = append(names, o.Deployment)
	}
	return names
}

// lock locks the plans whose rows may change.
func (b *batch) lock(ctx context.Context, cs []*checkin) error {
	plans := map[int64]bool{}
	for _, c := range cs {
		for _, o := range c.offers {
			plans[o.Plan] = true
		}
		for _, deployment := range c.concerns() {
			o, err := b.ordered(ctx, deployment)
			if err != nil {
				return err
			}
			if o.Stage != 0 {
				plans[o.Plan] = true
			}
		}
	}
	if len(plans) == 0 {
		return nil
	}
	ids := make([]int64, 0, len(plans))
	for id := range plans {
		ids = append(ids, id)
	}
	clear(b.orders) // to be read again once they are locked
	return b.tx.LockPlans(ctx, ids)
}

func (b *batch) ordered(ctx context.Context, deployment string) (edge.Offer, error) {
	if o, known := b.orders[deployment]; known {
		return o, nil
	}
	if deployment == "" {
		return edge.Offer{}, nil
	}
	o, ok, err := b.tx.Ordered(ctx, deployment)
	if !ok {
		o = edge.Offer{}
	}
	b.orders[deployment] = o
	return o, err
}

// heartbeat records what a device said of itself.
func (b *batch) heartbeat(ctx context.Context, c *checkin) error {
	at := place{c.scope.Region, c.fleet, c.device}
	p := b.devices[at]
	if p == nil {
		found, err := b.tx.CheckinDevice(ctx, c.scope, c.fleet, c.device)
		if err != nil {
			return err
		}
		p = &found
		b.devices[at] = p
	}
	if err := allowed(c.caller, p.Device); err != nil {
		return err
	}
	h, d := c.heartbeat, &p.Device
	same := d.AgentVersion == h.AgentVersion
	d.AgentVersion = h.AgentVersion
	last := d.Heartbeat
	if c.at.After(last) {
		d.Heartbeat = c.at
	}
	if h.HasModels {
		models := edge.Merge(d.Models, h.Models, last, c.at)
		same = same && d.Models != nil && slices.EqualFunc(d.Models, models, edge.LoadedModel.Equal)
		d.Models = models
	}
	c.polled = *p
	save := b.tx.SaveCheckin
	if same {
		save = b.tx.SaveHeartbeat
	}
	if err := save(ctx, *d); err != nil {
		return err
	}
	if err := b.comparisons(ctx, c); err != nil || h.Result == nil {
		return err
	}
	return b.result(ctx, c, *h.Result)
}

// result lets the outcome of a deployment happen to the device's row. One that
// is unknown, or over, changes nothing.
func (b *batch) result(ctx context.Context, c *checkin, r edge.Result) error {
	o, err := b.ordered(ctx, r.Deployment)
	if err != nil || o.Stage == 0 {
		return err
	}
	row, ok, err := b.tx.RowOf(ctx, o.Stage, c.polled.Device.ID)
	if err != nil || !ok {
		return err
	}
	e := edge.Event{
		Kind: edge.Reported, At: c.at, Attempt: o.Attempt, Outcome: c.outcome,
		Message: clean(edge.Message(r, o.Order.OnFailure)),
	}
	next, changed := edge.NextDevice(row, e)
	if !changed {
		return nil
	}
	b.plans[o.Plan] = true
	if err := move(ctx, b.tx, o.Stage, row, e, b.deltas); err != nil {
		return err
	}
	if o.Order.Mirror != nil && !row.Undoing && row.Status != next.Status {
		b.mirror(o.Stage, o.Order.Mirror.Of(r, next.Status))
	}
	if e.Outcome != edge.Success {
		if err := b.troubled(ctx, o.Stage, row.Device, e); err != nil {
			return err
		}
	}
	switch {
	case row.Undoing && e.Outcome == edge.Success:
		return b.tx.RestoreHandles(ctx, row.DeviceID, o.Plan)
	case next.Status == edge.DeviceDeployed:
		return b.tx.PutHandles(ctx, row.DeviceID, o.Plan, o.Order)
	}
	return nil
}

// troubled notes the first reason that a device of a stage gave for what went
// wrong, where people look: with the stage and in the record of its plan. What
// other devices say is with their rows.
func (b *batch) troubled(ctx context.Context, stage int64, device string, e edge.Event) error {
	failed := e.Outcome == edge.Failure
	if known, looked := b.trouble[stage]; e.Message == "" || looked && (known || !failed) {
		return nil
	}
	b.trouble[stage] = failed
	p, err := b.tx.PlanOfStage(ctx, stage)
	if err != nil || p == nil {
		return err
	}
	st, first := p.Stages[stageIndex(p, stage)].Troubled(device, e.Message, failed)
	if !first {
		return nil
	}
	p.Modified = e.At
	if err := tell(ctx, b.tx, p, st.Name, edge.EventDevice, "", "%s", st.Trouble); err != nil {
		return err
	}
	return b.tx.SaveSweep(ctx, st)
}

// deliver notes that a device was given orders, and leaves out what is no longer
// to be given.
func (b *batch) deliver(ctx context.Context, c *checkin) error {
	var given []edge.Offer
	for _, was := range c.offers {
		o, err := b.ordered(ctx, was.Deployment)
		if err != nil {
			return err
		}
		row, ok, err := b.tx.RowOf(ctx, was.Stage, c.id)
		if err != nil {
			return err
		}
		if !ok || o.Stage != was.Stage || !o.Live || row.Attempt != o.Attempt || !row.Offered() {
			continue
		}
		b.plans[o.Plan] = true
		o.Undoing = row.Undoing
		e := edge.Event{Kind: edge.Delivered, At: c.at, Attempt: o.Attempt}
		if beyond(c.caller, o) {
			e.Kind, e.Outcome, e.Message = edge.Reported, edge.Failure, edge.TooOld
			if err := b.troubled(ctx, o.Stage, row.Device, e); err != nil {
				return err
			}
		}
		if err := move(ctx, b.tx, o.Stage, row, e, b.deltas); err != nil {
			return err
		}
		if e.Kind == edge.Delivered {
			given = append(given, o)
		}
	}
	c.given = given
	return nil
}
