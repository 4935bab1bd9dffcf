package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"
)

// connectTimeout is how long opening a connection may take.
const connectTimeout = 5 * time.Second

// sessionSettings bound what a connection may keep from others: a server that is
// frozen, or behind a cut network, must not hold the locks of rows for as long as
// it is (those of a transaction end with idle_in_transaction_session_timeout), and
// PostgreSQL has to notice that it is gone. The URL of the database may set any of
// them otherwise; what the server does not know is left out.
var sessionSettings = map[string]string{
	"idle_in_transaction_session_timeout": "2s",
	"lock_timeout":                        "3s",
	"statement_timeout":                   "10s",
	"client_connection_check_interval":    "1s",
	"tcp_user_timeout":                    "4s",
	"tcp_keepalives_idle":                 "2",
	"tcp_keepalives_interval":             "1",
	"tcp_keepalives_count":                "3",
}

// migrationSettings replace some while migrations run: a table is rewritten in
// the time that it takes.
var migrationSettings = map[string]string{
	"idle_in_transaction_session_timeout": "5min", "lock_timeout": "1min", "statement_timeout": "0",
}

// OpenPostgres opens the PostgreSQL database at dsn for this server alone and
// brings it up to date. It fails if another server uses the database.
func OpenPostgres(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	config, err := postgresConfig(dsn)
	if err != nil {
		return nil, err
	}
	db := &DB{Dialect: postgresDialect(), lost: make(chan error, 1), sole: newSole(config, log)}
	if err := db.sole.acquire(ctx); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.write = stdlib.OpenDB(*config, stdlib.OptionAfterConnect(db.sole.admit(sessionSettings)))
	db.write.SetMaxOpenConns(16)
	db.write.SetMaxIdleConns(8)
	db.read = db.write

	limits := maps.Clone(sessionSettings)
	maps.Copy(limits, migrationSettings)
	migrating := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(db.sole.admit(limits)))
	err = errors.Join(db.migrate(ctx, migrating), migrating.Close())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	db.sole.watch()
	return db, nil
}

// postgresConfig reads the URL of a database.
func postgresConfig(dsn string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err) // pgx leaves the password out
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > connectTimeout {
		config.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
		Control:         boundUnacknowledged,
	}
	config.DialFunc = dialer.DialContext
	if config.RuntimeParams["application_name"] == "" {
		host, _ := os.Hostname() // for people; "" tells less
		config.RuntimeParams["application_name"] = fmt.Sprintf("slipway %s %d", host, os.Getpid())
	}
	return config, nil
}

// boundUnacknowledged ends a connection whose other side acknowledges nothing.
func boundUnacknowledged(network, _ string, c syscall.RawConn) (err error) {
	if network == "unix" {
		return nil
	}
	const milliseconds = 4000
	control := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds)
	})
	return errors.Join(control, err)
}

// set gives a connection those of the settings that its server knows and that
// the URL does not give.
func set(ctx context.Context, c *pgx.Conn, settings map[string]string) error {
	wanted := maps.Clone(settings)
	for name := range c.Config().RuntimeParams {
		delete(wanted, name)
	}
	text, err := json.Marshal(wanted)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, `
		select set_config(s.name, w.value, false)
		from pg_settings s join json_each_text($1::json) w on w.key = s.name`, string(text))
	return Wrap("set the timeouts of a connection", err)
}
