package store

import (
	"context"
	"errors"
)

// OnServerOf has a database say on which server it is by a query of the test's.
func (db *DB) OnServerOf(query string) { db.Dialect.server = query }

// TellsServer fails if it is not known on which server a database is.
func (db *DB) TellsServer(ctx context.Context) error {
	server, err := db.server(ctx)
	if err == nil && server == "" {
		err = errors.New("it does not tell")
	}
	return err
}
