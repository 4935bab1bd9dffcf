package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// maxGolden bounds golden.json, in bytes.
const maxGolden = 64 << 20

// loadBeside loads the package of model i beside whatever serves.
func (d *Device) loadBeside(ctx context.Context, i int) {
	d.workAt = d.clock
	m := d.state.Job.Models[i]
	if m.Loads >= d.cfg.Settings.Loads {
		d.failModel(ctx, i, fmt.Sprintf("the device restarted %d times while it loaded the model%s", m.Loads,
			map[bool]string{true: " or compared it"}[d.state.Job.Mirror != nil]))
		return
	}
	// Saved first: a model that takes the machine down is not tried for ever.
	if d.edit(ctx, i, func(m *depot.Model) { m.Loads++ }) != nil {
		return
	}
	l, err := d.start(ctx, m.Handle, m.Package, d.work.known[m.Package], true)
	switch {
	case err == nil:
		d.work.ready[m.Handle] = l
	case ctx.Err() != nil: // being stopped
	case errors.Is(err, model.ErrNoMemory) && d.find(m.Handle) >= 0:
		d.work.tight[m.Handle] = true
	default:
		d.failModel(ctx, i, err.Error())
	}
}

// loadInGap closes what the handle of model i serves, and then loads its
// package: what to do when the memory cannot hold both. Calls wait meanwhile.
func (d *Device) loadInGap(ctx context.Context, i int) bool {
	m := d.state.Job.Models[i]
	note := fmt.Sprintf("%q was swapped with a gap: the memory cannot hold both models", m.Handle)
	d.cfg.Log.WarnContext(ctx, "the memory cannot hold both models: the old one is closed first", "handle", m.Handle)
	next := d.state.Clone()
	next.Job.Notes = append(next.Job.Notes, note)
	d.state = next // saved with the next change

	d.openGap(ctx, m.Handle)
	l, err := d.start(ctx, m.Handle, m.Package, d.work.known[m.Package], true)
	if err != nil {
		d.failModel(ctx, i, err.Error())
		return false
	}
	d.work.ready[m.Handle] = l
	return true
}

// openGap declares that a handle is without a model, and closes the old one.
func (d *Device) openGap(ctx context.Context, handle string) {
	until, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Settings.Gap)
	d.work.gaps[handle] = cancel
	d.cfg.Table.Gap(handle, until)
	if i := d.find(handle); i >= 0 {
		d.close(ctx, handle, d.serving[i].loaded)
		d.drop(handle)
	}
}

// restore ends the gap of a handle, if there is one, with its old model.
func (d *Device) restore(ctx context.Context, handle string) {
	cancel, ok := d.work.gaps[handle]
	if !ok {
		return
	}
	delete(d.work.gaps, handle)
	defer cancel()
	if l := d.work.ready[handle]; l != nil {
		d.close(ctx, handle, l)
		delete(d.work.ready, handle)
	}
	h, _ := d.state.Handle(handle)
	l, err := d.reload(ctx, handle, h.Current)
	if err != nil {
		d.cfg.Log.ErrorContext(ctx, "the old model could not be loaded again", "handle", handle, "err", err)
		next := d.state.Clone()
		for i := range next.Job.Models {
			if m := &next.Job.Models[i]; m.Handle == handle {
				m.Stuck = err.Error()
			}
		}
		d.state = next
		d.cfg.Table.SwapAll(map[string]*model.Loaded{handle: nil})
		return
	}
	d.serve(ctx, []served{{handle, h.Current, l}})
}

// reload verifies a package that served before, and loads it.
func (d *Device) reload(ctx context.Context, handle string, id depot.ID) (*model.Loaded, error) {
	if !d.depot.Has(id) {
		return nil, fmt.Errorf("package %s is not on the disk", id)
	}
	manifest, err := d.inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	l, err := d.start(ctx, handle, id, manifest, false)
	if err == nil && d.work != nil {
		d.work.known[id] = manifest
	}
	return l, err
}

// start loads a package that was verified and, if golden is set, runs its golden
// cases.
func (d *Device) start(ctx context.Context, handle string, id depot.ID, m bundle.Manifest, golden bool) (
	*model.Loaded, error,
) {
	_, dir, err := d.depot.Package(id)
	if err != nil {
		return nil, err
	}
	loading, cancel := context.WithTimeout(ctx, d.cfg.Settings.Load)
	defer cancel()
	r, err := d.cfg.Engine.Load(loading, model.Package{
		Dir: dir, ModelName: m.Metadata.ModelName, ModelVersion: m.Metadata.ModelVersion,
		Runtime: m.Metadata.Runtime, Signature: Signature(&m),
	})
	if err != nil {
		return nil, fmt.Errorf("the model could not be loaded: %w", err)
	}
	l := &model.Loaded{Runner: r, Info: model.Info{
		Handle: handle, ModelName: m.Metadata.ModelName, ModelVersion: m.Metadata.ModelVersion,
		Dir: dir, Signature: r.Signature(), LoadedAt: d.last,
	}}
	if golden {
		if err := d.checkGolden(ctx, id, &m, r); err != nil {
			d.close(ctx, handle, l)
			return nil, err
		}
	}
	return l, nil
}

// checkGolden runs the golden cases of a package, if it has any.
func (d *Device) checkGolden(ctx context.Context, id depot.ID, m *bundle.Manifest, r model.Runner) error {
	if _, has := m.File(bundle.GoldenName); !has {
		return nil
	}
	if d.cfg.Golden == nil {
		return errors.New("the package has golden inputs, which this device cannot run")
	}
	files, _, err := d.depot.Package(id)
	if err != nil {
		return err
	}
	cases, err := disk.ReadLimited(files, bundle.GoldenName, maxGolden)
	if err != nil {
		return fmt.Errorf("the golden inputs could not be read: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Settings.Golden)
	defer cancel()
	if err := d.cfg.Golden(ctx, r, cases); err != nil {
		return fmt.Errorf("the model failed its golden inputs: %w", err)
	}
	return nil
}

// Signature tells a manifest's tensors as an engine knows them; one that it
// cannot tell in full is left to the engine, and empty.
func Signature(m *bundle.Manifest) tensor.Signature {
	in, ok := specs(m.Inputs)
	out, ok2 := specs(m.Outputs)
	if !ok || !ok2 {
		return tensor.Signature{}
	}
	return tensor.Signature{Inputs: in, Outputs: out}
}

func specs(ts []bundle.Tensor) (list []tensor.Spec, ok bool) {
	for _, t := range ts {
		typ := model.FromWord(t.DataType)
		if typ == tensor.Invalid {
			return nil, false
		}
		s := tensor.Spec{Name: t.Name, Type: typ, Ranked: t.Shape != nil}
		for _, n := range t.Shape {
			s.Shape = append(s.Shape, tensor.Dim{Size: max(n, -1)})
		}
		list = append(list, s)
	}
	return list, true
}

// flip makes the handles of the deployment lead to what was made ready: all of
// them in one save of the state, then all of them in one step in memory. A cut
// before the save leaves the old, one after it the new.
func (d *Device) flip(ctx context.Context) {
	next := d.state.Clone()
	next.Job.Phase = depot.Flipped
	for i := range next.Job.Models {
		m := &next.Job.Models[i]
		h, _ := next.Handle(m.Handle)
		h.Name = m.Handle
		m.Before = h
		if at := d.find(m.Handle); at >= 0 && m.Name == "" {
			m.Name, m.Version = d.serving[at].loaded.ModelName, d.serving[at].loaded.ModelVersion
		}
		switch {
		case m.Failed != "":
		case m.Desired == edge.Undeploy:
			next.Put(depot.Handle{Name: m.Handle})
		case h.Current != m.Package:
			next.Put(depot.Handle{Name: m.Handle, Current: m.Package, Previous: h.Current})
		}
	}
	if err := d.save(ctx, next); err != nil {
		reason := fmt.Sprintf("the new state could not be saved: %v", err)
		if disk.Full(err) {
			reason = "the disk is full: " + reason
		}
		d.failReady(ctx, reason)
		return
	}
	d.swap(ctx)
	d.finish(ctx)
}

// failReady fails every model that was ready: the disk did not take the flip.
func (d *Device) failReady(ctx context.Context, reason string) {
	next := d.state.Clone()
	for i := range next.Job.Models {
		if m := &next.Job.Models[i]; m.Failed == "" {
			m.Failed = reason
		}
	}
	d.state = next
	d.undo(ctx, "")
	d.finish(ctx)
}

// swap flips the pointers in memory and lets the old models drain.
func (d *Device) swap(ctx context.Context) {
	var now []served
	for i := range d.state.Job.Models {
		m := &d.state.Job.Models[i]
		if l := d.work.ready[m.Handle]; l != nil {
			now = append(now, served{m.Handle, m.Package, l})
		} else if m.Failed == "" && m.Desired == edge.Undeploy {
			now = append(now, served{handle: m.Handle})
		}
	}
	clear(d.work.ready)
	d.serve(ctx, now)
	for handle, cancel := range d.work.gaps {
		cancel()
		delete(d.work.gaps, handle)
	}
}

// serve makes handles serve in one step, and lets what they served before drain.
// One without a model is removed.
func (d *Device) serve(ctx context.Context, now []served) {
	if len(now) == 0 {
		return
	}
	flips := make(map[string]*model.Loaded, len(now))
	for _, s := range now {
		flips[s.handle] = s.loaded
	}
	old := d.cfg.Table.SwapAll(flips)
	for _, s := range now {
		d.drop(s.handle)
		if s.loaded != nil {
			d.serving = append(d.serving, s)
		}
	}
	for handle, l := range old {
		d.close(ctx, handle, l)
	}
}

// drop forgets what a handle serves.
func (d *Device) drop(handle string) {
	if i := d.find(handle); i >= 0 {
		d.serving = append(d.serving[:i], d.serving[i+1:]...)
	}
}
