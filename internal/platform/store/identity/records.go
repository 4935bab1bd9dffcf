package identity

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// insert writes a row of a table of things with names, unless there is one of
// the name, and says whether it did.
func (tx Tx) insert(
	ctx context.Context, table string, s arn.Scope, name string, created time.Time, doc any,
) (bool, error) {
	n, err := tx.Count(ctx, "insert "+table, `
		insert into `+table+` (region, name, created, doc) values ($1, $2, $3, $4)
		on conflict (region, name) do nothing`, s.Region, name, store.Micros(created), store.JSON(doc))
	return n == 1, err
}

// read reads a row of such a table.
func (r reader) read(
	ctx context.Context, table string, s arn.Scope, name string, into any, missing error,
) error {
	err := r.q.QueryRowContext(ctx, `select doc from `+table+` where region = $1 and name = $2`+r.lock, s.Region, name).
		Scan(store.JSON(into))
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return store.Wrap("read "+table, err)
}

// remove deletes a row of such a table.
func (tx Tx) remove(ctx context.Context, table string, s arn.Scope, name string, missing error) error {
	n, err := tx.Count(ctx, "delete "+table, `delete from `+table+` where region = $1 and name = $2`, s.Region, name)
	if err == nil && n == 0 {
		return missing
	}
	return err
}

// InsertThingType records a thing type unless there is one of its name, and
// says whether it did.
func (tx Tx) InsertThingType(ctx context.Context, t trust.ThingType) (bool, error) {
	return tx.insert(ctx, "thing_type", t.Scope, t.Name, t.Created, t)
}

// ThingType reads a thing type.
func (r reader) ThingType(ctx context.Context, s arn.Scope, name string) (trust.ThingType, error) {
	t := trust.ThingType{Scope: s, Name: name}
	r.lock = ""
	return t, r.read(ctx, "thing_type", s, name, &t, trust.NoThingType(name))
}

// InsertPolicy records a policy unless there is one of its name, and says
// whether it did.
func (tx Tx) InsertPolicy(ctx context.Context, p trust.Policy) (bool, error) {
	return tx.insert(ctx, "device_policy", p.Scope, p.Name, p.Created, p)
}

// Policy reads a policy.
func (r reader) Policy(ctx context.Context, s arn.Scope, name string) (trust.Policy, error) {
	p := trust.Policy{Scope: s, Name: name}
	return p, r.read(ctx, "device_policy", s, name, &p, trust.NoPolicy(name))
}

// DeletePolicy removes a policy, which may be attached to nothing, and its tags.
func (tx Tx) DeletePolicy(ctx context.Context, p trust.Policy) error {
	if err := tx.DeleteTags(ctx, p.ARN()); err != nil {
		return err
	}
	return tx.remove(ctx, "device_policy", p.Scope, p.Name, trust.NoPolicy(p.Name))
}

// InsertRoleAlias records a role alias unless there is one of its name, and
// says whether it did.
func (tx Tx) InsertRoleAlias(ctx context.Context, a trust.RoleAlias) (bool, error) {
	return tx.insert(ctx, "role_alias", a.Scope, a.Name, a.Created, a)
}

// SaveRoleAlias writes a role alias that there is.
func (tx Tx) SaveRoleAlias(ctx context.Context, a trust.RoleAlias) error {
	return tx.Run(ctx, "save role alias", `update role_alias set doc = $1 where region = $2 and name = $3`,
		store.JSON(a), a.Scope.Region, a.Name)
}

// RoleAlias reads a role alias.
func (r reader) RoleAlias(ctx context.Context, s arn.Scope, name string) (trust.RoleAlias, error) {
	a := trust.RoleAlias{Scope: s, Name: name}
	return a, r.read(ctx, "role_alias", s, name, &a, trust.NoAlias(name))
}

// DeleteRoleAlias removes a role alias and its tags.
func (tx Tx) DeleteRoleAlias(ctx context.Context, s arn.Scope, name string) error {
	if err := tx.DeleteTags(ctx, trust.AliasARN(s, name)); err != nil {
		return err
	}
	return tx.remove(ctx, "role_alias", s, name, trust.NoAlias(name))
}

// RoleAliases returns the names of the role aliases beyond the given one ("":
// from the start), at most limit.
func (db DB) RoleAliases(
	ctx context.Context, s arn.Scope, after string, ascending bool, limit int,
) ([]string, error) {
	var w store.Where
	w.And("region = ?", s.Region)
	direction, beyond := "desc", "<"
	if ascending {
		direction, beyond = "asc", ">"
	}
	w.AndText("name "+beyond+" ?", after)
	return db.names(ctx, limit, fmt.Sprintf(`select name from role_alias where %s order by name %s`, &w, direction),
		w.Args...)
}

// InsertThing records a thing unless there is one of its name, and says whether
// it did.
func (tx Tx) InsertThing(ctx context.Context, t trust.Thing) (bool, error) {
	n, err := tx.Count(ctx, "insert thing", `
		insert into thing (region, name, created, type, attributes, doc) values ($1, $2, $3, $4, $5, $6)
		on conflict (region, name) do nothing`,
		t.Scope.Region, t.Name, store.Micros(t.Created), t.Type, store.JSON(pairs(t.Attributes)), store.JSON(t))
	return n == 1, err
}

// pairs are attributes as they are written: never null.
func pairs(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

const thingColumns = `name, attributes, doc`

func scanThing(s arn.Scope, scan store.Scan) (t trust.Thing, err error) {
	var attributes map[string]string
	var name string
	err = scan(&name, store.JSON(&attributes), store.JSON(&t))
	t.Scope, t.Name, t.Attributes = s, name, attributes
	if len(attributes) == 0 {
		t.Attributes = nil
	}
	return t, err
}

// Thing reads a thing.
func (r reader) Thing(ctx context.Context, s arn.Scope, name string) (trust.Thing, error) {
	t, err := scanThing(s, r.q.QueryRowContext(ctx,
		`select `+thingColumns+` from thing where region = $1 and name = $2`+r.lock, s.Region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return t, trust.NoThing(name)
	}
	return t, store.Wrap("read thing", err)
}

// DeleteThing removes a thing; it may be attached to nothing.
func (tx Tx) DeleteThing(ctx context.Context, s arn.Scope, name string) error {
	return tx.remove(ctx, "thing", s, name, trust.NoThing(name))
}

// Things returns the things that f asks for, by name.
func (db DB) Things(ctx context.Context, s arn.Scope, f trust.ThingFilter) ([]trust.Thing, error) {
	var w store.Where
	w.And("region = ?", s.Region)
	w.And("name > ?", f.After)
	w.AndText("type = ?", f.Type)
	if f.Attribute != "" {
		pair, err := json.Marshal(map[string]string{f.Attribute: f.Value})
		if err != nil {
			return nil, fmt.Errorf("encode an attribute: %w", err)
		}
		// Names and values hold no quotation marks: what is found is a pair.
		text := string(pair[1 : len(pair)-1])
		if f.Prefix {
			text = strings.TrimSuffix(text, `"`)
		}
		w.And(db.Dialect.Contains("attributes", "?"), text)
	}
	rows, err := db.q.QueryContext(ctx,
		fmt.Sprintf(`select %s from thing where %s order by name limit %d`, thingColumns, &w, f.Limit), w.Args...)
	return store.Collect(rows, err, "list things", func(scan store.Scan) (trust.Thing,
		error,
	) {
		return scanThing(s, scan)
	})
}

// PutEnrollment records a token in place of any for the same device.
func (tx Tx) PutEnrollment(ctx context.Context, e trust.Enrollment) error {
	return tx.Run(ctx, "put enrollment", `
		insert into enrollment (id, region, fleet, device, expires, csr, certificate)
		values ($1, $2, $3, $4, $5, $6, $7)
		on conflict (region, fleet, device) do update
		set id = excluded.id, expires = excluded.expires, csr = excluded.csr, certificate = excluded.certificate`,
		e.ID, e.Scope.Region, e.Fleet, e.Device, store.Micros(e.Expires), e.CSR, e.CertificateID)
}

// Enrollment reads and locks a token in whatever region it is; false if there
// is none.
func (tx Tx) Enrollment(ctx context.Context, account, id string) (e trust.Enrollment, ok bool, err error) {
	e.Scope.Account = account
	err = tx.QueryRowContext(ctx, `
		select id, region, fleet, device, expires, csr, certificate from enrollment where id = $1`+tx.lock, id).
		Scan(&e.ID, &e.Scope.Region, &e.Fleet, &e.Device, store.Time(&e.Expires), &e.CSR, &e.CertificateID)
	if errors.Is(err, sql.ErrNoRows) {
		return e, false, nil
	}
	return e, err == nil, store.Wrap("read enrollment", err)
}

// CountEnrollments forgets the tokens that have expired and counts the others.
func (tx Tx) CountEnrollments(ctx context.Context, now time.Time) (n int, err error) {
	err = tx.Run(ctx, "forget enrollments", `delete from enrollment where expires <= $1`, store.Micros(now))
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `select count(*) from enrollment`).Scan(&n)
	return n, store.Wrap("count enrollments", err)
}
