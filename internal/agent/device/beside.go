package device

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// beside is a model that runs beside the one that it shall replace.
type beside struct {
	trial *edge.Trial
	run   Mirroring     // nil until the handle means a model
	last  time.Duration // on the device's clock, when the counts were last taken
}

// mayCompare says why a comparison that is asked for cannot be made; "" if it can.
func (d *Device) mayCompare(m *edge.Mirror) string {
	if m == nil {
		return ""
	}
	if err := m.Check(); err != nil {
		return "the comparison that it asks for makes no sense: " + err.Error()
	}
	if d.cfg.Mirrors == nil {
		return "this device cannot compare models on live requests"
	}
	return ""
}

// compares lets what is ready run beside what it replaces, if the deployment asks
// for that, and says whether the flip has to wait, or will not come: for as long as
// was asked, unless it is clear before that a model is not what it should be. All
// that was counted survives a restart, and so does what it came to.
func (d *Device) compares(ctx context.Context) bool {
	job := d.state.Job
	if job.Mirror == nil {
		return false
	}
	wait, goesOn := job.Mirror.Time, false
	for i := range job.Models {
		m := &d.state.Job.Models[i]
		over := m.Trial != nil && m.Trial.Comparison.Finding != edge.Comparing
		if m.Failed != "" || m.Desired != edge.Deploy || over {
			continue
		}
		t, ok := d.compare(ctx, i)
		if !ok {
			return true
		}
		if t.Finding == edge.Comparing {
			goesOn, wait = true, min(wait, max(0, job.Mirror.Time-t.Ran))
		}
	}
	if !goesOn {
		return false
	}
	d.workAt = d.clock + min(d.cfg.Settings.Look, wait)
	if d.clock-d.work.kept >= d.cfg.Settings.Keep {
		d.work.kept = d.clock
		_ = d.setAndSave(ctx, d.state) // without it, a restart begins this while anew
	}
	return true
}

// compare looks how model i does. ok is false if that ended the deployment.
func (d *Device) compare(ctx context.Context, i int) (c edge.Comparison, ok bool) {
	m := d.state.Job.Models[i]
	b := d.work.beside[m.Handle]
	if b == nil {
		if f := d.incomparable(&m); f != "" {
			c.Finding = f
			d.found(ctx, i, &edge.TrialState{Comparison: c})
			return c, true
		}
		b = d.beginBeside(ctx, i)
	}
	b.attach(ctx, d, m.Handle)
	var counts edge.Pairs
	if b.run != nil {
		counts = b.run.Take()
		if old, fresh := b.run.Memory(); fresh > 0 {
			b.trial.OldBytes, b.trial.NewBytes = old, fresh
		}
	}
	b.trial.Add(counts, d.clock-b.last)
	b.last = d.clock
	d.found(ctx, i, b.trial.State())
	c = b.trial.Comparison
	switch c.Finding {
	case edge.Disagrees, edge.NotProven:
		d.failModel(ctx, i, d.state.Job.Mirror.Sentence(c))
		return c, false
	case edge.Agrees:
		d.endBeside(m.Handle)
	case edge.Comparing, edge.NothingBefore, edge.Unchanged:
	}
	return c, true
}

// incomparable says why there is nothing to compare model m with; "" if there is.
func (d *Device) incomparable(m *depot.Model) edge.Finding {
	switch h, _ := d.state.Handle(m.Handle); {
	case h.Current == "":
		return edge.NothingBefore
	case h.Current == m.Package:
		return edge.Unchanged
	}
	return ""
}

// beginBeside begins, or after a restart continues, the comparison of model i.
func (d *Device) beginBeside(ctx context.Context, i int) *beside {
	job := d.state.Job
	m := job.Models[i]
	b := &beside{trial: edge.NewTrial(job.Mirror, m.Trial), last: d.clock}
	if m.Trial == nil {
		b.trial.Since = d.last.Round(0)
		if at := d.find(m.Handle); at >= 0 {
			b.trial.Old = d.serving[at].loaded.ModelVersion
		}
	}
	d.work.beside[m.Handle] = b
	d.cfg.Log.InfoContext(ctx, "the new model runs beside the old one", "deployment", job.Name, "handle", m.Handle,
		"for", job.Mirror.Time-b.trial.Ran, "compared", b.trial.Compared)
	if !d.offline { // the server shall know why nothing happens
		d.beatAt = min(d.beatAt, d.clock+d.within(d.cfg.Settings.Spread))
	}
	return b
}

// attach begins to give the new model what is asked, once the handle means a model.
func (b *beside) attach(ctx context.Context, d *Device, handle string) {
	if b.run != nil {
		return
	}
	run, err := d.cfg.Mirrors.Begin(handle, d.work.ready[handle].Runner, d.state.Job.Mirror)
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "nothing is compared: there is no model to compare with", "handle", handle,
			"err", err)
		return
	}
	b.run = run
}

// found notes how model i does. What it came to in the end is told to the operator;
// it is saved with the flip, or with the failure.
func (d *Device) found(ctx context.Context, i int, t *edge.TrialState) {
	next := d.state.Clone()
	m := &next.Job.Models[i]
	m.Trial = t
	c := t.Comparison
	d.state = next
	if c.Finding == edge.Comparing {
		return
	}
	says := next.Job.Mirror.Sentence(c)
	d.cfg.Log.InfoContext(ctx, "models were compared", "deployment", next.Job.Name, "handle", m.Handle, "finding",
		c.Finding, "says", says)
	if c.Finding != edge.Disagrees && c.Finding != edge.NotProven { // those are reasons of a failure
		next.Job.Notes = append(next.Job.Notes, m.Handle+" "+says)
	}
}

// endBeside ends what runs beside the model of a handle, if anything does.
func (d *Device) endBeside(handle string) {
	if d.work == nil {
		return
	}
	b := d.work.beside[handle]
	delete(d.work.beside, handle)
	if b != nil && b.run != nil {
		b.run.End()
	}
}

// comparisons are those that go on, for a heartbeat.
func (d *Device) comparisons() (out []edge.DeviceComparison) {
	if d.work == nil || d.state.Job == nil {
		return nil
	}
	for _, m := range d.state.Job.Models {
		if m.Trial != nil && m.Trial.Comparison.Finding == edge.Comparing && d.work.beside[m.Handle] != nil {
			out = append(out, edge.DeviceComparison{
				Deployment: d.state.Job.Name, Handle: m.Handle, Comparison: m.Trial.Comparison,
			})
		}
	}
	return out
}
