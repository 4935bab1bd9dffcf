package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const certificateColumns = `id, region, status, enrolled, created, modified, not_before, not_after, pem`

// certificate reads the certificate of an account that meets a condition; false
// if there is none.
func (r reader) certificate(
	ctx context.Context, account, cond string, args ...any,
) (c trust.Certificate, ok bool, err error) {
	c.Scope.Account = account
	err = r.q.QueryRowContext(ctx, `select `+certificateColumns+` from certificate where gone = 0 and `+cond+r.lock,
		args...).
		Scan(&c.ID, &c.Scope.Region, &c.Status, &c.Enrolled, store.Time(&c.Created), store.Time(&c.Modified),
			store.Time(&c.NotBefore), store.Time(&c.NotAfter), &c.PEM)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, store.Wrap("read certificate", err)
}

// Certificate reads a certificate.
func (r reader) Certificate(ctx context.Context, s arn.Scope, id string) (trust.Certificate, error) {
	c, ok, err := r.certificate(ctx, s.Account, `id = $1 and region = $2`, id, s.Region)
	if err == nil && !ok {
		err = trust.NoCertificate(id)
	}
	return c, err
}

// InsertCertificate records a new certificate.
func (tx Tx) InsertCertificate(ctx context.Context, c trust.Certificate) error {
	version, err := tx.Next(ctx, "certificate")
	if err != nil {
		return err
	}
	return tx.Run(ctx, "insert certificate", `
		insert into certificate
			(id, region, version, gone, status, enrolled, created, modified, not_before, not_after, pem)
		values ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10)`,
		c.ID, c.Scope.Region, version, c.Status, store.Flag(c.Enrolled), store.Micros(c.Created), store.Micros(
			c.Modified),
		store.Micros(c.NotBefore), store.Micros(c.NotAfter), c.PEM)
}

// SetCertificateStatus changes what a certificate is good for.
func (tx Tx) SetCertificateStatus(ctx context.Context, id string, status trust.Status, now time.Time) error {
	return tx.changed(ctx, "save certificate", id, `, status = $3, modified = $4`, status, store.Micros(now))
}

// DeleteCertificate removes a certificate; nothing may be attached to it.
func (tx Tx) DeleteCertificate(ctx context.Context, id string, now time.Time) error {
	return tx.changed(ctx, "delete certificate", id, `, gone = 1, pem = '', status = $3, modified = $4`,
		trust.Inactive, store.Micros(now))
}

// changed gives a certificate, or what is attached to it, a new version, by which
// CertificateChanges finds it. The arguments of set, which begins
// with a comma if it is not empty, begin at $3.
func (tx Tx) changed(ctx context.Context, what, id, set string, args ...any) error {
	version, err := tx.Next(ctx, "certificate")
	if err != nil {
		return err
	}
	return tx.Run(ctx, what, `update certificate set version = $1`+set+` where id = $2 and gone = 0`,
		append([]any{version, id}, args...)...)
}

// AttachThing attaches a certificate to a thing, if it is not.
func (tx Tx) AttachThing(ctx context.Context, s arn.Scope, id, thing string) error {
	const what = "attach thing"
	err := tx.Run(ctx, what, `
		insert into certificate_thing (certificate, region, thing) values ($1, $2, $3)
		on conflict (certificate, thing) do nothing`, id, s.Region, thing)
	if err != nil {
		return err
	}
	return tx.changed(ctx, what, id, "")
}

// DetachThing detaches a certificate from a thing.
func (tx Tx) DetachThing(ctx context.Context, s arn.Scope, id, thing string) error {
	const what = "detach thing"
	err := tx.Run(ctx, what, `delete from certificate_thing where certificate = $1 and region = $2 and thing = $3`,
		id, s.Region, thing)
	if err != nil {
		return err
	}
	return tx.changed(ctx, what, id, "")
}

// AttachPolicy attaches a policy to a certificate, if it is not.
func (tx Tx) AttachPolicy(ctx context.Context, s arn.Scope, id, policy string) error {
	return tx.Run(ctx, "attach policy", `
		insert into certificate_policy (certificate, region, policy) values ($1, $2, $3)
		on conflict (certificate, policy) do nothing`, id, s.Region, policy)
}

// DetachPolicy detaches a policy from a certificate.
func (tx Tx) DetachPolicy(ctx context.Context, s arn.Scope, id, policy string) error {
	return tx.Run(ctx, "detach policy",
		`delete from certificate_policy where certificate = $1 and region = $2 and policy = $3`, id, s.Region, policy)
}

// ThingsOf returns the names of the things that a certificate is attached to,
// those after the given one, at most limit.
func (r reader) ThingsOf(ctx context.Context, id, after string, limit int) ([]string, error) {
	return r.names(ctx, limit,
		`select thing from certificate_thing where certificate = $1 and thing > $2 order by thing`, id, after)
}

// PoliciesOf returns the names of the policies that are attached to a
// certificate, at most limit.
func (r reader) PoliciesOf(ctx context.Context, id string, limit int) ([]string, error) {
	return r.names(ctx, limit, `select policy from certificate_policy where certificate = $1 order by policy`, id)
}

// CertificatesOfThing returns the IDs of the certificates that are attached to
// a thing, those after the given one, at most limit.
func (r reader) CertificatesOfThing(
	ctx context.Context, s arn.Scope, thing, after string, limit int,
) ([]string, error) {
	return r.names(ctx, limit, `
		select certificate from certificate_thing where region = $1 and thing = $2 and certificate > $3
		order by certificate`, s.Region, thing, after)
}

// CertificatesOfPolicy returns the IDs of the certificates that a policy is
// attached to, those after the given one, at most limit.
func (r reader) CertificatesOfPolicy(
	ctx context.Context, s arn.Scope, policy, after string, limit int,
) ([]string, error) {
	return r.names(ctx, limit, `
		select certificate from certificate_policy where region = $1 and policy = $2 and certificate > $3
		order by certificate`, s.Region, policy, after)
}

// Holder returns a certificate with everything that decides what it is good for, as of one
// moment, in whatever region it is; false if there is none.
func (db DB) Holder(ctx context.Context, account, id string) (h trust.Holder, ok bool, err error) {
	err = db.View(ctx, func(q store.Querier) error {
		r := reader{q, ""}
		if h.Certificate, ok, err = r.certificate(ctx, account, `id = $1`, id); err != nil || !ok {
			return err
		}
		if h.Things, err = r.ThingsOf(ctx, id, "", trust.MaxThings); err != nil {
			return err
		}
		rows, err := q.QueryContext(ctx, `
			select p.doc from certificate_policy c join device_policy p on p.region = c.region and p.name = c.policy
			where c.certificate = $1`, id)
		h.Policies, err = store.Collect(rows, err, "read policies", func(scan store.Scan) (string, error) {
			var p trust.Policy
			err := scan(store.JSON(&p))
			return p.Document, err
		})
		return err
	})
	return h, ok && err == nil, err
}

// CertificateChanges returns what became of certificates after a version, in
// the order in which it did, at most limit.
func (db DB) CertificateChanges(ctx context.Context, after int64, limit int) (out []trust.Change, err error) {
	rows, err := db.q.QueryContext(ctx, fmt.Sprintf(`
		select c.id, c.version, c.gone, c.status, t.thing from (
			select id, version, gone, status from certificate where version > $1 order by version limit %d) c
		left join certificate_thing t on t.certificate = c.id
		order by c.version, t.thing`, limit), after)
	_, err = store.Collect(rows, err, "read certificates", func(scan store.Scan) (none struct{}, err error) {
		var c trust.Change
		var gone bool
		var status trust.Status
		var thing sql.NullString
		if err := scan(&c.ID, &c.Version, &gone, &status, &thing); err != nil {
			return none, err
		}
		if n := len(out); n == 0 || out[n-1].ID != c.ID {
			c.Active = !gone && status == trust.Active
			out = append(out, c)
		}
		if thing.Valid {
			last := &out[len(out)-1]
			last.Things = append(last.Things, thing.String)
		}
		return none, nil
	})
	return out, err
}

// PruneCertificates forgets certificates that were gone before some time, and
// enrollments that had expired.
func (db DB) PruneCertificates(ctx context.Context, before time.Time) error {
	return db.Change(ctx, func(tx Tx) error {
		err := tx.Run(ctx, "forget certificates", `delete from certificate where gone = 1 and modified < $1`,
			store.Micros(before))
		if err != nil {
			return err
		}
		return tx.Run(ctx, "forget enrollments", `delete from enrollment where expires < $1`, store.Micros(before))
	})
}
