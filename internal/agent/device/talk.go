package device

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const (
	maxDone   = 4  // results kept for a server that asks for a deployment again
	maxQueued = 16 // results that wait to be reported
)

// register asks whether the device may use the server.
func (d *Device) register(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Settings.Call)
	defer cancel()
	active, ttl, err := d.cfg.Cloud.Registration(ctx)
	if err != nil {
		d.callFailed(ctx, "registration", err)
		d.regAt = d.clock + d.backoff(&d.regFails)
		return
	}
	d.callSucceeded(ctx)
	d.regFails = 0
	if !active && d.registered {
		d.cfg.Log.WarnContext(ctx, "the server does not know this device any more; models go on serving")
	}
	d.registered = active
	until := d.clock + d.clamp(ttl, d.cfg.Settings.MinWait)
	if active {
		d.registeredUntil = until
	}
	d.regAt = until
}

// callFailed notes that a call did not get through.
func (d *Device) callFailed(ctx context.Context, call string, err error) {
	refused := errors.Is(err, fault.Denied) || errors.Is(err, fault.Invalid) || errors.Is(err, fault.NotFound)
	if !d.offline || refused != d.denied {
		log := d.cfg.Log.With("call", call, "err", err)
		if refused {
			log.WarnContext(ctx, "the server refuses this device; models go on serving. If it was revoked or "+
				"enrolled anew, enroll it again")
		} else {
			log.WarnContext(ctx, "the server does not answer; models go on serving")
		}
	}
	d.offline, d.denied = true, refused
}

func (d *Device) callSucceeded(ctx context.Context) {
	if d.offline {
		d.cfg.Log.InfoContext(ctx, "the server answers again")
	}
	d.offline, d.denied = false, false
}

// clamp keeps what the server asks for within bounds; zero asks for otherwise.
func (d *Device) clamp(hint, otherwise time.Duration) time.Duration {
	if hint <= 0 {
		hint = otherwise
	}
	return min(max(hint, d.cfg.Settings.MinWait), d.cfg.Settings.MaxWait)
}

// later returns a time at least t from now, spread a little, so that devices
// that met once do not meet for ever.
func (d *Device) later(t time.Duration) time.Duration { return d.clock + t + d.within(t/10) }

func (d *Device) applyHints(h edge.Hints) {
	if h.Poll > 0 {
		d.pollEvery = d.clamp(h.Poll, 0)
	}
	if h.Heartbeat > 0 {
		d.beatWait = d.clamp(h.Heartbeat, 0)
	}
}

// heartbeat says what is loaded, and the oldest result that the server has not
// taken yet.
func (d *Device) heartbeat(ctx context.Context) {
	h := edge.Heartbeat{
		Fleet: d.cfg.Fleet, Device: d.cfg.Name, AgentVersion: d.cfg.AgentVersion,
		HasModels: true, Models: []edge.LoadedModel{},
	}
	for _, i := range d.cfg.Table.List() {
		h.Models = append(h.Models, edge.LoadedModel{
			Name: i.ModelName, Version: i.ModelVersion, LatestInference: i.LastInference,
		})
	}
	if d.cfg.Metrics != nil {
		h.Metrics = d.cfg.Metrics()
	}
	h.Comparisons = d.comparisons()
	// A result is only told once a cut cannot take it back.
	reports := len(d.state.Results) > 0 && !d.unsaved
	if reports {
		h.Result = d.wording(d.state.Results[0])
	} else if d.trouble != nil && !d.trouble.told {
		h.Result = &d.trouble.Result
	}
	call, cancel := context.WithTimeout(ctx, d.cfg.Settings.Call)
	defer cancel()
	hints, err := d.cfg.Cloud.Heartbeat(call, h)
	switch {
	case err != nil:
		if errors.Is(err, fault.Invalid) && reports {
			d.refused++
		} else if errors.Is(err, fault.Invalid) && h.Result != nil {
			d.trouble.told = true // it was to help; the heartbeat must get through
		}
		d.callFailed(ctx, "heartbeat", err)
		d.beatAt = d.clock + d.backoff(&d.beatFails)
		return
	case h.Result != nil && !reports:
		d.trouble.told = true
	case reports:
		d.refused = 0
		defer d.acknowledged(ctx, d.state.Results[0])
	}
	d.callSucceeded(ctx)
	d.beatFails = 0
	d.applyHints(hints)
	// A server that has something to do says so in its answer: polls may be rare.
	if at := d.later(d.pollEvery); hints.Poll > 0 && d.pollFails == 0 && at < d.pollAt {
		d.pollAt = at
	}
	d.beatAt = d.later(d.beatWait)
}

// troubled has the next heartbeat say what is in the way of a deployment, once
// for each kind of trouble: nobody should have to wait for the last attempt to
// learn of the first. It needs no disk.
func (d *Device) troubled(deployment, kind, reason string) {
	if t := d.trouble; t != nil && t.Deployment == deployment && t.kind == kind {
		return
	}
	d.trouble = &trouble{Result: edge.Result{Deployment: deployment, Message: reason}, kind: kind}
	if !d.offline {
		d.beatAt = min(d.beatAt, d.clock+d.within(d.cfg.Settings.Spread))
	}
}

// wording is how a result is reported. A server that refuses what it does not
// understand is told less and less.
func (d *Device) wording(r edge.Result) *edge.Result {
	const patience = 4
	if r.End.IsZero() { // it ended while the device started
		r.End = d.last.Round(0)
	}
	switch {
	case d.refused < patience:
	case d.refused < 2*patience:
		r.Models = nil
	default:
		r = edge.Result{Deployment: r.Deployment, Status: r.Status}
	}
	return &r
}

// acknowledged notes that the server took a result.
func (d *Device) acknowledged(ctx context.Context, r edge.Result) {
	next := d.state.Clone()
	next.Results = next.Results[1:]
	r.Start, r.End = time.Time{}, time.Time{} // devices with the same history have the same state
	next.Done = append(next.Done, r)
	if n := len(next.Done); n > maxDone {
		next.Done = next.Done[n-maxDone:]
	}
	if next.Job != nil && next.Job.Name == r.Deployment {
		next.Job = nil
	}
	// Should the disk refuse, the result is told again after a restart: the
	// server knows it by its name.
	if d.setAndSave(ctx, next) == nil {
		d.collect(ctx)
	}
	d.cfg.Log.InfoContext(ctx, "result reported", "deployment", r.Deployment, "status", r.Status)
	if len(next.Results) > 0 {
		d.beatAt = d.clock
	} else if d.more {
		d.pollAt = d.clock
	}
}

// poll asks what to deploy.
func (d *Device) poll(ctx context.Context) {
	call, cancel := context.WithTimeout(ctx, d.cfg.Settings.Call)
	defer cancel()
	offered, hints, err := d.cfg.Cloud.Deployments(call)
	if err != nil {
		d.callFailed(ctx, "poll", err)
		d.pollAt = d.clock + d.backoff(&d.pollFails)
		return
	}
	d.callSucceeded(ctx)
	d.pollFails = 0
	d.applyHints(hints)
	d.pollAt = d.later(d.pollEvery)
	if d.unsaved {
		return // the disk comes first
	}
	d.consider(ctx, offered)
}

// consider begins the oldest deployment that is new, gives up the one under way
// if it is not offered any more, and tells results again that were not heard.
func (d *Device) consider(ctx context.Context, offered []edge.Deployment) {
	under := ""
	if d.state.Job != nil {
		under = d.state.Job.Name
	}
	here := false
	var fresh []edge.Deployment
	for _, o := range offered {
		switch {
		case o.Name == under && under != "":
			here = true
		case contains(d.state.Results, o.Name):
		case contains(d.state.Done, o.Name):
			d.repeat(ctx, o.Name)
		default:
			fresh = append(fresh, o)
		}
	}
	if under != "" && !here {
		d.abandon(ctx)
	}
	if d.state.Job == nil && len(fresh) > 0 && !d.unsaved {
		d.accept(ctx, fresh[0])
		fresh = fresh[1:]
	}
	d.more = len(fresh) > 0
}

func contains(rs []edge.Result, name string) bool {
	for _, r := range rs {
		if r.Deployment == name {
			return true
		}
	}
	return false
}

// repeat reports a finished deployment again: its name is the same order.
func (d *Device) repeat(ctx context.Context, name string) {
	next := d.state.Clone()
	for i, r := range next.Done {
		if r.Deployment == name {
			r.Start, r.End = d.last.Round(0), d.last.Round(0)
			next.Results = append(next.Results, r)
			next.Done = append(next.Done[:i], next.Done[i+1:]...)
			break
		}
	}
	d.beatAt = d.clock
	_ = d.setAndSave(ctx, next) // it is only told once it is saved
}
