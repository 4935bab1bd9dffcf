package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A Generation is a state of a database: a server's start on it, and how far it
// has come since.
type Generation struct {
	Database string `json:"database"` // the database's identity
	Term     int64  `json:"term"`     // which start of a server it was
	Token    string `json:"token"`    // of that start; in a database that was copied, others have the term
	Position int64  `json:"position"` // the sum of all counters: it only grows
	// System is PostgreSQL's system identifier and timeline; "" where it does not
	// tell, and for SQLite.
	System string `json:"system,omitempty"`
}

// Name is what people call the generation by.
func (g Generation) Name() string {
	id, _, _ := strings.Cut(g.Database, "-")
	return fmt.Sprintf("%s.%d", cmp.Or(id, "empty"), g.Term)
}

// generation reads the newest generation of a database; the zero value, but for
// the position, if no server has started on it.
func (d Dialect) generation(ctx context.Context, q Querier) (g Generation, err error) {
	err = q.QueryRowContext(ctx, `
		select coalesce((select token from generation order by term limit 1), ''),
			coalesce((select max(term) from generation), 0),
			coalesce((select token from generation order by term desc limit 1), ''),
			cast(coalesce(sum(n), 0) as bigint)
		from counter`).Scan(&g.Database, &g.Term, &g.Token, &g.Position)
	return g, Wrap("read the generation of the database", err)
}

// system returns Generation.System.
func (db *DB) system(ctx context.Context) (system string) {
	if db.Dialect.system == "" {
		return ""
	}
	// Who may not know gets "": then the other marks have to do.
	_ = db.Read().QueryRowContext(ctx, db.Dialect.system).Scan(&system)
	return system
}

// server names the server and the start of it on which the database is; "" if it
// does not tell. A database of the same name may be an older one.
func (db *DB) server(ctx context.Context) (server string, err error) {
	if db.Dialect.server == "" {
		return "", nil
	}
	err = db.Read().QueryRowContext(ctx, db.Dialect.server).Scan(&server)
	return server, Wrap("read which server the database is on", err)
}

// starts are how many of the last starts are kept.
const starts = 1000

// begin records the start of this server, and returns its generation.
func (db *DB) begin(ctx context.Context) (g Generation, err error) {
	token := uuid.NewString()
	err = db.Change(ctx, func(tx *Tx) error {
		if g, err = db.Dialect.generation(ctx, tx); err != nil {
			return err
		}
		g.Term, g.Token, g.Database = g.Term+1, token, cmp.Or(g.Database, token)
		return errors.Join(
			tx.Run(ctx, "record the start",
				`insert into generation (term, token, position, started) values ($1, $2, $3, $4)`,
				g.Term, g.Token, g.Position, Micros(time.Now())),
			tx.Run(ctx, "forget old starts",
				`delete from generation where term < $1 and term > (select min(term) from generation)`, g.Term-starts),
		)
	})
	g.System = db.system(ctx)
	return g, err
}

// The ways in which a database is not the one that was remembered.
var (
	ErrOtherDatabase = errors.New("it is another database")
	ErrOlderDatabase = errors.New("it is an older state of the database")
)

// compare says how a database is not the one in which g was seen; nil if it is,
// and has lost nothing.
func (db *DB) compare(ctx context.Context, g Generation) (now Generation, err error) {
	if now, err = db.Dialect.generation(ctx, db.Read()); err != nil {
		return now, err
	}
	if now.Database != g.Database {
		return now, ErrOtherDatabase
	}
	var token string
	err = db.Read().QueryRowContext(ctx, `select token from generation where term = $1`, g.Term).Scan(&token)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return now, Wrap("read the generation of the database", err)
	}
	if token != g.Token || now.Position < g.Position {
		return now, ErrOlderDatabase
	}
	// It may have been older once, and have come further since.
	var then int64
	err = db.Read().QueryRowContext(ctx, `select coalesce(min(position), $2) from generation where term > $1`,
		g.Term, g.Position).Scan(&then)
	if err == nil && then < g.Position {
		return now, ErrOlderDatabase
	}
	return now, Wrap("read the generation of the database", err)
}

// advance raises every counter by n.
func (db *DB) advance(ctx context.Context, n int64) error {
	return db.Change(ctx, func(tx *Tx) error {
		return tx.Run(ctx, "advance the counters", `update counter set n = n + $1`, n)
	})
}
