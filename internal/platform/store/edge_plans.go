package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const planColumns = `id, name, fleet, created, modified, models, policy`

func scanPlan(s arn.Scope, scan func(...any) error) (edge.Plan, error) {
	p := edge.Plan{Scope: s}
	var created, modified int64
	var models, policy string
	if err := scan(&p.ID, &p.Name, &p.Fleet, &created, &modified, &models, &policy); err != nil {
		return p, err
	}
	p.Created, p.Modified = FromMicros(created), FromMicros(modified)
	return p, errors.Join(json.Unmarshal([]byte(models), &p.Models), json.Unmarshal([]byte(policy), &p.Policy))
}

// plan reads a plan with its stages. Whoever changes a stage or its rows holds
// the lock of the plan's row, which is why nothing else is locked.
func plan(ctx context.Context, q Querier, s arn.Scope, name, lock string) (*edge.Plan, error) {
	p, err := scanPlan(s, q.QueryRowContext(ctx, `select `+planColumns+` from edge_plan where region = $1 and name = $2`+lock, s.Region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, edge.NoPlan(name)
	}
	if err != nil {
		return nil, Wrap("read plan", err)
	}
	return &p, stagesOf(ctx, q, &p)
}

// Plan reads a plan with its stages as of one moment.
func (db *DB) Plan(ctx context.Context, s arn.Scope, name string) (p *edge.Plan, err error) {
	err = db.View(ctx, func(tx Querier) error {
		p, err = plan(ctx, tx, s, name, "")
		return err
	})
	return p, err
}

// Plan reads and locks a plan with its stages.
func (tx *Tx) Plan(ctx context.Context, s arn.Scope, name string) (*edge.Plan, error) {
	return plan(ctx, tx, s, name, tx.Dialect.ForUpdate)
}

// PlanOfStage reads and locks the plan of a stage with all its stages; nil if
// the stage is gone, or on its way out.
func (tx *Tx) PlanOfStage(ctx context.Context, stage int64) (*edge.Plan, error) {
	return planOfStage(ctx, tx, stage, tx.Dialect.ForUpdate)
}

// PlanOfStage reads the plan of a stage with all its stages; nil if the stage
// is gone, or on its way out.
func (db *DB) PlanOfStage(ctx context.Context, stage int64) (p *edge.Plan, err error) {
	err = db.View(ctx, func(tx Querier) error {
		p, err = planOfStage(ctx, tx, stage, "")
		return err
	})
	return p, err
}

func planOfStage(ctx context.Context, q Querier, stage int64, lock string) (*edge.Plan, error) {
	var s arn.Scope
	var p edge.Plan
	var err error
	row := q.QueryRowContext(ctx, `select region, account, `+planColumns+` from edge_plan
		where id = (select plan_id from edge_stage where id = $1 and removed = 0)`+lock, stage)
	p, err = scanPlan(s, func(into ...any) error { return row.Scan(append([]any{&s.Region, &s.Account}, into...)...) })
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, Wrap("read plan", err)
	}
	p.Scope = s
	if err := stagesOf(ctx, q, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

// InsertPlan records a new plan and its stages, and sets its id.
func (tx *Tx) InsertPlan(ctx context.Context, p *edge.Plan) (err error) {
	models, err := json.Marshal(p.Models)
	if err != nil {
		return fmt.Errorf("encode models: %w", err)
	}
	policy, err := json.Marshal(p.Policy)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	if p.ID, err = tx.Next(ctx, "edge_plan"); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into edge_plan (id, region, account, name, fleet, created, modified, models, policy) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		p.ID, p.Scope.Region, p.Scope.Account, p.Name, p.Fleet, Micros(p.Created), Micros(p.Modified), string(models), string(policy))
	if Taken(err) {
		return fault.New(fault.InUse, "Edge deployment plan '%s' already exists.", p.Name)
	}
	if err != nil {
		return Wrap("insert plan", err)
	}
	return tx.InsertStages(ctx, p, 0)
}

// SavePlan records the policy of a plan and when it changed, and wakes its
// stages.
func (tx *Tx) SavePlan(ctx context.Context, p *edge.Plan) error {
	policy, err := json.Marshal(p.Policy)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `update edge_plan set modified = $1, policy = $2 where id = $3`, Micros(p.Modified), string(policy), p.ID); err != nil {
		return Wrap("save plan", err)
	}
	_, err = tx.ExecContext(ctx, `update edge_stage set due = $1, wakes = wakes + 1 where plan_id = $2 and deployment <> ''`, Micros(p.Modified), p.ID)
	return Wrap("wake stages", err)
}

// DeletePlan removes a plan. Its stages are on their way out from now on.
func (tx *Tx) DeletePlan(ctx context.Context, p *edge.Plan) error {
	for _, s := range p.Stages {
		if err := tx.RemoveStage(ctx, p, s, p.Modified); err != nil {
			return err
		}
	}
	for _, q := range []string{`delete from edge_plan where id = $1`, `delete from edge_event where plan_id = $1`} {
		if _, err := tx.ExecContext(ctx, q, p.ID); err != nil {
			return Wrap("delete plan", err)
		}
	}
	return tx.DeleteTags(ctx, p.ARN())
}

// ListPlans returns one page of plans without their stages, and whether more
// follow.
func (db *DB) ListPlans(ctx context.Context, s arn.Scope, f edge.PlanFilter) (out []edge.Plan, more bool, err error) {
	w := db.edgeList(s, f.Times, f.NameContains)
	if f.FleetContains != "" {
		w.And(db.Dialect.Contains("fleet", "?"), f.FleetContains)
	}
	limit := pageSize(f.Limit, 50)
	query := `select ` + planColumns + ` from edge_plan where ` + w.page(f.SortBy, f.Ascending, f.After, limit)
	err = db.View(ctx, func(tx Querier) error {
		rows, err := tx.QueryContext(ctx, query, w.Args...)
		out, more, err = Page(rows, err, "list plans", limit, func(scan func(...any) error) (edge.Plan, error) { return scanPlan(s, scan) })
		for i := range out {
			p := &out[i]
			if err == nil {
				err = stagesOf(ctx, tx, p)
			}
			p.Stages = nil
		}
		return err
	})
	return out, more, err
}

// TellPlan appends a line to a plan's record.
func (tx *Tx) TellPlan(ctx context.Context, p *edge.Plan, e edge.PlanEvent) error {
	seq, err := tx.Next(ctx, "edge_event")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `insert into edge_event (seq, plan_id, at, stage, kind, by_whom, told) values ($1, $2, $3, $4, $5, $6, $7)`,
		seq, p.ID, Micros(e.At), e.Stage, e.Kind, e.By, e.Text)
	return Wrap("record event", err)
}

// maxHistory bounds what is read of a plan's record: the latest lines.
const maxHistory = 10_000

// PlanEvents returns a plan's record, oldest first.
func (db *DB) PlanEvents(ctx context.Context, p *edge.Plan) ([]edge.PlanEvent, error) {
	rows, err := db.Read().QueryContext(ctx, `
		select at, stage, kind, by_whom, told from (
			select seq, at, stage, kind, by_whom, told from edge_event where plan_id = $1 order by seq desc limit $2) e order by seq`, p.ID, maxHistory)
	return Collect(rows, err, "read history", func(scan func(...any) error) (e edge.PlanEvent, err error) {
		var at int64
		err = scan(&at, &e.Stage, &e.Kind, &e.By, &e.Text)
		e.At = FromMicros(at)
		return e, err
	})
}

// PackageID returns the number under which a package is remembered.
func (tx *Tx) PackageID(ctx context.Context, p edge.Package) (id int64, err error) {
	const find = `select id from edge_package where s3url = $1 and sha1 = $2`
	err = tx.QueryRowContext(ctx, find, p.S3URL, p.SHA1).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, Wrap("read package", err)
	}
	if id, err = tx.Next(ctx, "edge_package"); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `insert into edge_package (id, job, s3url, sha1) values ($1, $2, $3, $4) on conflict (s3url, sha1) do nothing`, id, p.Job, p.S3URL, p.SHA1)
	if err != nil {
		return 0, Wrap("insert package", err)
	}
	return id, Wrap("read package", tx.QueryRowContext(ctx, find, p.S3URL, p.SHA1).Scan(&id))
}

// JobInUse returns the name of a plan that deploys the package of a job, or "".
func (db *DB) JobInUse(ctx context.Context, s arn.Scope, job string) (plan string, err error) {
	rows, err := db.Read().QueryContext(ctx, `select `+planColumns+` from edge_plan where region = $1`, s.Region)
	ps, err := Collect(rows, err, "read plans", func(scan func(...any) error) (edge.Plan, error) { return scanPlan(s, scan) })
	for _, p := range ps {
		for _, m := range p.Models {
			if m.Job == job {
				return p.Name, err
			}
		}
	}
	return "", err
}
