package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// resume serves what the state says, after a start. A deployment that had
// flipped ends now: with the new packages, or with the old ones if they cannot
// be loaded. One whose result is not reported yet is still all or nothing;
// later each handle falls back for itself.
func (d *Device) resume(ctx context.Context) {
	job := d.state.Job
	if job != nil {
		d.startWork()
	}
	if job != nil && job.Phase != depot.Preparing {
		d.complete(ctx)
	}
	var now []served
	for _, h := range d.state.Handles {
		if h.Current == "" || d.find(h.Name) >= 0 {
			continue
		}
		if s, err := d.reloadHandle(ctx, h); err == nil {
			now = append(now, s)
		}
	}
	d.serve(ctx, now)
}

// complete ends a deployment that the disk has as flipped.
func (d *Device) complete(ctx context.Context) {
	news := d.state.Job.Phase == depot.Flipped
	var now []served
	for i := range d.state.Job.Models {
		m := &d.state.Job.Models[i]
		if m.Failed != "" || m.Desired == edge.Undeploy || d.serves(m.Handle, m.Package) {
			continue
		}
		l, err := d.reload(ctx, m.Handle, m.Package)
		if err == nil {
			now = append(now, served{m.Handle, m.Package, l})
			continue
		}
		next := d.state.Clone()
		next.Job.Models[i].Failed = fmt.Sprintf("after a restart: %v", err)
		d.state = next
		d.cfg.Log.ErrorContext(ctx, "a model that was just deployed could not be loaded after a restart",
			"handle", m.Handle, "err", err)
		if next.Job.Policy == edge.RollbackOnFailure {
			for _, s := range now {
				d.close(ctx, s.handle, s.loaded)
			}
			d.rollBack(ctx, m.Handle)
			return
		}
		d.unflip(i)
		news = true
	}
	d.serve(ctx, now)
	if news {
		d.finish(ctx)
	} else {
		d.work = nil
	}
}

// rollBack undoes a flip: every handle leads to what it led to before.
func (d *Device) rollBack(ctx context.Context, because string) {
	next := d.state.Clone()
	for i := range next.Job.Models {
		if m := &next.Job.Models[i]; m.Failed == "" {
			m.Failed = fmt.Sprintf("rolled back, because %q failed", because)
		}
	}
	d.state = next
	for i := range next.Job.Models {
		d.unflip(i)
	}
	var now []served
	for i, m := range d.state.Job.Models {
		if m.Before.Current == "" {
			continue
		}
		l, err := d.reload(ctx, m.Handle, m.Before.Current)
		if err != nil {
			d.state.Job.Models[i].Stuck = err.Error()
			continue
		}
		now = append(now, served{m.Handle, m.Before.Current, l})
	}
	d.serve(ctx, now)
	d.state.Job.Phase = depot.Preparing // nothing of it is flipped any more
	d.finish(ctx)
}

// unflip makes the handle of model i lead to what it led to before.
func (d *Device) unflip(i int) {
	next := d.state.Clone()
	m := next.Job.Models[i]
	next.Put(depot.Handle{Name: m.Handle})
	next.Put(m.Before)
	d.state = next
}

// reloadHandle loads what a handle leads to or, should that be impossible, what
// served well before it.
func (d *Device) reloadHandle(ctx context.Context, h depot.Handle) (served, error) {
	l, err := d.reload(ctx, h.Name, h.Current)
	if err == nil {
		return served{h.Name, h.Current, l}, nil
	}
	d.cfg.Log.ErrorContext(ctx, "a model could not be loaded", "handle", h.Name, "package", h.Current, "err", err)
	if h.Previous == "" {
		return served{}, err
	}
	l, older := d.reload(ctx, h.Name, h.Previous)
	if older != nil {
		d.cfg.Log.ErrorContext(ctx, "nor could the one before it", "handle", h.Name, "package", h.Previous,
			"err", older)
		return served{}, errors.Join(err, older)
	}
	d.cfg.Log.WarnContext(ctx, "the model from before serves instead", "handle", h.Name, "package", h.Previous)
	return served{h.Name, h.Previous, l}, nil
}

// missing says that a handle should serve and does not.
func (d *Device) missing() bool {
	if d.work != nil && len(d.work.gaps) > 0 {
		return false
	}
	for i := range d.state.Handles {
		if h := &d.state.Handles[i]; h.Current != "" && d.find(h.Name) < 0 {
			return true
		}
	}
	return false
}

// serveMissing tries again to serve what a handle leads to.
func (d *Device) serveMissing(ctx context.Context) {
	for _, h := range d.state.Handles {
		if h.Current == "" || d.find(h.Name) >= 0 {
			continue
		}
		s, err := d.reloadHandle(ctx, h)
		if err != nil {
			d.retryAt = d.clock + d.backoff(&d.retryFails)
			return
		}
		d.retryFails = 0
		d.serve(ctx, []served{s})
		return
	}
}
