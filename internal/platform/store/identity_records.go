package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/trust"
)

// scanJSON reads one row's only column as JSON.
func scanJSON(scan func(...any) error, into any) error {
	var doc string
	if err := scan(&doc); err != nil {
		return err
	}
	return json.Unmarshal([]byte(doc), into)
}

// named is a row of a table of things with names; table is one of ours.
type named struct {
	table, region, name string
}

// insert writes a row unless there is one of the name, and says whether it did.
func (n named) insert(ctx context.Context, tx *Tx, created time.Time, doc any) (bool, error) {
	text, err := json.Marshal(doc)
	if err != nil {
		return false, fmt.Errorf("encode %s: %w", n.table, err)
	}
	res, err := tx.ExecContext(ctx, `insert into `+n.table+` (region, name, created, doc) values ($1, $2, $3, $4) on conflict (region, name) do nothing`,
		n.region, n.name, Micros(created), string(text))
	if err != nil {
		return false, Wrap("insert "+n.table, err)
	}
	rows, err := res.RowsAffected()
	return rows == 1, Wrap("insert "+n.table, err)
}

// read reads a row; lock is what makes the select lock it.
func (n named) read(ctx context.Context, q Querier, lock string, into any, missing error) error {
	err := scanJSON(q.QueryRowContext(ctx, `select doc from `+n.table+` where region = $1 and name = $2`+lock, n.region, n.name).Scan, into)
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return Wrap("read "+n.table, err)
}

// InsertThingType records a thing type unless there is one of its name, and
// says whether it did.
func (tx *Tx) InsertThingType(ctx context.Context, t trust.ThingType) (bool, error) {
	return named{"thing_type", t.Scope.Region, t.Name}.insert(ctx, tx, t.Created, t)
}

// ThingType reads a thing type inside the transaction.
func (tx *Tx) ThingType(ctx context.Context, s arn.Scope, name string) (trust.ThingType, error) {
	return thingType(ctx, tx, s, name)
}

// ThingType reads a thing type.
func (db *DB) ThingType(ctx context.Context, s arn.Scope, name string) (trust.ThingType, error) {
	return thingType(ctx, db.Read(), s, name)
}

func thingType(ctx context.Context, q Querier, s arn.Scope, name string) (trust.ThingType, error) {
	t := trust.ThingType{Scope: s, Name: name}
	return t, named{"thing_type", s.Region, name}.read(ctx, q, "", &t, trust.NoThingType(name))
}

// InsertPolicy records a policy unless there is one of its name, and says
// whether it did.
func (tx *Tx) InsertPolicy(ctx context.Context, p trust.Policy) (bool, error) {
	return named{"device_policy", p.Scope.Region, p.Name}.insert(ctx, tx, p.Created, p)
}

// Policy reads a policy and locks it until the transaction ends.
func (tx *Tx) Policy(ctx context.Context, s arn.Scope, name string) (trust.Policy, error) {
	return policy(ctx, tx, s, name, tx.Dialect.ForUpdate)
}

// Policy reads a policy.
func (db *DB) Policy(ctx context.Context, s arn.Scope, name string) (trust.Policy, error) {
	return policy(ctx, db.Read(), s, name, "")
}

func policy(ctx context.Context, q Querier, s arn.Scope, name, lock string) (trust.Policy, error) {
	p := trust.Policy{Scope: s, Name: name}
	return p, named{"device_policy", s.Region, name}.read(ctx, q, lock, &p, trust.NoPolicy(name))
}

// DeletePolicy removes a policy; it may be attached to nothing.
func (tx *Tx) DeletePolicy(ctx context.Context, s arn.Scope, name string) error {
	return tx.deleteNamed(ctx, "device_policy", s.Region, name, trust.NoPolicy(name))
}

// InsertRoleAlias records a role alias unless there is one of its name, and
// says whether it did.
func (tx *Tx) InsertRoleAlias(ctx context.Context, a trust.RoleAlias) (bool, error) {
	return named{"role_alias", a.Scope.Region, a.Name}.insert(ctx, tx, a.Created, a)
}

// SaveRoleAlias writes a role alias that there is.
func (tx *Tx) SaveRoleAlias(ctx context.Context, a trust.RoleAlias) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode role alias: %w", err)
	}
	_, err = tx.ExecContext(ctx, `update role_alias set doc = $1 where region = $2 and name = $3`, string(doc), a.Scope.Region, a.Name)
	return Wrap("save role alias", err)
}

// RoleAlias reads a role alias and locks it until the transaction ends.
func (tx *Tx) RoleAlias(ctx context.Context, s arn.Scope, name string) (trust.RoleAlias, error) {
	return roleAlias(ctx, tx, s, name, tx.Dialect.ForUpdate)
}

// RoleAlias reads a role alias.
func (db *DB) RoleAlias(ctx context.Context, s arn.Scope, name string) (trust.RoleAlias, error) {
	return roleAlias(ctx, db.Read(), s, name, "")
}

func roleAlias(ctx context.Context, q Querier, s arn.Scope, name, lock string) (trust.RoleAlias, error) {
	a := trust.RoleAlias{Scope: s, Name: name}
	return a, named{"role_alias", s.Region, name}.read(ctx, q, lock, &a, trust.NoAlias(name))
}

// DeleteRoleAlias removes a role alias.
func (tx *Tx) DeleteRoleAlias(ctx context.Context, s arn.Scope, name string) error {
	return tx.deleteNamed(ctx, "role_alias", s.Region, name, trust.NoAlias(name))
}

// RoleAliases returns the names of the role aliases beyond the given one ("":
// from the start), at most limit.
func (db *DB) RoleAliases(ctx context.Context, s arn.Scope, after string, ascending bool, limit int) ([]string, error) {
	var w Where
	w.And("region = ?", s.Region)
	dir, beyond := "desc", "<"
	if ascending {
		dir, beyond = "asc", ">"
	}
	if after != "" {
		w.And("name "+beyond+" ?", after)
	}
	return names(ctx, db.Read(), limit, `select name from role_alias where `+w.String()+` order by name `+dir, w.Args...)
}

// InsertThing records a thing unless there is one of its name, and says whether
// it did.
func (tx *Tx) InsertThing(ctx context.Context, t trust.Thing) (bool, error) {
	doc, err := json.Marshal(t)
	if err != nil {
		return false, fmt.Errorf("encode thing: %w", err)
	}
	attributes, err := attributeText(t.Attributes)
	if err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, `
		insert into thing (region, name, created, type, attributes, doc) values ($1, $2, $3, $4, $5, $6)
		on conflict (region, name) do nothing`, t.Scope.Region, t.Name, Micros(t.Created), t.Type, attributes, string(doc))
	if err != nil {
		return false, Wrap("insert thing", err)
	}
	rows, err := res.RowsAffected()
	return rows == 1, Wrap("insert thing", err)
}

func attributeText(m map[string]string) (string, error) {
	if m == nil {
		m = map[string]string{}
	}
	b, err := json.Marshal(m)
	return string(b), Wrap("encode attributes", err)
}

const thingColumns = `name, attributes, doc`

func scanThing(s arn.Scope, scan func(...any) error) (t trust.Thing, err error) {
	var attributes, doc string
	if err := scan(&t.Name, &attributes, &doc); err != nil {
		return t, err
	}
	t.Scope = s
	err = errors.Join(json.Unmarshal([]byte(doc), &t), json.Unmarshal([]byte(attributes), &t.Attributes))
	if len(t.Attributes) == 0 {
		t.Attributes = nil
	}
	return t, err
}

// Thing reads a thing and locks it until the transaction ends.
func (tx *Tx) Thing(ctx context.Context, s arn.Scope, name string) (trust.Thing, error) {
	return thing(ctx, tx, s, name, tx.Dialect.ForUpdate)
}

// Thing reads a thing.
func (db *DB) Thing(ctx context.Context, s arn.Scope, name string) (trust.Thing, error) {
	return thing(ctx, db.Read(), s, name, "")
}

func thing(ctx context.Context, q Querier, s arn.Scope, name, lock string) (trust.Thing, error) {
	t, err := scanThing(s, q.QueryRowContext(ctx, `select `+thingColumns+` from thing where region = $1 and name = $2`+lock, s.Region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return t, trust.NoThing(name)
	}
	return t, Wrap("read thing", err)
}

// DeleteThing removes a thing; it may be attached to nothing.
func (tx *Tx) DeleteThing(ctx context.Context, s arn.Scope, name string) error {
	return tx.deleteNamed(ctx, "thing", s.Region, name, trust.NoThing(name))
}

// Things returns the things that f asks for, by name.
func (db *DB) Things(ctx context.Context, s arn.Scope, f trust.ThingFilter) (out []trust.Thing, err error) {
	var w Where
	w.And("region = ?", s.Region)
	w.And("name > ?", f.After)
	if f.Type != "" {
		w.And("type = ?", f.Type)
	}
	if f.Attribute != "" {
		pair, err := attributeText(map[string]string{f.Attribute: f.Value})
		if err != nil {
			return nil, err
		}
		// Names and values hold no quotation marks: what is found is a pair.
		pair = pair[1 : len(pair)-1]
		if f.Prefix {
			pair = pair[:len(pair)-1]
		}
		w.And(db.Dialect.Contains("attributes", "?"), pair)
	}
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(`select `+thingColumns+` from thing where %s order by name limit %d`, w.String(), f.Limit), w.Args...)
	if err != nil {
		return nil, Wrap("list things", err)
	}
	defer rows.Close()
	for rows.Next() {
		t, err := scanThing(s, rows.Scan)
		if err != nil {
			return nil, Wrap("list things", err)
		}
		out = append(out, t)
	}
	return out, Wrap("list things", rows.Err())
}

// PutEnrollment records a token in place of any for the same device.
func (tx *Tx) PutEnrollment(ctx context.Context, e trust.Enrollment) error {
	_, err := tx.ExecContext(ctx, `
		insert into enrollment (id, region, fleet, device, expires, csr, certificate) values ($1, $2, $3, $4, $5, $6, $7)
		on conflict (region, fleet, device) do update set id = excluded.id, expires = excluded.expires, csr = excluded.csr, certificate = excluded.certificate`,
		e.ID, e.Scope.Region, e.Fleet, e.Device, Micros(e.Expires), e.CSR, e.CertificateID)
	return Wrap("put enrollment", err)
}

// Enrollment reads and locks a token in whatever region it is; false if there
// is none.
func (tx *Tx) Enrollment(ctx context.Context, account, id string) (e trust.Enrollment, ok bool, err error) {
	var expires int64
	err = tx.QueryRowContext(ctx, `select id, region, fleet, device, expires, csr, certificate from enrollment where id = $1`+tx.Dialect.ForUpdate, id).
		Scan(&e.ID, &e.Scope.Region, &e.Fleet, &e.Device, &expires, &e.CSR, &e.CertificateID)
	if errors.Is(err, sql.ErrNoRows) {
		return e, false, nil
	}
	e.Scope.Account, e.Expires = account, FromMicros(expires)
	return e, err == nil, Wrap("read enrollment", err)
}

// CountEnrollments forgets the tokens that have expired and counts the others.
func (tx *Tx) CountEnrollments(ctx context.Context, now time.Time) (n int, err error) {
	if _, err := tx.ExecContext(ctx, `delete from enrollment where expires <= $1`, Micros(now)); err != nil {
		return 0, Wrap("forget enrollments", err)
	}
	err = tx.QueryRowContext(ctx, `select count(*) from enrollment`).Scan(&n)
	return n, Wrap("count enrollments", err)
}
