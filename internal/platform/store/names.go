package store

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// NoResource says that no resource has an ARN.
func NoResource(arn string) error {
	return fault.New(fault.NotFound, "Could not find resource %q.", arn)
}

// The ways to compare a name with the first argument of a statement.
const (
	exactly      = ` and name = $1`
	inAnyLetters = ` and lower(name) = lower($1)`
)

// FindName finds a name, which is $1, among those of a select of id and name, and
// returns it as the resource itself has it: some tools lower the case of what
// they put into an ARN (edge spec §1.4). It is looked for as it is written, then
// in any letters if that means one resource only; it is "" if there is none.
func (tx *Tx) FindName(ctx context.Context, query, name string, args ...any) (id int64, own string, err error) {
	if id, own, err = tx.find(ctx, query+exactly, name, args); err != nil || own != "" {
		return id, own, err
	}
	return tx.find(ctx, query+inAnyLetters, name, args)
}

// FindExactName is FindName for names of which there may be a million: only as
// they are written.
func (tx *Tx) FindExactName(ctx context.Context, query, name string, args ...any) (id int64, own string, err error) {
	return tx.find(ctx, query+exactly, name, args)
}

func (tx *Tx) find(ctx context.Context, query, name string, args []any) (id int64, own string, err error) {
	n := 0
	rows, err := tx.QueryContext(ctx, query+` limit 2`, append([]any{name}, args...)...)
	_, err = Collect(rows, err, "find a resource", func(scan Scan) (none struct{}, err error) {
		n++
		return none, scan(&id, &own)
	})
	if n != 1 {
		return 0, "", err
	}
	return id, own, err
}
