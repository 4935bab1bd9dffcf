package hosting

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/id"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// Write writes an outcome, in this transaction: that traffic and phase are
// written together is what makes a crash harmless. What draws from counters
// comes last, always in the same order: whoever else draws waits for the commit.
func (tx Tx) Write(ctx context.Context, o outcome.Outcome) error {
	if o.Endpoint != nil {
		if err := tx.writeEndpoint(ctx, o); err != nil {
			return err
		}
	}
	if o.Deployment != nil {
		if err := tx.writeDeployment(ctx, o.Endpoint, o.Deployment); err != nil {
			return err
		}
	}
	if o.Wake != "" {
		if err := tx.Wake(ctx, "deployment", o.At, "endpoint_id = ? and ended is null", o.Wake); err != nil {
			return err
		}
	}
	events, err := tx.events(ctx, o)
	if err != nil {
		return err
	}
	if err := tx.writeInstances(ctx, o); err != nil {
		return err
	}
	if o.Route != nil {
		if err := tx.writeRoute(ctx, *o.Route); err != nil {
			return err
		}
	}
	return tx.writeHistory(ctx, o, events)
}

func (tx Tx) writeEndpoint(ctx context.Context, o outcome.Outcome) error {
	e := o.Endpoint
	switch {
	case o.Gone:
		if err := tx.Run(ctx, "delete endpoint", `delete from endpoint where id = $1`, e.ID); err != nil {
			return err
		}
		return tx.DeleteTags(ctx, e.ARN())
	case o.Created:
		err := tx.Run(ctx, "insert endpoint", `
			insert into endpoint (id, region, name, name_key, status, created, modified, version, doc)
			values ($1, $2, $3, $4, $5, $6, $7, 1, $8)`,
			e.ID, e.Scope.Region, e.Name, strings.ToLower(e.Name), e.Status,
			store.Micros(e.Created), store.Micros(e.Modified), store.JSON(e))
		if store.Taken(err) {
			return hosting.AlreadyExists("endpoint", e.ARN())
		}
		return err
	}
	return tx.Run(ctx, "save endpoint", `
		update endpoint set status = $1, modified = $2, version = version + 1, doc = $3 where id = $4`,
		e.Status, store.Micros(e.Modified), store.JSON(e), e.ID)
}

// writeDeployment makes a deployment that goes on due at once, and one that has
// ended due never again.
func (tx Tx) writeDeployment(ctx context.Context, e *hosting.Endpoint, d *hosting.Deployment) error {
	var ended time.Time
	due := store.NullMicros(d.State.Since)
	if d.State.Phase.Terminal() {
		ended, due = d.State.Since, sql.NullInt64{}
	}
	err := tx.Run(ctx, "save deployment", `
		insert into deployment (id, endpoint_id, region, name, name_key, kind, phase, reason, begun, ended, due, doc)
		values ($1, $2, $10, $11, $12, $3, $4, $5, $6, $7, $8, $9)
		on conflict (id) do update set phase = excluded.phase, reason = excluded.reason, ended = excluded.ended,
			due = excluded.due, doc = excluded.doc, wakes = deployment.wakes + 1`,
		d.ID, e.ID, d.Plan.Kind, d.State.Phase, d.State.Reason, store.Micros(d.Begun),
		store.NullMicros(ended), due, store.JSON(d), e.Scope.Region, e.Name, strings.ToLower(e.Name))
	if err != nil || ended.IsZero() {
		return err
	}
	return tx.forgetEvidence(ctx)
}

// writeInstances gives every instance that is written a version of its own, so
// that whoever follows them sees it.
func (tx Tx) writeInstances(ctx context.Context, o outcome.Outcome) error {
	n := len(o.Add) + len(o.Retire)
	if o.Report != nil {
		n++
	}
	if o.Remove != "" {
		if err := tx.Run(ctx, "delete instance", `delete from instance where id = $1`, o.Remove); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	version, err := tx.NextN(ctx, "instance", n)
	if err != nil {
		return err
	}
	if r := o.Report; r != nil {
		err := tx.Run(ctx, "report instance", `
			update instance set status = $1, address = $2, detail = $3, attempts = $4, version = $5 where id = $6`,
			r.Status, r.Address, r.Detail, r.Attempts, version, r.ID)
		if err != nil {
			return err
		}
		version++
	}
	for _, i := range o.Retire {
		err := tx.Run(ctx, "retire instance", `update instance set wanted = 0, version = $1 where id = $2`, version, i)
		if err != nil {
			return err
		}
		version++
	}
	for _, m := range o.Add {
		err := tx.Run(ctx, "insert instance", `
			insert into instance (id, endpoint_id, fleet_id, variant, ordinal, wanted, provider, status, address,
				detail, attempts, created, version, spec)
			values ($1, $2, $3, $4, $5, 1, $6, $7, '', '', 0, $8, $9, $10)`,
			id.New("i"), o.Endpoint.ID, m.Fleet, m.Spec.Variant.Name, m.Ordinal, m.Provider,
			hosting.InstanceStarting, store.Micros(o.Endpoint.Modified), version, store.JSON(m.Spec))
		if err != nil {
			return err
		}
		version++
	}
	return nil
}

// writeRoute does nothing if the route is the stored one.
func (tx Tx) writeRoute(ctx context.Context, r traffic.Route) error {
	r.Version = 0
	doc, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode route: %w", err)
	}
	var same int
	err = tx.QueryRowContext(ctx, `select count(*) from route where endpoint_id = $1 and doc = $2`,
		r.Endpoint, string(doc)).Scan(&same)
	if err != nil || same > 0 {
		return store.Wrap("read route", err)
	}
	version, err := tx.Next(ctx, "route")
	if err != nil {
		return err
	}
	return tx.Run(ctx, "save route", `
		insert into route (endpoint_id, version, gone, doc) values ($1, $2, $3, $4)
		on conflict (endpoint_id) do update set version = excluded.version, gone = excluded.gone, doc = excluded.doc`,
		r.Endpoint, version, store.Flag(r.Gone), string(doc))
}

// event is one that somebody wants to be told of.
type event struct {
	kind notice.Kind
	body []byte
	to   []notice.Subscriber
}

// events puts the events of an outcome into words, as far as somebody wants
// them. The tags that they carry are those of this moment.
func (tx Tx) events(ctx context.Context, o outcome.Outcome) (out []event, err error) {
	var tags []hosting.Tag
	for _, k := range o.Events {
		ev := event{kind: k}
		for _, s := range tx.subscribers {
			if s.Wants(k) {
				ev.to = append(ev.to, s)
			}
		}
		if len(ev.to) == 0 {
			continue
		}
		if len(out) == 0 {
			if tags, err = tx.Tags(ctx, o.View.ARN()); err != nil {
				return nil, err
			}
		}
		ev.body, err = notice.Compose(k, notice.Subject{ID: uuid.NewString(), At: o.At, View: o.View, Tags: tags})
		if err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, nil
}

// writeHistory writes the lines of the history and, numbered after them, the
// events into the queues of those who want them. The counter is locked until
// the commit: both become visible in the order of their numbers.
func (tx Tx) writeHistory(ctx context.Context, o outcome.Outcome, events []event) error {
	if len(o.History)+len(events) == 0 {
		return nil
	}
	seq, err := tx.NextN(ctx, "event", len(o.History)+len(events))
	if err != nil {
		return err
	}
	for _, l := range o.History {
		err := tx.Run(ctx, "write history", `
			insert into event (seq, endpoint_id, deployment_id, at, kind, doc) values ($1, $2, $3, $4, $5, $6)`,
			seq, l.Endpoint, l.Deployment, store.Micros(l.At), l.Kind, store.JSON(l.What))
		if err != nil {
			return err
		}
		seq++
	}
	for _, ev := range events {
		for _, s := range ev.to {
			err := tx.Run(ctx, "write event", `
				insert into outbox (webhook, endpoint, seq, at, kind, due, body) values ($1, $2, $3, $4, $5, $4, $6)`,
				s.Name, o.View.Scope.Region+"/"+strings.ToLower(o.View.Name), seq, store.Micros(o.At), ev.kind,
				string(ev.body))
			if err != nil {
				return err
			}
		}
		seq++
	}
	return nil
}
