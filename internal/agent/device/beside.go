package device

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// beside is a model that runs beside the one that it shall replace.
type beside struct {
	trial *edge.Trial
	run   Mirroring     // nil while the handle means no model
	last  time.Duration // on the device's clock, when the counts were last taken
	// name is that of the old model; "" until it was seen since the start.
	name string
	// lost is for how long nothing was watched, or in vain: it is bounded as the
	// comparison is.
	lost time.Duration
	from time.Duration // what the comparison had run when the new model was loaded
	told bool          // that there is no model to compare with
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
		if m.Failed != "" || m.Desired != edge.Deploy || d.compared(m) {
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
		d.lasted()
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
	watched := b.run != nil && b.run.On()
	if !watched {
		b.attach(ctx, d, m.Handle)
	}
	b.count(d.clock, watched)
	c = b.trial.Comparison
	if c.Finding == edge.Comparing && b.lost >= d.state.Job.Mirror.Time {
		b.trial.Finding, c.Finding = edge.NotProven, edge.NotProven
		d.found(ctx, i, b.trial.State())
		d.failModel(ctx, i, fmt.Sprintf("not proven: for %s no model served under this name, or not the same one, "+
			"that it could be compared with", b.lost))
		return c, false
	}
	d.found(ctx, i, b.trial.State())
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
	h, _ := d.state.Handle(m.Handle)
	_, serves := d.means(m.Handle)
	switch {
	case d.work.ready[m.Handle] == nil: // nothing takes the place of anything
		return edge.Unchanged
	case serves: // also what an application has loaded
		return ""
	case h.Current == m.Package:
		return edge.Unchanged
	case h.Current == "" && m.Trial == nil:
		return edge.NothingBefore
	}
	return ""
}

// means is what a handle leads to, whoever loaded it.
func (d *Device) means(handle string) (i model.Info, ok bool) {
	all := d.cfg.Table.List()
	at := slices.IndexFunc(all, func(i model.Info) bool { return i.Handle == handle })
	if at < 0 {
		return i, false
	}
	return all[at], true
}

// compared reports whether the comparison of m is over. It is not if another model
// serves by now than it was compared with: others of the deployment may take days.
func (d *Device) compared(m *depot.Model) bool {
	if m.Trial == nil || m.Trial.Comparison.Finding == edge.Comparing {
		return false
	}
	c := &m.Trial.Comparison
	i, serves := d.means(m.Handle)
	again := false
	switch c.Finding {
	case edge.NothingBefore:
		again = serves
	case edge.Unchanged:
		again = serves && d.work.ready[m.Handle] != nil
	case edge.Agrees:
		again = serves && i.ModelVersion != c.Old
	case edge.Comparing, edge.Disagrees, edge.NotProven:
	}
	if again {
		said := m.Handle + " " + d.state.Job.Mirror.Sentence(*c)
		next := d.state.Clone()
		next.Job.Notes = slices.DeleteFunc(next.Job.Notes, func(n string) bool { return n == said })
		at := slices.IndexFunc(next.Job.Models, func(o depot.Model) bool { return o.Handle == m.Handle })
		next.Job.Models[at].Trial = nil
		d.state = next
	}
	return !again
}

// lasted forgets how often models were loaded that have run beside others for long
// enough since: the device may be switched off every night.
func (d *Device) lasted() {
	next := d.state.Clone()
	for i := range next.Job.Models {
		m := &next.Job.Models[i]
		if b := d.work.beside[m.Handle]; b != nil && b.trial.Ran-b.from >= d.cfg.Settings.Keep {
			m.Loads = 0
		}
	}
	d.state = next
}

// beginBeside begins, or after a restart continues, the comparison of model i.
func (d *Device) beginBeside(ctx context.Context, i int) *beside {
	job := d.state.Job
	m := job.Models[i]
	b := &beside{trial: edge.NewTrial(job.Mirror, m.Trial), last: d.clock}
	b.from = b.trial.Ran
	if m.Trial == nil {
		b.trial.Since = d.last.Round(0)
	}
	d.work.beside[m.Handle] = b
	d.cfg.Log.InfoContext(ctx, "the new model runs beside the old one", "deployment", job.Name, "handle", m.Handle,
		"for", job.Mirror.Time-b.trial.Ran, "compared", b.trial.Compared)
	if !d.offline { // the server shall know why nothing happens
		d.beatAt = min(d.beatAt, d.clock+d.within(d.cfg.Settings.Spread))
	}
	return b
}

// attach begins to give the new model what is asked, once the handle means a model,
// and again if it means another one than before. What was compared with a model of
// another name or version counts no more.
func (b *beside) attach(ctx context.Context, d *Device, handle string) {
	if b.run != nil {
		b.run.End()
		b.trial.Add(b.run.Take(), 0)
		b.run = nil
	}
	if b.trial.Finding != edge.Comparing {
		return
	}
	run, err := d.cfg.Mirrors.Begin(handle, d.work.ready[handle].Runner, d.state.Job.Mirror)
	if err != nil {
		if !b.told {
			d.cfg.Log.WarnContext(ctx, "nothing is compared: there is no model to compare with", "handle", handle,
				"err", err)
		}
		b.told = true
		return
	}
	b.run = run
	old := run.Old()
	if b.trial.Old != "" && b.trial.Old != old.ModelVersion || b.name != "" && b.name != old.ModelName {
		d.cfg.Log.WarnContext(ctx, "the comparison begins anew: another model serves than before", "handle", handle,
			"before", b.trial.Old, "now", old.ModelVersion)
		b.lost += b.trial.Ran
		b.trial, b.from = edge.NewTrial(d.state.Job.Mirror, nil), 0
		b.trial.Since = d.last.Round(0)
	}
	b.name, b.trial.Old = old.ModelName, old.ModelVersion
}

// count takes what was counted until now. watched says that the model which serves
// was watched since the last time: otherwise nothing has run beside it.
func (b *beside) count(now time.Duration, watched bool) {
	if b.trial.Finding != edge.Comparing {
		return
	}
	var counts edge.Pairs
	ran := now - b.last
	b.last = now
	if !watched {
		b.lost += ran
		ran = 0
	}
	if b.run != nil {
		counts = b.run.Take()
		if old, fresh := b.run.Memory(); fresh > 0 {
			b.trial.OldBytes, b.trial.NewBytes = old, fresh
		}
	}
	b.trial.Add(counts, ran)
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
