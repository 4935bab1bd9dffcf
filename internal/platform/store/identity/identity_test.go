package identity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

var (
	at    = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
)

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(*testing.T, identity.DB)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) { f(t, identity.New(db)) })
}

func change(t *testing.T, db identity.DB, f func(context.Context, identity.Tx) error) {
	t.Helper()
	if err := db.Change(t.Context(), func(tx identity.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func certID(n int) string { return fmt.Sprintf("%064x", n) }

func cert(n int) trust.Certificate {
	return trust.Certificate{
		Scope: scope, ID: certID(n), PEM: "pem", Status: trust.Active, Created: at, Modified: at,
		NotBefore: time.Unix(0, 0).UTC(), NotAfter: time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
	}
}

// fresh makes sure that something was created that was not there.
func fresh(t *testing.T, created bool, err error) {
	t.Helper()
	if err != nil || !created {
		t.Fatal(created, err)
	}
}

func TestOneDeviceCAIsKept(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		if _, ok, err := db.DeviceCA(t.Context()); ok || err != nil {
			t.Fatal(ok, err)
		}
		var wg sync.WaitGroup
		for i := range 8 { // servers that start at once
			wg.Go(func() {
				a := trust.Authority{Certificate: "c", Key: fmt.Sprint(i), Seed: []byte{byte(i)}, Created: at}
				if err := db.KeepDeviceCA(t.Context(), a); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		first, ok, err := db.DeviceCA(t.Context())
		if err != nil || !ok || fmt.Sprint(first.Seed[0]) != first.Key || !first.Created.Equal(at) {
			t.Error(first.Created, ok, err)
		}
	})
}

func TestRecordsOfDevicesSurviveTheRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		typ := trust.ThingType{
			Scope: scope, Name: "camera", ID: "i", Description: "d", Searchable: []string{"a"}, Created: at,
		}
		thing := trust.Thing{
			Scope: scope, Name: "line1:cam", ID: "i", Type: "camera", Attributes: map[string]string{"a": "b"},
			Version: 1, Created: at,
		}
		policy := trust.Policy{Scope: scope, Name: "p", Document: `{"a": 1}`, Created: at}
		alias := trust.RoleAlias{
			Scope: scope, Name: "A", RoleARN: "r", Duration: time.Hour, Fleet: true, Created: at, Modified: at,
		}
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			for _, again := range []bool{false, true} {
				a, err1 := tx.InsertThingType(ctx, typ)
				b, err2 := tx.InsertThing(ctx, thing)
				c, err3 := tx.InsertPolicy(ctx, policy)
				d, err4 := tx.InsertRoleAlias(ctx, alias)
				if a == again || b == again || c == again || d == again {
					t.Error(again, a, b, c, d)
				}
				if err := errors.Join(err1, err2, err3, err4); err != nil {
					return err
				}
			}
			return tx.InsertCertificate(ctx, cert(1))
		})
		gotT, err1 := db.ThingType(t.Context(), scope, "camera")
		gotTh, err2 := db.Thing(t.Context(), scope, "line1:cam")
		gotP, err3 := db.Policy(t.Context(), scope, "p")
		gotA, err4 := db.RoleAlias(t.Context(), scope, "A")
		gotC, err5 := db.Certificate(t.Context(), scope, certID(1))
		got, want := []any{gotT, gotTh, gotP, gotA, gotC}, []any{typ, thing, policy, alias, cert(1)}
		if d := cmp.Diff(want, got); d != "" || errors.Join(err1, err2, err3, err4, err5) != nil {
			t.Error(d, err1, err2, err3, err4, err5)
		}
		elsewhere := arn.Scope{Region: "eu-west-1", Account: scope.Account}
		_, err1 = db.ThingType(t.Context(), elsewhere, "camera")
		_, err2 = db.Thing(t.Context(), elsewhere, "line1:cam")
		_, err3 = db.Policy(t.Context(), elsewhere, "p")
		_, err4 = db.RoleAlias(t.Context(), elsewhere, "A")
		_, err5 = db.Certificate(t.Context(), elsewhere, certID(1))
		for _, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, fault.NotFound) {
				t.Error("in another region:", err)
			}
		}
	})
}

func TestThingsAreListedByNameAndFiltered(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		for i, attributes := range []map[string]string{
			nil, {"os": "linux"}, {"os": "linux2", "x": "y"}, {"cos": "linux"},
		} {
			typ := ""
			if i > 1 {
				typ = "late"
			}
			change(t, db, func(ctx context.Context, tx identity.Tx) error {
				created, err := tx.InsertThing(ctx, trust.Thing{
					Scope: scope, Name: fmt.Sprint("t", i), Type: typ, Attributes: attributes, Created: at,
				})
				fresh(t, created, err)
				return nil
			})
		}
		for name, c := range map[string]struct {
			trust.ThingFilter
			want string
		}{
			"the first page":    {trust.ThingFilter{Limit: 2}, "t0 t1"},
			"the next":          {trust.ThingFilter{Limit: 2, After: "t1"}, "t2 t3"},
			"of a type":         {trust.ThingFilter{Limit: 9, Type: "late"}, "t2 t3"},
			"with an attribute": {trust.ThingFilter{Limit: 9, Attribute: "os", Value: "linux"}, "t1"},
			"with the start of one": {
				trust.ThingFilter{Limit: 9, Attribute: "os", Value: "lin", Prefix: true}, "t1 t2",
			},
			"with both": {
				trust.ThingFilter{Limit: 9, Attribute: "os", Value: "lin", Prefix: true, Type: "late"}, "t2",
			},
			"a start is not the whole":       {trust.ThingFilter{Limit: 9, Attribute: "os", Value: "lin"}, ""},
			"a value without its name is no": {trust.ThingFilter{Limit: 1, Value: "ignored"}, "t0"},
		} {
			var got []string
			ts, err := db.Things(t.Context(), scope, c.ThingFilter)
			for _, x := range ts {
				got = append(got, x.Name)
			}
			if strings.Join(got, " ") != c.want || err != nil {
				t.Errorf("%s: %v %v, want %s", name, got, err, c.want)
			}
		}
	})
}

func TestWhatIsAttachedIsListedAndReadTogether(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			for i := range 3 {
				if err := tx.InsertCertificate(ctx, cert(i)); err != nil {
					return err
				}
				if err := errors.Join(
					tx.AttachThing(ctx, scope, certID(i), "b"), tx.AttachPolicy(ctx, scope, certID(i), "p"),
				); err != nil {
					return err
				}
			}
			created, err := tx.InsertPolicy(ctx, trust.Policy{Scope: scope, Name: "p", Document: "doc"})
			fresh(t, created, err)
			return errors.Join(tx.AttachThing(ctx, scope, certID(0), "a"), tx.AttachThing(ctx, scope, certID(0), "a"))
		})
		things, err1 := db.ThingsOf(t.Context(), certID(0), "", 9)
		rest, err2 := db.ThingsOf(t.Context(), certID(0), "a", 9)
		of, err3 := db.CertificatesOfThing(t.Context(), scope, "b", certID(0), 1)
		on, err4 := db.CertificatesOfPolicy(t.Context(), scope, "p", "", 9)
		got, want := [][]string{
			things, rest, of, on,
		}, [][]string{{"a", "b"}, {"b"}, {certID(1)}, {certID(0), certID(1), certID(2)}}
		if d := cmp.Diff(want, got); d != "" || errors.Join(err1, err2, err3, err4) != nil {
			t.Error(d, err1, err2, err3, err4)
		}
		h, ok, err := db.Holder(t.Context(), scope.Account, certID(0))
		if d := cmp.Diff(
			trust.Holder{Certificate: cert(0), Things: []string{"a", "b"}, Policies: []string{"doc"}}, h,
		); d != "" ||
			!ok || err != nil {
			t.Error(ok, err, d)
		}
		if _, ok, err := db.Holder(t.Context(), scope.Account, certID(9)); ok || err != nil {
			t.Error(ok, err)
		}
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			return errors.Join(tx.DetachThing(ctx, scope, certID(0), "b"), tx.DetachPolicy(ctx, scope, certID(0), "p"))
		})
		h, _, err = db.Holder(t.Context(), scope.Account, certID(0))
		if len(h.Things) != 1 || len(h.Policies) != 0 || err != nil {
			t.Error(h, err)
		}
	})
}

func TestEveryChangeOfACertificateIsSeenInItsOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		var after int64
		since := func() (out []trust.Change) {
			t.Helper()
			for {
				cs, err := db.CertificateChanges(t.Context(), after, 2)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range cs {
					if c.Version <= after {
						t.Errorf("version %d after %d", c.Version, after)
					}
					after = c.Version
					c.Version = 0
					out = append(out, c)
				}
				if len(cs) < 2 {
					return out
				}
			}
		}
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			for i := range 5 {
				if err := tx.InsertCertificate(ctx, cert(i)); err != nil {
					return err
				}
			}
			return errors.Join(tx.AttachThing(ctx, scope, certID(0), "b"), tx.AttachThing(ctx, scope, certID(0), "a"))
		})
		if got := since(); len(got) != 5 || got[4].ID != certID(0) || len(got[4].Things) != 2 || !got[3].Active {
			t.Error(got)
		}
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			return errors.Join(
				tx.SetCertificateStatus(ctx, certID(1), trust.Revoked, at), tx.DeleteCertificate(ctx, certID(2), at),
				tx.DetachThing(ctx, scope, certID(0), "a"),
			)
		})
		want := []trust.Change{{ID: certID(1)}, {ID: certID(2)}, {ID: certID(0), Active: true, Things: []string{"b"}}}
		if d := cmp.Diff(want, since()); d != "" {
			t.Error(d)
		}
		if _, err := db.Certificate(t.Context(), scope, certID(2)); !errors.Is(err, fault.NotFound) {
			t.Error(err)
		}
		if err := db.PruneCertificates(t.Context(), at.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		after = 0
		if got := since(); len(got) != 4 {
			t.Error("what is gone was not forgotten:", got)
		}
	})
}

func TestATokenIsReplacedByTheNextForItsDevice(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		e := trust.Enrollment{Scope: scope, ID: "1", Fleet: "f", Device: "d", Expires: at.Add(time.Hour)}
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			second, other := e, e
			second.ID, other.ID, other.Device, other.Expires = "2", "3", "d2", at
			return errors.Join(tx.PutEnrollment(ctx, e), tx.PutEnrollment(ctx, second), tx.PutEnrollment(ctx, other))
		})
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			if _, ok, err := tx.Enrollment(ctx, scope.Account, "1"); ok || err != nil {
				t.Error(ok, err)
			}
			got, ok, err := tx.Enrollment(ctx, scope.Account, "2")
			want := e
			want.ID = "2"
			if d := cmp.Diff(want, got); d != "" || !ok || err != nil {
				t.Error(ok, err, d)
			}
			if n, err := tx.CountEnrollments(ctx, at); n != 1 || err != nil {
				t.Error(n, err)
			}
			return nil
		})
	})
}

func TestRoleAliasesAreListedBothWays(t *testing.T) {
	onBoth(t, func(t *testing.T, db identity.DB) {
		change(t, db, func(ctx context.Context, tx identity.Tx) error {
			for _, n := range []string{"a", "b", "c"} {
				created, err := tx.InsertRoleAlias(ctx, trust.RoleAlias{Scope: scope, Name: n, Duration: time.Hour})
				fresh(t, created, err)
			}
			return errors.Join(
				tx.SaveRoleAlias(ctx, trust.RoleAlias{Scope: scope, Name: "b", RoleARN: "new"}),
				tx.DeleteRoleAlias(ctx, scope, "c"),
			)
		})
		up, err1 := db.RoleAliases(t.Context(), scope, "a", true, 9)
		down, err2 := db.RoleAliases(t.Context(), scope, "", false, 9)
		if d := cmp.Diff([][]string{{"b"}, {"b", "a"}}, [][]string{up, down}); d != "" || err1 != nil || err2 != nil {
			t.Error(d, err1, err2)
		}
		if a, err := db.RoleAlias(t.Context(), scope, "b"); a.RoleARN != "new" || err != nil {
			t.Error(a, err)
		}
	})
}
