package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const fleetColumns = `id, name, created, modified, devices, deleting, doc`

func scanFleet(s arn.Scope, scan func(...any) error) (f edge.Fleet, err error) {
	var id, created, modified int64
	var devices, deleting int
	var name, doc string
	if err := scan(&id, &name, &created, &modified, &devices, &deleting, &doc); err != nil {
		return f, err
	}
	if err := json.Unmarshal([]byte(doc), &f); err != nil {
		return f, fmt.Errorf("decode fleet: %w", err)
	}
	f.ID, f.Scope, f.Name, f.Created, f.Modified = id, s, name, FromMicros(created), FromMicros(modified)
	f.Devices, f.Deleting = devices, deleting == 1
	return f, nil
}

func fleet(ctx context.Context, q Querier, s arn.Scope, name, lock string) (edge.Fleet, error) {
	f, err := scanFleet(s, q.QueryRowContext(ctx, `select `+fleetColumns+` from fleet where region = $1 and name = $2`+lock, s.Region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return f, edge.NoFleet(name)
	}
	return f, Wrap("read fleet", err)
}

// Fleet reads a fleet.
func (db *DB) Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error) {
	return fleet(ctx, db.Read(), s, name, "")
}

// Fleet reads and locks a fleet. Whoever locks a fleet and plans locks the
// fleet first.
func (tx *Tx) Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error) {
	return fleet(ctx, tx, s, name, tx.Dialect.ForUpdate)
}

// InsertFleet records a new fleet.
func (tx *Tx) InsertFleet(ctx context.Context, f edge.Fleet) error {
	doc, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode fleet: %w", err)
	}
	id, err := tx.Next(ctx, "fleet")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `insert into fleet (id, region, name, created, modified, doc) values ($1, $2, $3, $4, $5, $6)`,
		id, f.Scope.Region, f.Name, Micros(f.Created), Micros(f.Modified), string(doc))
	if Taken(err) {
		return fault.New(fault.InUse, "Device fleet with name %s already exists", f.Name)
	}
	return Wrap("insert fleet", err)
}

// SaveFleet makes the row agree with f, but for the count of its devices.
func (tx *Tx) SaveFleet(ctx context.Context, f edge.Fleet) error {
	doc, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode fleet: %w", err)
	}
	_, err = tx.ExecContext(ctx, `update fleet set modified = $1, deleting = $2, doc = $3 where id = $4`, Micros(f.Modified), Flag(f.Deleting), string(doc), f.ID)
	return Wrap("save fleet", err)
}

// DeleteFleet removes a fleet that has no devices any more.
func (tx *Tx) DeleteFleet(ctx context.Context, f edge.Fleet) error {
	if _, err := tx.ExecContext(ctx, `delete from fleet where id = $1`, f.ID); err != nil {
		return Wrap("delete fleet", err)
	}
	return tx.DeleteTags(ctx, f.ARN())
}

// ActiveStage returns a stage of the fleet that is being carried out, as
// "stage of plan", or "".
func (tx *Tx) ActiveStage(ctx context.Context, f edge.Fleet) (who string, err error) {
	err = tx.QueryRowContext(ctx, `
		select s.name || ' of edge deployment plan ' || p.name from edge_stage s join edge_plan p on p.id = s.plan_id
		where s.fleet_id = $1 and s.active = 1 order by s.id limit 1`, f.ID).Scan(&who)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return who, Wrap("look for active stages", err)
}

// ListFleets returns one page of fleets, and whether more follow.
func (db *DB) ListFleets(ctx context.Context, s arn.Scope, f edge.FleetFilter) ([]edge.Fleet, bool, error) {
	w := db.edgeList(s, f.Times, f.NameContains)
	limit := pageSize(f.Limit, 100)
	query := `select ` + fleetColumns + ` from fleet where ` + w.page(f.SortBy, f.Ascending, f.After, limit)
	rows, err := db.Read().QueryContext(ctx, query, w.Args...)
	return Page(rows, err, "list fleets", limit, func(scan func(...any) error) (edge.Fleet, error) { return scanFleet(s, scan) })
}

// edgeList collects what fleets and plans are both filtered by. Case matters.
func (db *DB) edgeList(s arn.Scope, t edge.Times, contains string) *Where {
	w := new(Where)
	w.And("region = ?", s.Region)
	if contains != "" {
		w.And(db.Dialect.Contains("name", "?"), contains)
	}
	bound := func(cond string, at time.Time) {
		if !at.IsZero() {
			w.And(cond, Micros(at))
		}
	}
	bound("created > ?", t.CreatedAfter)
	bound("created < ?", t.CreatedBefore)
	bound("modified > ?", t.ModifiedAfter)
	bound("modified < ?", t.ModifiedBefore)
	return w
}

// page returns the conditions with the order and the size of a page: by keyset,
// so that a page costs the same wherever it starts.
func (w *Where) page(sort edge.SortBy, ascending bool, from edge.Cursor, limit int) string {
	by, after := "created", any(from.Micro)
	switch sort {
	case edge.ByPlainName:
		by, after = "name", from.Value
	case edge.ByFleetName:
		by, after = "fleet", from.Value
	case edge.ByModifiedTime:
		by = "modified"
	case edge.ByCreationTime:
	}
	dir, beyond := " desc", "<"
	if ascending {
		dir, beyond = "", ">"
	}
	if from.Name != "" {
		w.And("("+by+", name) "+beyond+" (?, ?)", after, from.Name)
	}
	return fmt.Sprintf(`%s order by %s%s, name%s limit %d`, w.String(), by, dir, dir, limit+1)
}

func pageSize(n, usual int) int {
	if n <= 0 {
		return usual
	}
	return n
}
