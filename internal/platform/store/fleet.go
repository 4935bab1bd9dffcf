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
	f.ID, f.Scope, f.Name, f.Created, f.Modified = id, s, name, fromMicros(created), fromMicros(modified)
	f.Devices, f.Deleting = devices, deleting == 1
	return f, nil
}

func fleet(ctx context.Context, q querier, s arn.Scope, name, lock string) (edge.Fleet, error) {
	f, err := scanFleet(s, q.QueryRowContext(ctx, `select `+fleetColumns+` from fleet where region = $1 and name = $2`+lock, s.Region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return f, edge.NoFleet(name)
	}
	return f, wrap("read fleet", err)
}

// Fleet reads a fleet.
func (db *DB) Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error) {
	return fleet(ctx, db.read, s, name, "")
}

// Fleet reads and locks a fleet. Whoever locks a fleet and plans locks the
// fleet first.
func (tx *Tx) Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error) {
	return fleet(ctx, tx, s, name, tx.d.forUpdate)
}

// InsertFleet records a new fleet.
func (tx *Tx) InsertFleet(ctx context.Context, f edge.Fleet) error {
	doc, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode fleet: %w", err)
	}
	id, err := tx.next(ctx, "fleet")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `insert into fleet (id, region, name, created, modified, doc) values ($1, $2, $3, $4, $5, $6)`,
		id, f.Scope.Region, f.Name, micros(f.Created), micros(f.Modified), string(doc))
	if taken(err) {
		return fault.New(fault.InUse, "Device fleet with name %s already exists", f.Name)
	}
	return wrap("insert fleet", err)
}

// SaveFleet makes the row agree with f, but for the count of its devices.
func (tx *Tx) SaveFleet(ctx context.Context, f edge.Fleet) error {
	doc, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode fleet: %w", err)
	}
	_, err = tx.ExecContext(ctx, `update fleet set modified = $1, deleting = $2, doc = $3 where id = $4`, micros(f.Modified), flag(f.Deleting), string(doc), f.ID)
	return wrap("save fleet", err)
}

// DeleteFleet removes a fleet that has no devices any more.
func (tx *Tx) DeleteFleet(ctx context.Context, f edge.Fleet) error {
	if _, err := tx.ExecContext(ctx, `delete from fleet where id = $1`, f.ID); err != nil {
		return wrap("delete fleet", err)
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
	return who, wrap("look for active stages", err)
}

// ListFleets returns one page of fleets, and whether more follow.
func (db *DB) ListFleets(ctx context.Context, s arn.Scope, f edge.FleetFilter) ([]edge.Fleet, bool, error) {
	w := db.edgeList(s, f.Times, f.NameContains)
	limit := pageSize(f.Limit, 100)
	query := `select ` + fleetColumns + ` from fleet where ` + w.page(f.SortBy, f.Ascending, f.After, limit)
	rows, err := db.read.QueryContext(ctx, query, w.args...)
	return page(rows, err, "list fleets", limit, func(scan func(...any) error) (edge.Fleet, error) { return scanFleet(s, scan) })
}

// edgeList collects what fleets and plans are both filtered by. Case matters.
func (db *DB) edgeList(s arn.Scope, t edge.Times, contains string) *where {
	w := new(where)
	w.and("region = ?", s.Region)
	if contains != "" {
		w.and(db.d.position+"(name, ?) > 0", contains)
	}
	bound := func(cond string, at time.Time) {
		if !at.IsZero() {
			w.and(cond, micros(at))
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
func (w *where) page(sort edge.SortBy, ascending bool, from edge.Cursor, limit int) string {
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
		w.and("("+by+", name) "+beyond+" (?, ?)", after, from.Name)
	}
	return fmt.Sprintf(`%s order by %s%s, name%s limit %d`, w.all(), by, dir, dir, limit+1)
}

func pageSize(n, usual int) int {
	if n <= 0 {
		return usual
	}
	return n
}

// page reads the rows of one page and one more, which tells whether more follow.
func page[T any](rows *sql.Rows, err error, what string, limit int, scan func(func(...any) error) (T, error)) ([]T, bool, error) {
	out, err := collect(rows, err, what, scan)
	if len(out) > limit {
		return out[:limit], true, err
	}
	return out, false, err
}

// collect reads and closes rows.
func collect[T any](rows *sql.Rows, err error, what string, scan func(func(...any) error) (T, error)) (out []T, _ error) {
	if err != nil {
		return nil, wrap(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scan(rows.Scan)
		if err != nil {
			return nil, wrap(what, err)
		}
		out = append(out, x)
	}
	return out, wrap(what, rows.Err())
}
