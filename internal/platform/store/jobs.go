package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
)

// InsertJob records a new job, due at once; a name in use is the fault that
// clients know.
func (tx *Tx) InsertJob(ctx context.Context, j *packaging.Job) error {
	doc, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode job: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		insert into job (id, kind, region, name, model_name, status, created, modified, due, doc)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		j.ID, string(j.Kind), j.Scope.Region, j.Name, j.ModelName(), string(j.State.Status),
		Micros(j.State.Created), Micros(j.State.Modified), Micros(j.State.Created), string(doc))
	if Taken(err) {
		return j.Exists()
	}
	return Wrap("insert job", err)
}

// Job reads and locks a job; a missing one is packaging.Missing.
func (tx *Tx) Job(ctx context.Context, k packaging.Kind, s arn.Scope, name string) (*packaging.Job, error) {
	return job(ctx, tx, k, s, name, tx.Dialect.ForUpdate)
}

// Job reads a job.
func (db *DB) Job(ctx context.Context, k packaging.Kind, s arn.Scope, name string) (*packaging.Job, error) {
	return job(ctx, db.Read(), k, s, name, "")
}

func job(ctx context.Context, q Querier, k packaging.Kind, s arn.Scope, name, lock string) (*packaging.Job, error) {
	var j packaging.Job
	err := ScanDoc(q.QueryRowContext(ctx, `select doc from job where kind = $1 and region = $2 and name = $3`+lock, string(k), s.Region, name), &j)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, packaging.Missing(k, name)
	}
	return &j, Wrap("read job", err)
}

// jobARN returns the ARN of a job, for tags: one whose name is written in other
// letters is found if it is the only one (edge spec §1.4).
func (tx *Tx) jobARN(ctx context.Context, k packaging.Kind, s arn.Scope, name string, missing error) (string, error) {
	rows, err := tx.QueryContext(ctx, `select name from job where kind = $1 and region = $2 and lower(name) = lower($3)`, string(k), s.Region, name)
	if err != nil {
		return "", Wrap("find job", err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var own string
		if err := rows.Scan(&own); err != nil {
			return "", Wrap("find job", err)
		}
		if own == name {
			found = []string{own}
			break
		}
		found = append(found, own)
	}
	if err := rows.Err(); err != nil {
		return "", Wrap("find job", err)
	}
	if len(found) != 1 {
		return "", missing
	}
	j := packaging.Job{Kind: k, Scope: s, Name: found[0]}
	return j.ARN(), nil
}

// JobByID reads and locks a job; nil if it is gone.
func (tx *Tx) JobByID(ctx context.Context, id string) (*packaging.Job, error) {
	var j packaging.Job
	err := ScanDoc(tx.QueryRowContext(ctx, `select doc from job where id = $1`+tx.Dialect.ForUpdate, id), &j)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &j, Wrap("read job", err)
}

// SaveJob writes a job's state and what came of it. One that ended is due
// never again; another one is due at the given time.
func (tx *Tx) SaveJob(ctx context.Context, j *packaging.Job, due time.Time) error {
	doc, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode job: %w", err)
	}
	if j.State.Status.Terminal() {
		due = time.Time{}
	}
	_, err = tx.ExecContext(ctx, `update job set status = $1, modified = $2, due = $3, doc = $4, wakes = wakes + 1 where id = $5`,
		string(j.State.Status), Micros(j.State.Modified), NullMicros(due), string(doc), j.ID)
	return Wrap("save job", err)
}

// DeleteJob removes a job's record.
func (tx *Tx) DeleteJob(ctx context.Context, j *packaging.Job) error {
	_, err := tx.ExecContext(ctx, `delete from job where id = $1`, j.ID)
	return Wrap("delete job", err)
}

// UnfinishedJobs counts the jobs that have not ended.
func (tx *Tx) UnfinishedJobs(ctx context.Context) (n int, err error) {
	err = tx.QueryRowContext(ctx, `select count(*) from job where due is not null`).Scan(&n)
	return n, Wrap("count jobs", err)
}

// ListJobs returns one page of jobs, and whether more follow.
func (db *DB) ListJobs(ctx context.Context, s arn.Scope, f packaging.Filter) ([]*packaging.Job, bool, error) {
	query, args := db.jobsQuery(s, f)
	rows, err := db.Read().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, Wrap("list jobs", err)
	}
	defer rows.Close()
	var out []*packaging.Job
	for rows.Next() {
		var doc string
		if err := rows.Scan(&doc); err != nil {
			return nil, false, Wrap("list jobs", err)
		}
		j := new(packaging.Job)
		if err := json.Unmarshal([]byte(doc), j); err != nil {
			return nil, false, Wrap("list jobs", err)
		}
		out = append(out, j)
	}
	if err := rows.Err(); err != nil {
		return nil, false, Wrap("list jobs", err)
	}
	if len(out) > f.Limit {
		return out[:f.Limit], true, nil
	}
	return out, false, nil
}

// jobsQuery pages by keyset, as listQuery does.
func (db *DB) jobsQuery(s arn.Scope, f packaging.Filter) (string, []any) {
	var w Where
	w.And("kind = ? and region = ?", string(f.Kind), s.Region)
	contains := func(column, part string) {
		if part != "" {
			w.And(db.Dialect.Contains(column, "?"), part)
		}
	}
	contains("name", f.NameContains)
	contains("model_name", f.ModelNameContains)
	if f.Status != "" {
		w.And("status = ?", string(f.Status))
	}
	bound := func(cond string, t time.Time) {
		if !t.IsZero() {
			w.And(cond, Micros(t))
		}
	}
	bound("created > ?", f.CreatedAfter)
	bound("created < ?", f.CreatedBefore)
	bound("modified > ?", f.ModifiedAfter)
	bound("modified < ?", f.ModifiedBefore)
	by, after := "created", any(f.After.Micro)
	switch f.SortBy {
	case packaging.ByName, packaging.ByModelName, packaging.ByStatus:
		by, after = string(f.SortBy), f.After.Text
	case packaging.ByModified:
		by = string(f.SortBy)
	case packaging.ByCreated:
	}
	dir, beyond := "", ">"
	if f.Descending {
		dir, beyond = " desc", "<"
	}
	if f.After.Name != "" {
		w.And("("+by+", name) "+beyond+" (?, ?)", after, f.After.Name)
	}
	return fmt.Sprintf(`select doc from job where %s order by %s%s, name%s limit %d`, w.String(), by, dir, dir, f.Limit+1), w.Args
}

// Jobs is the queue of jobs.
func (db *DB) Jobs() *Queue { return db.Queue("job", "id") }

// RenewJob keeps the lease of a job that is being worked on, and returns its
// status, so that the worker learns when it shall stop; "" if it is gone.
func (db *DB) RenewJob(ctx context.Context, id string, until time.Time) (status packaging.Status, err error) {
	err = db.write.QueryRowContext(ctx, `update job set leased_until = $1 where id = $2 and lease > 0 returning status`, Micros(until), id).Scan(&status)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return status, Wrap("renew the lease of a job", err)
}
