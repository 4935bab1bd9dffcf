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
	"github.com/slipway-ml/slipway/internal/platform/loop"
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
		micros(j.State.Created), micros(j.State.Modified), micros(j.State.Created), string(doc))
	if taken(err) {
		return j.Exists()
	}
	return wrap("insert job", err)
}

// Job reads and locks a job; a missing one is packaging.Missing.
func (tx *Tx) Job(ctx context.Context, k packaging.Kind, s arn.Scope, name string) (*packaging.Job, error) {
	return job(ctx, tx, k, s, name, tx.d.forUpdate)
}

// Job reads a job.
func (db *DB) Job(ctx context.Context, k packaging.Kind, s arn.Scope, name string) (*packaging.Job, error) {
	return job(ctx, db.read, k, s, name, "")
}

func job(ctx context.Context, q querier, k packaging.Kind, s arn.Scope, name, lock string) (*packaging.Job, error) {
	var j packaging.Job
	err := scanDoc(q.QueryRowContext(ctx, `select doc from job where kind = $1 and region = $2 and name = $3`+lock, string(k), s.Region, name), &j)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, packaging.Missing(k, name)
	}
	return &j, wrap("read job", err)
}

// jobARN returns the ARN of a job, for tags: one whose name is written in other
// letters is found if it is the only one (edge spec §1.4).
func (tx *Tx) jobARN(ctx context.Context, k packaging.Kind, s arn.Scope, name string, missing error) (string, error) {
	rows, err := tx.QueryContext(ctx, `select name from job where kind = $1 and region = $2 and lower(name) = lower($3)`, string(k), s.Region, name)
	if err != nil {
		return "", wrap("find job", err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var own string
		if err := rows.Scan(&own); err != nil {
			return "", wrap("find job", err)
		}
		if own == name {
			found = []string{own}
			break
		}
		found = append(found, own)
	}
	if err := rows.Err(); err != nil {
		return "", wrap("find job", err)
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
	err := scanDoc(tx.QueryRowContext(ctx, `select doc from job where id = $1`+tx.d.forUpdate, id), &j)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &j, wrap("read job", err)
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
		string(j.State.Status), micros(j.State.Modified), nullMicros(due), string(doc), j.ID)
	return wrap("save job", err)
}

// DeleteJob removes a job's record.
func (tx *Tx) DeleteJob(ctx context.Context, j *packaging.Job) error {
	_, err := tx.ExecContext(ctx, `delete from job where id = $1`, j.ID)
	return wrap("delete job", err)
}

// UnfinishedJobs counts the jobs that have not ended.
func (tx *Tx) UnfinishedJobs(ctx context.Context) (n int, err error) {
	err = tx.QueryRowContext(ctx, `select count(*) from job where due is not null`).Scan(&n)
	return n, wrap("count jobs", err)
}

// ListJobs returns one page of jobs, and whether more follow.
func (db *DB) ListJobs(ctx context.Context, s arn.Scope, f packaging.Filter) ([]*packaging.Job, bool, error) {
	query, args := db.jobsQuery(s, f)
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, wrap("list jobs", err)
	}
	defer rows.Close()
	var out []*packaging.Job
	for rows.Next() {
		var doc string
		if err := rows.Scan(&doc); err != nil {
			return nil, false, wrap("list jobs", err)
		}
		j := new(packaging.Job)
		if err := json.Unmarshal([]byte(doc), j); err != nil {
			return nil, false, wrap("list jobs", err)
		}
		out = append(out, j)
	}
	if err := rows.Err(); err != nil {
		return nil, false, wrap("list jobs", err)
	}
	if len(out) > f.Limit {
		return out[:f.Limit], true, nil
	}
	return out, false, nil
}

// jobsQuery pages by keyset, as listQuery does.
func (db *DB) jobsQuery(s arn.Scope, f packaging.Filter) (string, []any) {
	var w where
	w.and("kind = ? and region = ?", string(f.Kind), s.Region)
	contains := func(column, part string) {
		if part != "" {
			w.and(db.d.position+"("+column+", ?) > 0", part)
		}
	}
	contains("name", f.NameContains)
	contains("model_name", f.ModelNameContains)
	if f.Status != "" {
		w.and("status = ?", string(f.Status))
	}
	bound := func(cond string, t time.Time) {
		if !t.IsZero() {
			w.and(cond, micros(t))
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
		w.and("("+by+", name) "+beyond+" (?, ?)", after, f.After.Name)
	}
	return fmt.Sprintf(`select doc from job where %s order by %s%s, name%s limit %d`, w.all(), by, dir, dir, f.Limit+1), w.args
}

// Jobs is the queue of jobs.
type Jobs struct{ DB *DB }

var _ loop.Queue = Jobs{}

// Claim implements loop.Queue.
func (q Jobs) Claim(ctx context.Context, now, until time.Time) (c loop.Claim, next time.Time, err error) {
	db := q.DB
	err = db.write.QueryRowContext(ctx, `
		update job set leased_until = $1, lease = $1
		where id = (
			select id from job
			where due <= $2 and leased_until <= $2
			order by due limit 1`+db.d.skipLocked+`)
		returning id, wakes`, micros(until), micros(now)).Scan(&c.Key, &c.Wakes)
	if err == nil {
		c.Until = until
		return c, next, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return c, next, wrap("claim job", err)
	}
	var at sql.NullInt64
	err = db.read.QueryRowContext(ctx, `select min(case when leased_until > due then leased_until else due end) from job where due is not null`).Scan(&at)
	if at.Valid {
		next = fromMicros(at.Int64)
	}
	return loop.Claim{}, next, wrap("look for the next job", err)
}

// Release implements loop.Queue.
func (q Jobs) Release(ctx context.Context, c loop.Claim, due time.Time) error {
	_, err := q.DB.write.ExecContext(ctx, `
		update job set leased_until = 0, lease = 0, due = case when due is null then null when wakes = $4 then $1 else due end
		where id = $2 and lease = $3`, nullMicros(due), c.Key, micros(c.Until), c.Wakes)
	return wrap("release job", err)
}

// RenewJob keeps the lease of a job that is being worked on, and returns its
// status, so that the worker learns when it shall stop; "" if it is gone.
func (db *DB) RenewJob(ctx context.Context, id string, until time.Time) (status packaging.Status, err error) {
	err = db.write.QueryRowContext(ctx, `update job set leased_until = $1 where id = $2 and lease > 0 returning status`, micros(until), id).Scan(&status)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return status, wrap("renew the lease of a job", err)
}

// ForgetJobLeases is ForgetLeases for jobs.
func (db *DB) ForgetJobLeases(ctx context.Context) error {
	_, err := db.write.ExecContext(ctx, `update job set leased_until = 0, lease = 0 where leased_until > 0`)
	return wrap("forget leases of jobs", err)
}
