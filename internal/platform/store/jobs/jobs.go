// Package jobs keeps compilation and packaging jobs, which are a queue, the
// least serials of packages that devices accept, and the keys that sign
// packages. What a job does next is decided by domain/packaging.
package jobs

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// DB keeps jobs and keys. Its methods are transactions.
type DB struct {
	*store.DB
	reader
}

// New returns the jobs and keys of an open store.
func New(db *store.DB) DB { return DB{db, reader{db.Read(), ""}} }

// Tx is one transaction on jobs and keys. It locks the jobs that it reads.
type Tx struct {
	*store.Tx
	reader
}

// In returns the jobs and keys in a transaction that other records are changed
// in, too.
func In(tx *store.Tx) Tx { return Tx{tx, reader{tx, tx.Dialect.ForUpdate}} }

// Change runs f in a transaction; see store.DB.Change.
func (db DB) Change(ctx context.Context, f func(Tx) error) error {
	return db.DB.Change(ctx, func(tx *store.Tx) error { return f(In(tx)) })
}

// reader has the reads that are the same inside a transaction and outside.
type reader struct {
	q    store.Querier
	lock string // at the end of a select of jobs
}

// InsertJob records a new job, due at once; a name in use is the fault that
// clients know.
func (tx Tx) InsertJob(ctx context.Context, j *packaging.Job) error {
	err := tx.Run(ctx, "insert job", `
		insert into job (id, kind, region, name, model_name, status, created, modified, due, doc)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		j.ID, string(j.Kind), j.Scope.Region, j.Name, j.ModelName(), string(j.State.Status),
		store.Micros(j.State.Created), store.Micros(j.State.Modified), store.Micros(j.State.Created), store.JSON(j))
	if store.Taken(err) {
		return j.Exists()
	}
	return err
}

// Job reads a job; a missing one is packaging.Missing.
func (r reader) Job(ctx context.Context, k packaging.Kind, s arn.Scope, name string) (*packaging.Job, error) {
	j, err := r.job(ctx, `kind = $1 and region = $2 and name = $3`, string(k), s.Region, name)
	if j == nil && err == nil {
		return nil, packaging.Missing(k, name)
	}
	return j, err
}

// JobByID reads a job; nil if it is gone.
func (r reader) JobByID(ctx context.Context, id string) (*packaging.Job, error) {
	return r.job(ctx, `id = $1`, id)
}

func (r reader) job(ctx context.Context, cond string, args ...any) (*packaging.Job, error) {
	j := new(packaging.Job)
	err := r.q.QueryRowContext(ctx, `select doc from job where `+cond+r.lock, args...).Scan(store.JSON(j))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return j, store.Wrap("read job", err)
}

// ARN returns the ARN of a job with the name that it has itself; see
// store.Tx.FindName.
func (tx Tx) ARN(ctx context.Context, k packaging.Kind, s arn.Scope, name string) (string, error) {
	j := packaging.Job{Kind: k, Scope: s, Name: name}
	_, own, err := tx.FindName(ctx, `select 0, name from job where kind = $2 and region = $3`, name, string(k),
		s.Region)
	if err == nil && own == "" {
		err = store.NoResource(j.ARN())
	}
	j.Name = own
	return j.ARN(), err
}

// SaveJob writes a job's state and what came of it. One that ended is due
// never again; another one is due at the given time.
func (tx Tx) SaveJob(ctx context.Context, j *packaging.Job, due time.Time) error {
	if j.State.Status.Terminal() {
		due = time.Time{}
	}
	return tx.Run(ctx, "save job",
		`update job set status = $1, modified = $2, due = $3, doc = $4, wakes = wakes + 1 where id = $5`,
		string(j.State.Status), store.Micros(j.State.Modified), store.NullMicros(due), store.JSON(j), j.ID)
}

// DeleteJob removes a job's record and its tags.
func (tx Tx) DeleteJob(ctx context.Context, j *packaging.Job) error {
	if err := tx.Run(ctx, "delete job", `delete from job where id = $1`, j.ID); err != nil {
		return err
	}
	return tx.DeleteTags(ctx, j.ARN())
}

// UnfinishedJobs counts the jobs that have not ended.
func (tx Tx) UnfinishedJobs(ctx context.Context) (n int, err error) {
	err = tx.QueryRowContext(ctx, `select count(*) from job where due is not null`).Scan(&n)
	return n, store.Wrap("count jobs", err)
}

// ListJobs returns one page of jobs, and whether more follow.
func (db DB) ListJobs(ctx context.Context, s arn.Scope, f packaging.Filter) ([]*packaging.Job, bool, error) {
	w := new(store.Where)
	w.And("kind = ? and region = ?", string(f.Kind), s.Region)
	w.AndText(db.Dialect.Contains("name", "?"), f.NameContains)
	w.AndText(db.Dialect.Contains("model_name", "?"), f.ModelNameContains)
	w.AndText("status = ?", string(f.Status))
	w.AndTime("created > ?", f.CreatedAfter)
	w.AndTime("created < ?", f.CreatedBefore)
	w.AndTime("modified > ?", f.ModifiedAfter)
	w.AndTime("modified < ?", f.ModifiedBefore)
	k := store.Keyset{
		By: string(packaging.ByCreated), After: f.After.Micro, AfterName: f.After.Name,
		Descending: f.Descending, Limit: f.Limit,
	}
	switch f.SortBy {
	case packaging.ByName, packaging.ByModelName, packaging.ByStatus:
		k.By, k.After = string(f.SortBy), f.After.Text
	case packaging.ByModified:
		k.By = string(f.SortBy)
	case packaging.ByCreated:
	}
	query := `select doc from job where ` + w.Page(k)
	rows, err := db.Read().QueryContext(ctx, query, w.Args...)
	return store.Page(rows, err, "list jobs", f.Limit, func(scan store.Scan) (*packaging.Job, error) {
		j := new(packaging.Job)
		return j, scan(store.JSON(j))
	})
}

// Jobs returns the queue of jobs, by id.
func (db DB) Jobs() *store.Queue { return db.Queue("job", "id") }

// RenewJob keeps the lease of a job that is being worked on, and returns its
// status, so that the worker learns when it shall stop; "" if it is gone.
func (db DB) RenewJob(ctx context.Context, id string, until time.Time) (status packaging.Status, err error) {
	err = db.Change(ctx, func(tx Tx) error {
		return tx.QueryRowContext(ctx, `update job set leased_until = $1 where id = $2 and lease > 0 returning status`,
			store.Micros(until), id).Scan(&status)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return status, store.Wrap("renew the lease of a job", err)
}
