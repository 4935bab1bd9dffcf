package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// Directory is what a data directory remembers of its database, in a file: whoever
// brings up a server on an empty, an older or another database under models that
// run must hear of it before they are taken for strays.
type Directory struct {
	db      *DB
	path    string
	log     *slog.Logger
	seen    Generation
	rewound func(context.Context)
	reread  func(context.Context) error
	server  string // see DB.server
	tried   string // the token of a start of ours of which it is not known whether it was recorded
	again   bool   // the database ran backwards, or may have, and not everything was read again yet
	written bool   // whether the file could be written the last time

	accepted bool // the database is not the one of the directory
}

// Accepted reports whether the database was not the one of the directory when that was opened, or
// an older state of it, and was accepted all the same.
func (d *Directory) Accepted() bool { return d.accepted }

// Entry is what a server says when it opens its directory.
type Entry struct {
	File string // what the directory remembers is in it
	// Instances are how many the directory has records of, and Known how many of
	// these the database knows.
	Instances, Known int
	Accept           string // the name of a generation that may be used whatever the file says
	// Rewound is called once when the database has lost what this server had seen of it,
	// before Reread: what was made of that is of another course of things.
	Rewound func(context.Context)
	// Reread is called when the database ran backwards, and when it was restarted or is
	// on another server, so that it may have: all that was read of it has to be read
	// again from nothing. It is called again until it has succeeded.
	Reread func(context.Context) error
	Log    *slog.Logger
}

// OpenDirectory fails unless the database is the one that was last used with the
// directory, and has lost nothing since. Then it records this start.
func (db *DB) OpenDirectory(ctx context.Context, e Entry) (*Directory, error) {
	d := &Directory{db: db, path: e.File, log: e.Log, rewound: e.Rewound, reread: e.Reread, written: true}
	seen, found, err := d.read()
	if err != nil {
		return nil, err
	}
	now, why := db.check(ctx, e, seen, found)
	switch {
	case why == nil:
	case !errors.Is(why, ErrOtherDatabase) && !errors.Is(why, ErrOlderDatabase):
		return nil, why
	case e.Accept != now.Name():
		return nil, fmt.Errorf("this is not the database that the data directory was used with: %w; configure that "+
			"one, or restore a newer backup of it; or, to go on with this one, which ends what it does not know of "+
			"the %d recorded instances, start once with --accept-database %s", why, e.Instances, now.Name())
	default:
		e.Log.ErrorContext(ctx, "the database is not the one of this directory, and was accepted", "reason", why,
			"remembered", seen.Name(), "accepted", now.Name())
		d.accepted = true
		// No counter may give a number that somebody has seen.
		if err := db.advance(ctx, max(seen.Position, 1)); err != nil {
			return nil, err
		}
	}
	// Before anything is read that is followed from here on.
	if d.server, err = db.server(ctx); err != nil {
		return nil, err
	}
	d.begin(ctx, now)
	if found && seen.System != d.seen.System {
		e.Log.WarnContext(ctx, "the PostgreSQL server is another one or was restored; nothing is missing that was seen",
			"was", seen.System, "is", d.seen.System)
	}
	return d, nil
}

// check returns the generation of the database, and why it must not be used.
func (db *DB) check(ctx context.Context, e Entry, seen Generation, found bool) (Generation, error) {
	if found {
		return db.compare(ctx, seen)
	}
	now, err := db.Dialect.generation(ctx, db.Read())
	if err == nil && e.Instances > 0 && e.Known == 0 {
		err = fmt.Errorf("%w: it knows none of the instances that are recorded here", ErrOtherDatabase)
	}
	return now, err
}

// begin records this start. If there is no room for that, the start before stands
// for it: routing matters more.
func (d *Directory) begin(ctx context.Context, now Generation) {
	g, err := d.db.begin(ctx)
	d.tried = ""
	if err != nil {
		d.log.WarnContext(ctx, "the start could not be recorded in the database", "err", err)
		d.tried, g = g.Token, now // the commit may have come through all the same
	}
	d.remember(ctx, g)
}

func (d *Directory) read() (g Generation, found bool, err error) {
	b, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return g, false, nil
	}
	if err != nil {
		return g, false, fmt.Errorf("read which database the directory belongs to: %w", err)
	}
	// A file that a power cut left empty says nothing, and must not keep a server
	// from its models.
	if err := json.Unmarshal(b, &g); err != nil || g.Database == "" {
		d.log.Warn("it is not known which database the directory belongs to", "file", d.path, "err", err)
		return Generation{}, false, nil
	}
	return g, true, nil
}

// remember writes the file, whole or not at all.
func (d *Directory) remember(ctx context.Context, g Generation) {
	d.seen = g
	if g.Database == "" {
		return // no start was recorded yet
	}
	b, err := json.Marshal(g)
	if err == nil {
		err = d.write(append(b, '\n'))
	}
	if err != nil && d.written {
		d.log.WarnContext(ctx, "the directory could not note how far its database has come", "err", err)
	}
	d.written = err == nil
}

func (d *Directory) write(text []byte) error {
	f, err := os.OpenFile(d.path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(d.path+".new", d.path)
}

// Run notes how far the database has come, until ctx ends, and notices when it
// runs backwards.
func (d *Directory) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.look(context.WithoutCancel(ctx)) // bounded: what was changed last is noted
			return
		case <-tick.C:
			d.look(ctx)
		}
	}
}

func (d *Directory) look(ctx context.Context) {
	if err := d.db.moved(); err != nil {
		d.db.lose(err)
		return
	}
	// What is compared is on this server, or on a later one, which the next look sees.
	server, err := d.db.server(ctx)
	if err != nil {
		return // it is away, which others tell
	}
	now, err := d.db.compare(ctx, d.seen)
	if d.tried != "" && now.Token == d.tried { // our own start, whose answer was lost
		now.System, d.tried, err = d.db.system(ctx), "", nil
		d.remember(ctx, now)
	}
	switch {
	case errors.Is(err, ErrOlderDatabase) && now.Term <= d.seen.Term:
		d.log.ErrorContext(ctx, "the database ran backwards: it was restored, or a replica took over that had not "+
			"seen everything; all is read again", "was", d.seen.Position, "is", now.Position)
		d.begin(ctx, now)
		d.rewound(ctx)
		d.again = true
	case errors.Is(err, ErrOtherDatabase), errors.Is(err, ErrOlderDatabase):
		d.db.lose(fmt.Errorf("the database was replaced while the server ran: %w", err))
	case err != nil: // it is away, which others tell
	case now.Term > d.seen.Term:
		d.db.lose(fmt.Errorf("%w: it started when this one was cut off", ErrInUse))
	case now.Position != d.seen.Position:
		now.Term, now.Token, now.System = d.seen.Term, d.seen.Token, d.seen.System
		d.remember(ctx, now)
	}
	if err == nil && server != d.server {
		// It may have lost something and come further since than it was: its counters
		// do not tell.
		d.log.WarnContext(ctx, "the database was restarted, or is on another server; all is read again, in case that "+
			"it was restored", "was", d.server, "is", server)
		d.server, d.again = server, true
	}
	if d.again {
		err := d.reread(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "not everything could be read again yet", "err", err)
		}
		d.again = err != nil
	}
}

// lose tells why this server may use the database no longer.
func (db *DB) lose(err error) {
	select {
	case db.lost <- err:
	default: // it is stopping already
	}
}
