package device

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// What a result says.
const (
	success = "SUCCESS"
	fail    = "FAIL"
	stopped = "STOPPED" // a failure to who only knows the other two
)

// maxModels bounds the models of one deployment.
const maxModels = 64

var entityName = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$`)

// accept begins a deployment. One that makes no sense fails at once.
func (d *Device) accept(ctx context.Context, o edge.Deployment) {
	if !entityName.MatchString(o.Name) {
		d.cfg.Log.ErrorContext(ctx, "a deployment without a proper name is left alone")
		return
	}
	job := &depot.Job{Name: o.Name, Policy: o.OnFailure, Start: d.last, Phase: depot.Preparing, Mirror: o.Mirror}
	if job.Policy != edge.DoNothing {
		job.Policy = edge.RollbackOnFailure // the default
	}
	reason := ""
	if len(o.Definitions) == 0 || len(o.Definitions) > maxModels {
		reason = fmt.Sprintf("the deployment has %d models; a device takes 1 to %d", len(o.Definitions), maxModels)
	}
	reason = cmp.Or(reason, d.mayCompare(o.Mirror))
	for _, def := range o.Definitions[:min(len(o.Definitions), maxModels)] {
		m, why := newModel(def)
		twice := slices.ContainsFunc(job.Models, func(other depot.Model) bool { return other.Handle == m.Handle })
		if twice {
			why = "the deployment names this handle twice"
		}
		if why != "" && reason == "" {
			reason = fmt.Sprintf("%q cannot be deployed: %s", brief(def.Handle), why)
		}
		if twice {
			continue
		}
		if !entityName.MatchString(m.Handle) {
			continue // nor could it be reported
		}
		m.Failed = why
		job.Models = append(job.Models, m)
	}
	d.cfg.Log.InfoContext(ctx, "deployment begins", "deployment", o.Name, "models", len(job.Models),
		"policy", job.Policy)
	next := d.state.Clone()
	next.Job = job
	d.startWork()
	if reason != "" {
		// Nothing of it is done: what the server means is not clear.
		for i := range job.Models {
			if job.Models[i].Failed == "" {
				job.Models[i].Failed = "not deployed: " + reason
			}
		}
		job.Notes, job.Refused = append(job.Notes, reason), true
		d.state = next
		d.finish(ctx)
		return
	}
	// Should the disk refuse, the server offers it again.
	if d.save(ctx, next) != nil {
		d.work, d.pollAt = nil, d.saveAt
	}
}

func newModel(def edge.Definition) (m depot.Model, why string) {
	m = depot.Model{Handle: def.Handle, URL: def.S3URL, Package: depot.ID(def.SHA1), Desired: def.State}
	if m.Desired == "" {
		m.Desired = edge.Deploy
	}
	switch {
	case !entityName.MatchString(def.Handle):
		return m, "the handle is not a name"
	case m.Desired == edge.Undeploy:
		m.URL, m.Package = "", ""
	case m.Desired != edge.Deploy:
		m.Package, m.Desired = "", edge.Deploy
		return m, fmt.Sprintf("this device does not know the state %q", brief(def.State))
	case !m.Package.Valid():
		m.Package = ""
		return m, "its checksum is not a SHA-1 in lower-case hex"
	case !strings.HasPrefix(m.URL, "s3://"):
		return m, "its package is not on S3"
	}
	return m, ""
}

// brief keeps a server's words short.
func brief(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}

func (d *Device) startWork() {
	d.work, d.workAt, d.workFails = newWorking(), d.clock, 0
}

// turn takes one step of the deployment under way.
func (d *Device) turn(ctx context.Context) {
	if d.work == nil {
		d.startWork()
	}
	job := d.state.Job
	if job.Phase == depot.Flipped {
		d.complete(ctx)
		return
	}
	late := -1
	for i := range job.Models {
		m := &job.Models[i]
		switch {
		case m.Failed != "" || m.Desired == edge.Undeploy || d.settled(m):
		case !d.verified(m):
			d.obtain(ctx, i)
			return
		case d.work.tight[m.Handle]:
			if late < 0 {
				late = i
			}
		default:
			d.loadBeside(ctx, i)
			return
		}
	}
	if late >= 0 && job.Mirror != nil {
		d.failModel(ctx, late, "not proven: the memory cannot hold the model beside the one that serves, so that they "+
			"cannot be compared")
		return
	}
	// What needs a gap comes last, so that the gap is short.
	if late >= 0 && !d.loadInGap(ctx, late) {
		return
	}
	if slices.ContainsFunc(d.state.Job.Models, func(m depot.Model) bool {
		return m.Failed == "" && m.Desired == edge.Deploy && !d.settled(&m)
	}) {
		return
	}
	if d.compares(ctx) {
		return
	}
	d.flip(ctx)
}

// needsNetwork says whether the next turn is a download.
func (d *Device) needsNetwork() bool {
	job := d.state.Job
	if job.Phase != depot.Preparing {
		return false
	}
	for i := range job.Models {
		m := &job.Models[i]
		if m.Failed != "" || m.Desired == edge.Undeploy || d.settled(m) {
			continue
		}
		return !d.verified(m) && !d.downloaded(m)
	}
	return false
}

// settled says that nothing is left to do for a model before the flip.
func (d *Device) settled(m *depot.Model) bool {
	return d.work != nil && d.work.ready[m.Handle] != nil || d.serves(m.Handle, m.Package)
}

// verified says that the package of a model lies on the disk, verified.
func (d *Device) verified(m *depot.Model) bool {
	if d.work == nil {
		return false
	}
	_, known := d.work.known[m.Package]
	return known
}

// downloaded says that the package, or all of its download, is on the disk.
func (d *Device) downloaded(m *depot.Model) bool {
	return d.depot.Has(m.Package) && (d.work == nil || !d.work.refetch[m.Package])
}

func (d *Device) serves(handle string, id depot.ID) bool {
	h, ok := d.state.Handle(handle)
	if !ok || h.Current != id {
		return false
	}
	i := d.find(handle)
	// An application may have unloaded it.
	return i >= 0 && d.serving[i].id == id &&
		slices.ContainsFunc(d.cfg.Table.List(), func(l model.Info) bool { return l.Handle == handle })
}

func (d *Device) find(handle string) int {
	return slices.IndexFunc(d.serving, func(s served) bool { return s.handle == handle })
}

// edit changes one model of the deployment under way, and saves it.
func (d *Device) edit(ctx context.Context, i int, change func(m *depot.Model)) error {
	next := d.state.Clone()
	change(&next.Job.Models[i])
	return d.setAndSave(ctx, next)
}

// failModel notes that a model failed. Under ROLLBACK_ON_FAILURE that is the end of
// the whole deployment: nothing was flipped, and nothing will be.
func (d *Device) failModel(ctx context.Context, i int, reason string) {
	next := d.state.Clone()
	m := &next.Job.Models[i]
	m.Failed = reason
	d.state = next
	d.cfg.Log.ErrorContext(ctx, "model could not be deployed", "deployment", next.Job.Name, "handle", m.Handle,
		"reason", reason)
	d.endBeside(m.Handle)
	d.restore(ctx, m.Handle)
	d.workAt = d.clock
	if next.Job.Policy == edge.RollbackOnFailure {
		d.undo(ctx, m.Handle)
		d.finish(ctx)
		return
	}
	if l := d.work.ready[m.Handle]; l != nil {
		d.close(ctx, m.Handle, l)
		delete(d.work.ready, m.Handle)
	}
	_ = d.setAndSave(ctx, d.state) // should the disk refuse, it fails again
}

// undo lets go of what was made ready, and brings back what had to make room.
func (d *Device) undo(ctx context.Context, because string) {
	d.dropReady(ctx)
	for handle := range d.work.gaps {
		d.restore(ctx, handle)
	}
	for i := range d.state.Job.Models {
		if m := &d.state.Job.Models[i]; m.Failed == "" {
			m.Failed = fmt.Sprintf("rolled back, because %q failed", because)
		}
	}
}

func (d *Device) dropReady(ctx context.Context) {
	if d.work == nil {
		return
	}
	for handle, l := range d.work.ready {
		d.endBeside(handle)
		d.close(ctx, handle, l)
	}
	clear(d.work.ready)
}

func (d *Device) close(ctx context.Context, handle string, l *model.Loaded) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Settings.Drain)
	defer cancel()
	if err := l.Runner.Close(ctx); err != nil {
		d.cfg.Log.WarnContext(ctx, "a model did not end well", "handle", handle, "err", err)
	}
}

// abandon gives up a deployment that the server does not ask for any more. One
// that flipped already is finished instead.
func (d *Device) abandon(ctx context.Context) {
	job := d.state.Job
	if job.Phase != depot.Preparing {
		return
	}
	d.cfg.Log.InfoContext(ctx, "deployment is not asked for any more", "deployment", job.Name)
	if d.work == nil {
		d.startWork()
	}
	next := d.state.Clone()
	for i := range next.Job.Models {
		if m := &next.Job.Models[i]; m.Failed == "" {
			m.Failed = "stopped before it was installed"
		}
	}
	next.Job.Policy = edge.RollbackOnFailure // nothing is kept of it
	next.Job.Notes = append(next.Job.Notes, stopped)
	d.state = next
	d.undo(ctx, "")
	d.finish(ctx)
}

// finish turns the deployment under way into its result, in one save.
func (d *Device) finish(ctx context.Context) {
	next := d.state.Clone()
	job := next.Job
	for i := range job.Models {
		m := &job.Models[i]
		h, _ := next.Handle(m.Handle)
		if at := d.find(m.Handle); at >= 0 && m.Name == "" && d.serving[at].id == m.Package {
			m.Name, m.Version = d.serving[at].loaded.ModelName, d.serving[at].loaded.ModelVersion
		}
		switch {
		case m.Failed == "":
			if known, ok := d.work.known[m.Package]; ok && m.Desired == edge.Deploy {
				next.Trust = next.Trust.Learn(&known)
			}
		case job.Policy == edge.DoNothing && d.depot.Has(m.Package) && h.Current != m.Package:
			h.Name, h.Held = m.Handle, m.Package
			next.Put(h)
		}
	}
	r := result(next, d.last)
	if job.Phase == depot.Preparing {
		next.Job = nil
	} else {
		job.Phase = depot.Ended
	}
	next.Results = slices.DeleteFunc(next.Results, func(o edge.Result) bool { return o.Deployment == r.Deployment })
	next.Results = append(next.Results, r)
	if n := len(next.Results); n > maxQueued {
		next.Results = next.Results[n-maxQueued:]
	}
	d.work, d.workAt = nil, d.clock
	if !d.offline {
		d.beatAt = d.clock
	}
	d.cfg.Log.InfoContext(ctx, "deployment ended", "deployment", r.Deployment, "status", r.Status, "message", r.Message)
	if d.setAndSave(ctx, next) == nil {
		d.collect(ctx)
		return
	}
	// A full disk may have room for the state once the download is gone, which
	// no state refers to.
	for _, m := range job.Models {
		if m.Package != "" {
			_ = d.depot.DropPart(m.Package) // the next Collect tries again
		}
	}
}

// result says how the deployment ended and what is true of each handle now
// (spec §3.3).
func result(s *depot.State, now time.Time) edge.Result {
	job := s.Job
	r := edge.Result{Deployment: job.Name, Status: success, Start: job.Start.Round(0), End: now.Round(0)}
	failed := 0
	for _, m := range job.Models {
		h, _ := s.Handle(m.Handle)
		mr := edge.ModelResult{
			Handle: m.Handle, Name: m.Name, Version: m.Version, Desired: m.Desired,
			State: edge.Undeploy, Status: success, Reason: m.Failed, RollbackFailure: m.Stuck,
		}
		if m.Trial != nil {
			mr.Comparison = &m.Trial.Comparison
		}
		if h.Current != "" {
			mr.State = edge.Deploy
		}
		if m.Failed != "" {
			failed++
			mr.Status = fail
		}
		r.Models = append(r.Models, mr)
	}
	notes := job.Notes
	if n := len(notes); n > 0 && notes[n-1] == stopped {
		r.Status, notes = stopped, append(notes[:n-1:n-1], "stopped before anything was installed")
	} else if job.Refused {
		r.Status = fail
	} else if failed > 0 {
		r.Status = fail
		notes = append([]string{fmt.Sprintf("%d of %d models failed", failed, len(job.Models))}, notes...)
	}
	r.Message = strings.Join(notes, "; ")
	return r
}

// remember notes what a verified package says of itself.
func (d *Device) remember(i int, m bundle.Manifest) {
	next := d.state.Clone()
	to := &next.Job.Models[i]
	to.Name, to.Version = m.Metadata.ModelName, m.Metadata.ModelVersion
	d.state = next // saved with the next change
	d.work.known[to.Package] = m
}
