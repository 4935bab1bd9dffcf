package edge

import (
	"cmp"
	"context"
	"database/sql"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const planColumns = `region, account, id, name, fleet, created, modified, models, policy`

func scanPlan(scan store.Scan) (p edge.Plan, err error) {
	return p, scan(&p.Scope.Region, &p.Scope.Account, &p.ID, &p.Name, &p.Fleet,
		store.Time(&p.Created), store.Time(&p.Modified), store.JSON(&p.Models), store.JSON(&p.Policy))
}

// plan reads the plan that meets a condition with its stages; nil if there is
// none. Whoever changes a stage or its rows holds the lock of the plan's row,
// which is why nothing else is locked.
func (r reader) plan(ctx context.Context, cond string, args ...any) (*edge.Plan, error) {
	p, err := scanPlan(
		r.q.QueryRowContext(ctx, `select `+planColumns+` from edge_plan where `+cond+r.lock, args...).Scan,
	)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, store.Wrap("read plan", err)
	}
	return &p, r.stagesOf(ctx, &p)
}

// Plan reads a plan with its stages.
func (r reader) Plan(ctx context.Context, s arn.Scope, name string) (*edge.Plan, error) {
	p, err := r.plan(ctx, `region = $1 and name = $2`, s.Region, name)
	if err == nil && p == nil {
		err = edge.NoPlan(name)
	}
	if err != nil {
		return nil, err
	}
	p.Scope = s
	return p, nil
}

// PlanOfStage reads the plan of a stage with all its stages; nil if the stage
// is gone, or on its way out.
func (r reader) PlanOfStage(ctx context.Context, stage int64) (*edge.Plan, error) {
	return r.plan(ctx, `id = (select plan_id from edge_stage where id = $1 and removed = 0)`, stage)
}

// Plan reads a plan with its stages as of one moment.
func (db DB) Plan(ctx context.Context, s arn.Scope, name string) (p *edge.Plan, err error) {
	err = db.View(ctx, func(q store.Querier) error {
		p, err = reader{q, ""}.Plan(ctx, s, name)
		return err
	})
	return p, err
}

// PlanOfStage reads the plan of a stage with all its stages as of one moment;
// nil if the stage is gone, or on its way out.
func (db DB) PlanOfStage(ctx context.Context, stage int64) (p *edge.Plan, err error) {
	err = db.View(ctx, func(q store.Querier) error {
		p, err = reader{q, ""}.PlanOfStage(ctx, stage)
		return err
	})
	return p, err
}

// InsertPlan records a new plan and its stages, and sets its id.
func (tx Tx) InsertPlan(ctx context.Context, p *edge.Plan) (err error) {
	if p.ID, err = tx.Next(ctx, "edge_plan"); err != nil {
		return err
	}
	err = tx.Run(ctx, "insert plan", `
		insert into edge_plan (id, region, account, name, fleet, created, modified, models, policy)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		p.ID, p.Scope.Region, p.Scope.Account, p.Name, p.Fleet, store.Micros(p.Created), store.Micros(p.Modified),
		store.JSON(p.Models), store.JSON(p.Policy))
	if store.Taken(err) {
		return fault.New(fault.InUse, "Edge deployment plan '%s' already exists.", p.Name)
	}
	if err != nil {
		return err
	}
	return tx.InsertStages(ctx, p, 0)
}

// SavePlan records the policy of a plan and when it changed, and wakes its
// stages.
func (tx Tx) SavePlan(ctx context.Context, p *edge.Plan) error {
	err := tx.Run(ctx, "save plan", `update edge_plan set modified = $1, policy = $2 where id = $3`,
		store.Micros(p.Modified), store.JSON(p.Policy), p.ID)
	if err != nil {
		return err
	}
	return tx.Wake(ctx, "edge_stage", p.Modified, `plan_id = ? and deployment <> ''`, p.ID)
}

// DeletePlan removes a plan and its tags. Its stages are on their way out from
// now on.
func (tx Tx) DeletePlan(ctx context.Context, p *edge.Plan) error {
	for _, s := range p.Stages {
		if err := tx.RemoveStage(ctx, s, p.Modified); err != nil {
			return err
		}
	}
	err := tx.Run(ctx, "delete plan", `delete from edge_plan where id = $1`, p.ID)
	if err == nil {
		err = tx.Run(ctx, "delete plan", `delete from edge_event where plan_id = $1`, p.ID)
	}
	if err != nil {
		return err
	}
	return tx.DeleteTags(ctx, p.ARN())
}

// LockPlans locks plans, so that rows of theirs can be changed.
func (tx Tx) LockPlans(ctx context.Context, ids []int64) error {
	if tx.lock == "" {
		return nil // whoever writes is alone
	}
	return tx.Run(ctx, "lock plans",
		`select id from edge_plan where `+tx.Dialect.Among("id", "$1")+` order by id`+tx.lock,
		store.JSON(ids))
}

// ListPlans returns one page of plans without their stages, and whether more
// follow.
func (db DB) ListPlans(
	ctx context.Context, s arn.Scope, f edge.PlanFilter,
) (out []edge.Plan, more bool, err error) {
	w, limit := db.listed(s, f.Times, f.NameContains), cmp.Or(f.Limit, 50)
	w.AndText(db.Dialect.Contains("fleet", "?"), f.FleetContains)
	query := `select ` + planColumns + ` from edge_plan where ` + w.Page(keyset(f.SortBy, f.Ascending, f.After, limit))
	err = db.View(ctx, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, query, w.Args...)
		out, more, err = store.Page(rows, err, "list plans", limit, scanPlan)
		for i := range out {
			p := &out[i]
			if err == nil {
				err = reader{q, ""}.stagesOf(ctx, p)
			}
			p.Scope, p.Stages = s, nil
		}
		return err
	})
	return out, more, err
}

// TellPlan appends a line to a plan's record.
func (tx Tx) TellPlan(ctx context.Context, p *edge.Plan, e edge.PlanEvent) error {
	seq, err := tx.Next(ctx, "edge_event")
	if err != nil {
		return err
	}
	return tx.Run(ctx, "record event", `
		insert into edge_event (seq, plan_id, at, stage, kind, by_whom, told) values ($1, $2, $3, $4, $5, $6, $7)`,
		seq, p.ID, store.Micros(e.At), e.Stage, e.Kind, e.By, e.Text)
}

// maxHistory bounds what is read of a plan's record: the latest lines.
const maxHistory = 10_000

// PlanEvents returns a plan's record, oldest first.
func (db DB) PlanEvents(ctx context.Context, p *edge.Plan) ([]edge.PlanEvent, error) {
	rows, err := db.q.QueryContext(ctx, `
		select at, stage, kind, by_whom, told from (
			select seq, at, stage, kind, by_whom, told from edge_event where plan_id = $1 order by seq desc limit $2) e
		order by seq`, p.ID, maxHistory)
	return store.Collect(rows, err, "read history", func(scan store.Scan) (e edge.PlanEvent, err error) {
		return e, scan(store.Time(&e.At), &e.Stage, &e.Kind, &e.By, &e.Text)
	})
}

// PackageID returns the number under which a package is remembered.
func (tx Tx) PackageID(ctx context.Context, p edge.Package) (id int64, err error) {
	const find = `select id from edge_package where s3url = $1 and sha1 = $2`
	err = tx.QueryRowContext(ctx, find, p.S3URL, p.SHA1).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, store.Wrap("read package", err)
	}
	if id, err = tx.Next(ctx, "edge_package"); err != nil {
		return 0, err
	}
	err = tx.Run(ctx, "insert package", `
		insert into edge_package (id, job, s3url, sha1) values ($1, $2, $3, $4) on conflict (s3url, sha1) do nothing`,
		id, p.Job, p.S3URL, p.SHA1)
	if err != nil {
		return 0, err
	}
	return id, store.Wrap("read package", tx.QueryRowContext(ctx, find, p.S3URL, p.SHA1).Scan(&id))
}

// rivals are the active stages of other plans on a fleet.
const rivals = `
	select p.name, p.models, ` + stageColumns + ` from edge_stage s join edge_plan p on p.id = s.plan_id
	where s.fleet_id = $1 and s.active = 1 and s.plan_id <> $2 order by s.id`

// Rivals returns the stages of other plans that are active on a fleet and
// deploy to a handle that the plan deploys to as well. While the fleet is
// locked, no other can appear.
func (r reader) Rivals(ctx context.Context, fleet int64, p *edge.Plan) (out []edge.Rival, err error) {
	rows, err := r.q.QueryContext(ctx, rivals, fleet, p.ID)
	_, err = store.Collect(rows, err, "look for other plans", func(scan store.Scan) (r edge.Rival, err error) {
		var models []edge.ModelConfig
		r.Stage, err = scanStage(scan, &r.Plan, store.JSON(&models))
		if r.Handle = p.Shares(models); err == nil && r.Handle != "" {
			out = append(out, r)
		}
		return r, err
	})
	return out, err
}
