package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Querier is what a read needs: a transaction, a View, or DB.Read.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Scan reads the columns of one row, as sql.Rows.Scan does.
type Scan = func(into ...any) error

// Wrap says what failed; nil stays nil. That the database is away is a
// fault.Unavailable.
func Wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, classify(err))
}

// Collect reads and closes the rows of a query: it takes the results of
// QueryContext, and what is being done, for the error.
func Collect[T any](rows *sql.Rows, err error, what string, scan func(Scan) (T, error)) (out []T, _ error) {
	if err != nil {
		return nil, Wrap(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scan(rows.Scan)
		if err != nil {
			return nil, Wrap(what, err)
		}
		out = append(out, x)
	}
	return out, Wrap(what, rows.Err())
}

// Page is Collect for a query of one page and one row more, which tells whether
// more follow.
func Page[T any](rows *sql.Rows, err error, what string, limit int, scan func(Scan) (T, error)) ([]T, bool, error) {
	out, err := Collect(rows, err, what, scan)
	if len(out) > limit {
		return out[:limit], true, err
	}
	return out, false, err
}

// Where collects the conditions of a query and their arguments. Columns are
// ours, never names from outside.
type Where struct {
	conds []string
	Args  []any
}

// And adds a condition in which each ? stands for the next argument.
func (w *Where) And(cond string, args ...any) {
	for _, a := range args {
		w.Args = append(w.Args, a)
		cond = strings.Replace(cond, "?", fmt.Sprintf("$%d", len(w.Args)), 1)
	}
	w.conds = append(w.conds, cond)
}

// AndTime adds a condition on a time, unless it is the zero time.
func (w *Where) AndTime(cond string, t time.Time) {
	if !t.IsZero() {
		w.And(cond, Micros(t))
	}
}

// AndText adds a condition on a text, unless it is empty.
func (w *Where) AndText(cond, text string) {
	if text != "" {
		w.And(cond, text)
	}
}

// String returns the conditions.
func (w *Where) String() string { return strings.Join(w.conds, " and ") }

// A Keyset orders the rows of a listing by one of our columns, then by name,
// and says after which row a page begins: so a page costs the same wherever it
// starts.
type Keyset struct {
	By         string // a column
	Descending bool
	After      any    // its value in the last row of the page before
	AfterName  string // that row's name; "" for the first page
	Limit      int    // rows of a page; one more is read, for Page
}

// Page returns the conditions with the order and the size of a page.
func (w *Where) Page(k Keyset) string {
	direction, beyond := "", ">"
	if k.Descending {
		direction, beyond = " desc", "<"
	}
	if k.AfterName != "" {
		w.And("("+k.By+", name) "+beyond+" (?, ?)", k.After, k.AfterName)
	}
	return fmt.Sprintf(`%s order by %s%s, name%s limit %d`, w, k.By, direction, direction, k.Limit+1)
}

// callTimeout bounds every transaction and every read that the caller bounds no
// tighter: a database that is frozen or out of reach must not hold its callers.
const callTimeout = 10 * time.Second

// bounded returns a context for reading rows, which goes on after the call that
// begins it has returned.
func bounded(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	context.AfterFunc(ctx, cancel)
	return ctx
}
