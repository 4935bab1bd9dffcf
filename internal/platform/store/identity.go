package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/trust"
)

// theCA is the name of the one device CA.
const theCA = "devices"

// DeviceCA returns the device CA; false if there is none yet.
func (db *DB) DeviceCA(ctx context.Context) (a trust.Authority, ok bool, err error) {
	var created int64
	var seed string
	err = db.Read().QueryRowContext(ctx, `select created, certificate, private_key, seed from device_ca where name = $1`, theCA).
		Scan(&created, &a.Certificate, &a.Key, &seed)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	if err != nil {
		return a, false, Wrap("read device CA", err)
	}
	a.Created = FromMicros(created)
	a.Seed, err = hex.DecodeString(seed)
	return a, true, Wrap("read device CA", err)
}

// KeepDeviceCA keeps a device CA unless there is one: of servers that start at
// once, one wins.
func (db *DB) KeepDeviceCA(ctx context.Context, a trust.Authority) error {
	_, err := db.write.ExecContext(ctx, `
		insert into device_ca (name, created, certificate, private_key, seed) values ($1, $2, $3, $4, $5)
		on conflict (name) do nothing`, theCA, Micros(a.Created), a.Certificate, a.Key, hex.EncodeToString(a.Seed))
	return Wrap("keep device CA", err)
}

const certificateColumns = `id, region, status, enrolled, created, modified, not_before, not_after, pem`

// certificateOf reads a row of certificateColumns in the account of scope s.
func certificateOf(s arn.Scope, scan func(...any) error) (c trust.Certificate, err error) {
	var enrolled int
	var created, modified, from, to int64
	err = scan(&c.ID, &c.Scope.Region, &c.Status, &enrolled, &created, &modified, &from, &to, &c.PEM)
	c.Scope.Account, c.Enrolled = s.Account, enrolled == 1
	c.Created, c.Modified, c.NotBefore, c.NotAfter = FromMicros(created), FromMicros(modified), FromMicros(from), FromMicros(to)
	return c, err
}

// InsertCertificate records a new certificate.
func (tx *Tx) InsertCertificate(ctx context.Context, c trust.Certificate) error {
	version, err := tx.Next(ctx, "certificate")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into certificate (id, region, version, gone, status, enrolled, created, modified, not_before, not_after, pem)
		values ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10)`,
		c.ID, c.Scope.Region, version, c.Status, Flag(c.Enrolled), Micros(c.Created), Micros(c.Modified), Micros(c.NotBefore), Micros(c.NotAfter), c.PEM)
	return Wrap("insert certificate", err)
}

// Certificate reads a certificate and locks it until the transaction ends.
func (tx *Tx) Certificate(ctx context.Context, s arn.Scope, id string) (trust.Certificate, error) {
	return certificate(ctx, tx, s, id, tx.Dialect.ForUpdate)
}

// Certificate reads a certificate.
func (db *DB) Certificate(ctx context.Context, s arn.Scope, id string) (trust.Certificate, error) {
	return certificate(ctx, db.Read(), s, id, "")
}

func certificate(ctx context.Context, q Querier, s arn.Scope, id, lock string) (trust.Certificate, error) {
	c, err := certificateOf(s, q.QueryRowContext(ctx,
		`select `+certificateColumns+` from certificate where id = $1 and region = $2 and gone = 0`+lock, id, s.Region).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return c, trust.NoCertificate(id)
	}
	return c, Wrap("read certificate", err)
}

// SetCertificateStatus changes what a certificate is good for.
func (tx *Tx) SetCertificateStatus(ctx context.Context, id string, status trust.Status, now time.Time) error {
	version, err := tx.Next(ctx, "certificate")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `update certificate set version = $1, status = $2, modified = $3 where id = $4 and gone = 0`, version, status, Micros(now), id)
	return Wrap("save certificate", err)
}

// DeleteCertificate removes a certificate; nothing may be attached to it.
func (tx *Tx) DeleteCertificate(ctx context.Context, id string, now time.Time) error {
	version, err := tx.Next(ctx, "certificate")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `update certificate set version = $1, gone = 1, pem = '', status = $2, modified = $3 where id = $4`, version, trust.Inactive, Micros(now), id)
	return Wrap("delete certificate", err)
}

// AttachThing attaches a certificate to a thing, if it is not.
func (tx *Tx) AttachThing(ctx context.Context, s arn.Scope, id, thing string) error {
	_, err := tx.ExecContext(ctx, `insert into certificate_thing (certificate, region, thing) values ($1, $2, $3) on conflict (certificate, thing) do nothing`, id, s.Region, thing)
	return tx.touched(ctx, "attach thing", id, err)
}

// DetachThing detaches a certificate from a thing.
func (tx *Tx) DetachThing(ctx context.Context, s arn.Scope, id, thing string) error {
	_, err := tx.ExecContext(ctx, `delete from certificate_thing where certificate = $1 and region = $2 and thing = $3`, id, s.Region, thing)
	return tx.touched(ctx, "detach thing", id, err)
}

// touched gives a certificate to which something was attached a new version.
func (tx *Tx) touched(ctx context.Context, what, id string, err error) error {
	if err != nil {
		return Wrap(what, err)
	}
	version, err := tx.Next(ctx, "certificate")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `update certificate set version = $1 where id = $2`, version, id)
	return Wrap(what, err)
}

// AttachPolicy attaches a policy to a certificate, if it is not.
func (tx *Tx) AttachPolicy(ctx context.Context, s arn.Scope, id, policy string) error {
	_, err := tx.ExecContext(ctx, `insert into certificate_policy (certificate, region, policy) values ($1, $2, $3) on conflict (certificate, policy) do nothing`, id, s.Region, policy)
	return Wrap("attach policy", err)
}

// DetachPolicy detaches a policy from a certificate.
func (tx *Tx) DetachPolicy(ctx context.Context, s arn.Scope, id, policy string) error {
	_, err := tx.ExecContext(ctx, `delete from certificate_policy where certificate = $1 and region = $2 and policy = $3`, id, s.Region, policy)
	return Wrap("detach policy", err)
}

// ThingsOf returns the names of the things that a certificate is attached to,
// those after the given one, at most limit.
func (tx *Tx) ThingsOf(ctx context.Context, id, after string, limit int) ([]string, error) {
	return names(ctx, tx, limit, `select thing from certificate_thing where certificate = $1 and thing > $2 order by thing`, id, after)
}

// ThingsOf returns the same outside a transaction.
func (db *DB) ThingsOf(ctx context.Context, id, after string, limit int) ([]string, error) {
	return names(ctx, db.Read(), limit, `select thing from certificate_thing where certificate = $1 and thing > $2 order by thing`, id, after)
}

// PoliciesOf returns the names of the policies that are attached to a
// certificate, at most limit.
func (tx *Tx) PoliciesOf(ctx context.Context, id string, limit int) ([]string, error) {
	return names(ctx, tx, limit, `select policy from certificate_policy where certificate = $1 order by policy`, id)
}

const (
	certificatesOfThing  = `select certificate from certificate_thing where region = $1 and thing = $2 and certificate > $3 order by certificate`
	certificatesOfPolicy = `select certificate from certificate_policy where region = $1 and policy = $2 and certificate > $3 order by certificate`
)

// CertificatesOfThing returns the IDs of the certificates that are attached to
// a thing, those after the given one, at most limit.
func (tx *Tx) CertificatesOfThing(ctx context.Context, s arn.Scope, thing, after string, limit int) ([]string, error) {
	return names(ctx, tx, limit, certificatesOfThing, s.Region, thing, after)
}

// CertificatesOfThing returns the same outside a transaction.
func (db *DB) CertificatesOfThing(ctx context.Context, s arn.Scope, thing, after string, limit int) ([]string, error) {
	return names(ctx, db.Read(), limit, certificatesOfThing, s.Region, thing, after)
}

// CertificatesOfPolicy returns the IDs of the certificates that a policy is
// attached to, those after the given one, at most limit.
func (tx *Tx) CertificatesOfPolicy(ctx context.Context, s arn.Scope, policy, after string, limit int) ([]string, error) {
	return names(ctx, tx, limit, certificatesOfPolicy, s.Region, policy, after)
}

// CertificatesOfPolicy returns the same outside a transaction.
func (db *DB) CertificatesOfPolicy(ctx context.Context, s arn.Scope, policy, after string, limit int) ([]string, error) {
	return names(ctx, db.Read(), limit, certificatesOfPolicy, s.Region, policy, after)
}

// names reads at most limit rows of one column of text.
func names(ctx context.Context, q Querier, limit int, query string, args ...any) (out []string, err error) {
	rows, err := q.QueryContext(ctx, fmt.Sprintf("%s limit %d", query, limit), args...)
	if err != nil {
		return nil, Wrap("read names", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, Wrap("read names", err)
		}
		out = append(out, s)
	}
	return out, Wrap("read names", rows.Err())
}

// Holder returns a certificate with everything that it is judged by, as of one
// moment, in whatever region it is; false if there is none.
func (db *DB) Holder(ctx context.Context, account, id string) (h trust.Holder, ok bool, err error) {
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.Dialect.snapshot})
	if err != nil {
		return h, false, Wrap("begin", err)
	}
	defer tx.Rollback() //nolint:errcheck // only read
	h.Certificate, err = certificateOf(arn.Scope{Account: account}, tx.QueryRowContext(ctx, `select `+certificateColumns+` from certificate where id = $1 and gone = 0`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return h, false, nil
	}
	if err != nil {
		return h, false, Wrap("read certificate", err)
	}
	if h.Things, err = names(ctx, tx, trust.MaxThings, `select thing from certificate_thing where certificate = $1 order by thing`, id); err != nil {
		return h, false, err
	}
	rows, err := tx.QueryContext(ctx, `
		select p.doc from certificate_policy c join device_policy p on p.region = c.region and p.name = c.policy
		where c.certificate = $1`, id)
	if err != nil {
		return h, false, Wrap("read policies", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p trust.Policy
		if err := scanJSON(rows.Scan, &p); err != nil {
			return h, false, Wrap("read policies", err)
		}
		h.Policies = append(h.Policies, p.Document)
	}
	return h, true, Wrap("read policies", rows.Err())
}

// CertificateChanges returns what became of certificates after a version, in
// the order in which it did, at most limit.
func (db *DB) CertificateChanges(ctx context.Context, after int64, limit int) (out []trust.Change, err error) {
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(`
		select c.id, c.version, c.gone, c.status, t.thing from (
			select id, version, gone, status from certificate where version > $1 order by version limit %d) c
		left join certificate_thing t on t.certificate = c.id
		order by c.version, t.thing`, limit), after)
	if err != nil {
		return nil, Wrap("read certificates", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c trust.Change
		var gone int
		var status trust.Status
		var thing sql.NullString
		if err := rows.Scan(&c.ID, &c.Version, &gone, &status, &thing); err != nil {
			return nil, Wrap("read certificates", err)
		}
		if n := len(out); n == 0 || out[n-1].ID != c.ID {
			c.Active = gone == 0 && status == trust.Active
			out = append(out, c)
		}
		if thing.Valid {
			last := &out[len(out)-1]
			last.Things = append(last.Things, thing.String)
		}
	}
	return out, Wrap("read certificates", rows.Err())
}

// PruneCertificates forgets certificates that were gone before some time, and
// enrollments that had expired.
func (db *DB) PruneCertificates(ctx context.Context, before time.Time) error {
	_, err := db.write.ExecContext(ctx, `delete from certificate where gone = 1 and modified < $1`, Micros(before))
	if err == nil {
		_, err = db.write.ExecContext(ctx, `delete from enrollment where expires < $1`, Micros(before))
	}
	return Wrap("forget certificates", err)
}
