package fleet

import (
	"context"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// scanned is how many chunks' worth of devices are looked at for one that is
// written: of a small selection most are passed over.
const scanned = 20

// write takes a step of choosing the devices of a stage: what it chooses is read
// outside of the transaction that writes it, which is short.
func (s *Service) write(ctx context.Context, p *edge.Plan, st edge.Stage) error {
	if st.Selection.Type == edge.ByPercentage && !st.Cut.Ranked {
		fleet, err := s.Store.FleetOf(ctx, st.ID)
		if err != nil {
			return err
		}
		cut, err := s.rank(ctx, p, fleet, st, *st.Cut)
		if err != nil {
			return err
		}
		return s.sweeping(ctx, st, func(tx store.Tx, p *edge.Plan, st edge.Stage) (edge.Stage, bool, error) {
			st.Cut = cut
			return st, false, nil
		})
	}
	ids, at, last, err := s.choose(ctx, p, st)
	if err != nil {
		return err
	}
	return s.sweeping(ctx, st, func(tx store.Tx, p *edge.Plan, st edge.Stage) (edge.Stage, bool, error) {
		err := assign(ctx, tx, p, st, ids, st.Selection.Type != edge.ByPercentage, st.Event(clock.Now()))
		st.Sweep.At = at
		return st, last, err
	})
}

// choose returns a chunk of the devices that a stage selects, how far it has
// looked for them, and whether that was all.
func (s *Service) choose(
	ctx context.Context, p *edge.Plan, st edge.Stage,
) (ids []int64, at int64, last bool, err error) {
	at = st.Sweep.At
	if c := s.chosen.Load(); c != nil && c.stage == st.ID && c.attempt == st.Attempt && c.highest == st.Cut.Highest {
		from, _ := slices.BinarySearch(c.ids, at+1)
		ids = c.ids[from:min(len(c.ids), from+s.Chunk)]
		if len(ids) < s.Chunk {
			s.chosen.CompareAndSwap(c, nil)
			return ids, st.Cut.Newest, true, nil
		}
		return ids, ids[len(ids)-1], false, nil
	}
	fleet, err := s.Store.FleetOf(ctx, st.ID)
	if err != nil {
		return nil, 0, false, err
	}
	if names := st.Selection.Names; st.Selection.Type == edge.ByName {
		from, to := min(len(names), int(at)), min(len(names), int(at)+s.Chunk)
		cs, err := s.Store.Named(ctx, fleet, p.ID, names[from:to])
		for _, c := range cs {
			if c.ID <= st.Cut.Newest {
				ids = append(ids, c.ID)
			}
		}
		return ids, int64(to), to == len(names), err
	}
	planARN, w := p.ARN(), edge.Walk{Fleet: fleet, Plan: p.ID, After: at, Newest: st.Cut.Newest}
	// More is read at a time as long as little of it is selected.
	size := s.Chunk
	for seen := 0; seen < scanned*s.Chunk; size = min(scan, 2*size) {
		cs, err := s.Store.Candidates(ctx, w, size)
		if err != nil {
			return nil, 0, false, err
		}
		for _, c := range cs {
			if len(ids) == s.Chunk {
				return ids, w.After, false, nil
			}
			if st.Selectable(planARN, c) {
				ids = append(ids, c.ID)
			}
			w.After = c.ID
		}
		if seen += len(cs); len(cs) < size {
			return ids, w.After, true, nil
		}
	}
	return ids, w.After, false, nil
}

// sweep takes a step of a sweep over the rows that a stage has.
func (s *Service) sweep(ctx context.Context, st edge.Stage) error {
	return s.sweeping(ctx, st, func(tx store.Tx, p *edge.Plan, st edge.Stage) (edge.Stage, bool, error) {
		rivals, err := s.rivalsOfUndo(ctx, tx, p, st)
		if err != nil {
			return st, false, err
		}
		rows, err := tx.NextRows(ctx, st, rivals, s.Chunk)
		if err != nil {
			return st, false, err
		}
		e := st.Event(clock.Now())
		deltas := map[int64]*edge.Counts{}
		var listed []int64
		for _, r := range rows {
			st.Sweep.At = r.DeviceID
			if !r.Owned {
				listed = append(listed, r.DeviceID)
				continue
			}
			if err := move(ctx, tx, st.ID, r.Row, e, deltas); err != nil {
				return st, false, err
			}
		}
		if err := tx.CountRows(ctx, []int64{p.ID}, deltas, e.At); err != nil {
			return st, false, err
		}
		if st.Sweep.Kind == edge.Restart {
			err = assign(ctx, tx, p, st, listed, true, e)
		}
		return st, len(rows) < s.Chunk, err
	})
}

// rivalsOfUndo returns the stages of other plans that decide what a device has in
// the end although st is rolled back: they give orders about the same handles.
func (s *Service) rivalsOfUndo(ctx context.Context, tx store.Tx, p *edge.Plan, st edge.Stage) (ids []int64, err error) {
	if st.Sweep.Kind != edge.Undo {
		return nil, nil
	}
	fleet, err := tx.FleetOf(ctx, st.ID)
	if err != nil {
		return nil, err
	}
	rivals, err := tx.Rivals(ctx, fleet, p)
	for _, r := range rivals {
		if r.Stage.Offers() {
			ids = append(ids, r.Stage.ID)
		}
	}
	return ids, err
}

// sweeping runs a step of a stage's sweep in a transaction, unless the stage is
// no longer where the step begins. f returns how far it came, and whether that
// was all.
func (s *Service) sweeping(
	ctx context.Context, was edge.Stage, f func(tx store.Tx, p *edge.Plan, st edge.Stage) (edge.Stage, bool, error),
) error {
	return s.Change(ctx, func(tx store.Tx) error {
		p, err := tx.PlanOfStage(ctx, was.ID)
		if err != nil || p == nil {
			return err
		}
		st := p.Stages[stageIndex(p, was.ID)]
		if st.Sweep != was.Sweep || st.Attempt != was.Attempt {
			return nil
		}
		p.Modified = clock.Now()
		st, last, err := f(tx, p, st.Looked(s.now(p, stageIndex(p, was.ID))))
		switch {
		case err != nil:
			return err
		case !last:
			return tx.SaveSweep(ctx, st)
		case st.Selects():
			if err := tx.WakeSelecting(ctx, p, p.Modified); err != nil {
				return err
			}
		}
		return tx.SaveStage(ctx, p, st.Swept(), p.Modified)
	})
}

// assign gives a stage of a plan that is locked the devices that it selected, as
// far as it may have them (edge.Stage.Divide) and they are still registered.
// The counters of all stages follow.
func assign(
	ctx context.Context, tx store.Tx, p *edge.Plan, st edge.Stage, devices []int64, takeOver bool, e edge.Event,
) error {
	if len(devices) == 0 {
		return nil
	}
	owners, err := tx.Owners(ctx, p, devices)
	if err != nil {
		return err
	}
	d := st.Divide(devices, owners, takeOver)
	deltas := map[int64]*edge.Counts{}
	for _, r := range d.Own {
		if err := move(ctx, tx, st.ID, r, e, deltas); err != nil {
			return err
		}
	}
	for _, o := range d.Release {
		counts(deltas, o.Stage).Move(o.Status, "")
		if err := tx.DisownRow(ctx, o.Stage, o.DeviceID); err != nil {
			return err
		}
	}
	n, err := tx.InsertRows(ctx, p, st, d.Add)
	if err != nil {
		return err
	}
	counts(deltas, st.ID).Ready += n
	if err := tx.ListRows(ctx, p, st, d.List); err != nil {
		return err
	}
	return tx.CountRows(ctx, []int64{p.ID}, deltas, e.At)
}

// counts returns the changes to the counters of a stage.
func counts(deltas map[int64]*edge.Counts, stage int64) *edge.Counts {
	if deltas[stage] == nil {
		deltas[stage] = new(edge.Counts)
	}
	return deltas[stage]
}
