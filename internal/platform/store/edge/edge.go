// Package edge keeps fleets, devices, deployment plans, their stages, and a row
// for every device in a stage. What happens to them is decided by domain/edge
// and service/fleet, but for what a statement must decide about many rows at
// once, or while thousands of devices check in:
//
//   - which orders a device is offered (pollOrders), which rows a new start would
//     restart (Restartable, HasRow), and which device acts as a thing
//     (DeviceOfThing): they say in SQL what Stage.Offers, Row.Retryable and
//     Device.Acts say in Go;
//   - when a stage is due whose rows changed (CountRows): at once if nothing is
//     pending any more, or else within a second;
//   - what a device had before a plan deployed to it (PutHandles).
package edge

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// DB keeps the records of the edge. Its methods are transactions.
type DB struct {
	*store.DB
	reader
}

// New returns the records of the edge in an open store, and prepares the
// statements that devices cause by the thousand in a second.
func New(ctx context.Context, db *store.DB) (DB, error) {
	err := db.Prepare(ctx, []string{
		saveRow, countRows, touchPlan, checkinDevice, saveCheckin, saveHeartbeat, rowOf, stageOfOrder, putHandle,
		insertDevice,
	}, []string{pollDevice, pollOrders})
	return DB{db, reader{db.Read(), ""}}, err
}

// Tx is one transaction on the records of the edge. What reads for a change
// locks what it reads: a fleet before a plan, plans in the order of their ids,
// and a plan before its stages and their rows, which have no lock of their own.
type Tx struct {
	*store.Tx
	reader
}

// In returns the records of the edge in a transaction that other records are
// changed in, too.
func In(tx *store.Tx) Tx { return Tx{tx, reader{tx, tx.Dialect.ForUpdate}} }

// Change runs f in a transaction; see store.DB.Change.
func (db DB) Change(ctx context.Context, f func(Tx) error) error {
	return db.DB.Change(ctx, func(tx *store.Tx) error { return f(In(tx)) })
}

// reader has the reads that are the same inside a transaction and outside.
type reader struct {
	q    store.Querier
	lock string // at the end of a select of one fleet, device or plan
}

// ARN returns the ARN of a fleet, device or plan with the names that it has
// itself; see store.Tx.FindName. name is what follows the kind in an ARN.
func (tx Tx) ARN(ctx context.Context, s arn.Scope, kind, name string) (string, error) {
	missing := store.NoResource(s.SageMaker(kind, name))
	switch kind {
	case arn.KindEdgeDeployment:
		_, own, err := tx.FindName(ctx, `select id, name from edge_plan where region = $2`, name, s.Region)
		return found(s.EdgeDeployment(own), own, err, missing)
	case arn.KindDeviceFleet:
		fleet, device := arn.CutDevice(name)
		id, own, err := tx.FindName(ctx, `select id, name from fleet where region = $2`, fleet, s.Region)
		if err != nil || own == "" || device == "" {
			return found(s.DeviceFleet(own), own, err, missing)
		}
		_, member, err := tx.FindExactName(ctx, `select id, name from device where fleet_id = $2`, device, id)
		return found(s.Device(own, member), member, err, missing)
	}
	return "", missing
}

// found returns the ARN of what has a name; "" is what was not found.
func found(resource, name string, err, missing error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case name == "":
		return "", missing
	}
	return resource, nil
}

// moment is a column of a time in which 0 is the zero time.
type moment struct{ t *time.Time }

// Scan implements sql.Scanner.
func (m moment) Scan(src any) error {
	if err := store.Time(m.t).Scan(src); err != nil {
		return err
	}
	if m.t.UnixMicro() == 0 {
		*m.t = time.Time{}
	}
	return nil
}

// momentMicros is how such a column is written.
func momentMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return store.Micros(t)
}

// listed collects what fleets and plans are both filtered by. Case matters.
func (db DB) listed(s arn.Scope, t edge.Times, contains string) *store.Where {
	w := new(store.Where)
	w.And("region = ?", s.Region)
	w.AndText(db.Dialect.Contains("name", "?"), contains)
	w.AndTime("created > ?", t.CreatedAfter)
	w.AndTime("created < ?", t.CreatedBefore)
	w.AndTime("modified > ?", t.ModifiedAfter)
	w.AndTime("modified < ?", t.ModifiedBefore)
	return w
}

func keyset(by edge.SortBy, ascending bool, from edge.Cursor, limit int) store.Keyset {
	k := store.Keyset{By: "created", After: from.Micro, AfterName: from.Name, Descending: !ascending, Limit: limit}
	switch by {
	case edge.ByPlainName:
		k.By, k.After = "name", from.Value
	case edge.ByFleetName:
		k.By, k.After = "fleet", from.Value
	case edge.ByModifiedTime:
		k.By = "modified"
	case edge.ByCreationTime:
	}
	return k
}

// exists reports whether a query has a row.
func (db DB) exists(ctx context.Context, query string, args ...any) (bool, error) {
	var one int
	err := db.q.QueryRowContext(ctx, query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, store.Wrap("look for a row", err)
}

// decodeModels reads what a device said of its models; "" if it never did.
func decodeModels(doc string, into *[]edge.LoadedModel) error {
	if doc == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(doc), into); err != nil {
		return fmt.Errorf("decode models: %w", err)
	}
	return nil
}
