package store

import (
	"database/sql"
	"strings"

	"github.com/pressly/goose/v3"
)

// Dialect is everything in which the two databases differ.
type Dialect struct {
	ForUpdate string // at the end of a select, locks the rows that it reads

	goose      goose.Dialect
	position   string             // the function that finds a string in another
	skipLocked string             // makes a claiming select step over rows that are being claimed
	snapshot   sql.IsolationLevel // of a transaction whose reads agree with each other
	ints       string             // the numbers of a JSON array, as rows; %s is the array
	texts      string             // its strings
	system     string             // the query for Generation.System
	server     string             // the query for what is another one if the database may have been restored
}

func sqliteDialect() Dialect {
	return Dialect{
		goose: goose.DialectSQLite3, position: "instr",
		ints: "(select value from json_each(%s))", texts: "(select value from json_each(%s))",
	}
}

func postgresDialect() Dialect {
	return Dialect{
		ForUpdate: " for update",
		goose:     goose.DialectPostgres, position: "strpos", skipLocked: " for update skip locked",
		snapshot: sql.LevelRepeatableRead,
		ints:     "(select value::bigint from json_array_elements_text(%s::json))",
		texts:    "(select value from json_array_elements_text(%s::json))",
		// The timeline is the first part of a segment's name.
		system: `select system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
			from pg_control_system()`,
		// To restore a database takes a restart, and a replica that takes over was
		// started at another time. Everybody may ask for that, unlike for the others.
		server: `select pg_postmaster_start_time() || ' ' || pg_is_in_recovery()`,
	}
}

// Contains returns a condition: the text of a column contains the argument
// called arg ("$3", or "?" in a Where).
func (d Dialect) Contains(column, arg string) string {
	return d.position + "(" + column + ", " + arg + ") > 0"
}

// Among returns a condition: a column is one of the numbers in the JSON array
// that is the argument called arg. It is one text for any number of them.
func (d Dialect) Among(column, arg string) string {
	return column + " in " + strings.Replace(d.ints, "%s", arg, 1)
}

// AmongTexts is Among for strings.
func (d Dialect) AmongTexts(column, arg string) string {
	return column + " in " + strings.Replace(d.texts, "%s", arg, 1)
}
