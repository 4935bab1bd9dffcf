package identity_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/service/identity"
)

func fingerprint(t *testing.T, text string) string {
	t.Helper()
	b, _ := pem.Decode([]byte(text))
	if b == nil {
		t.Fatal("not PEM: " + text)
	}
	return devicetls.Fingerprint(b.Bytes)
}

func TestTheCAOutlivesRestartsAndIsSharedByServers(t *testing.T) {
	onBoth(t, func(w *world) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if server(w.t, w.db).CA() != w.CA() {
					w.t.Error("another CA")
				}
			})
		}
		wg.Wait()
	})
}

func TestAPrivateKeyIsKeptNowhere(t *testing.T) {
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, db)
	k, err := w.CreateKeysAndCertificate(t.Context(), scope, true)
	w.ok(err)
	if k.Status != trust.Active || k.ID != fingerprint(t, k.PEM) || !strings.Contains(k.Public, "PUBLIC KEY") {
		t.Errorf("%+v", k.Certificate)
	}
	w.ok(db.Close())
	files, err := filepath.Glob(filepath.Join(dir, "x.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	line := strings.Split(k.Private, "\n")[3]
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || bytes.Contains(b, []byte(line)) {
			t.Errorf("%s holds the private key (%v)", f, err)
		}
	}
}

func TestWhoeverHoldsACertificateGetsWhatItIsFor(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx := t.Context()
		id := w.provision("cam", "f")
		g, err := w.Assume(ctx, identity.Ask{CertificateID: id, Alias: "SageMakerEdge-f"})
		want := identity.Grant{
			Scope: scope, Thing: "cam", Alias: "SageMakerEdge-f", RoleARN: role, CertificateID: id, Duration: time.Hour,
		}
		if g != want || err != nil {
			t.Errorf("%+v, %v", g, err)
		}
		_, err = w.CreateThing(ctx, trust.Thing{Scope: scope, Name: "cam2"})
		w.ok(err)
		w.ok(w.AttachThing(ctx, scope, "cam2", trust.CertificateARN(scope, id)))
		if g, err := w.Assume(ctx, identity.Ask{CertificateID: id, Alias: "SageMakerEdge-f"}); g.Thing != id ||
			err != nil {
			t.Errorf("of two things, named none: %+v, %v", g, err)
		}
		g, err = w.Assume(ctx, identity.Ask{CertificateID: id, Alias: "SageMakerEdge-f", Thing: new("cam2")})
		if g.Thing != "cam2" || err != nil {
			t.Errorf("of two things, named one: %+v, %v", g, err)
		}
		long := "arn:aws:iam::123456789012:role/" + strings.Repeat("x", 600)
		_, err = w.UpdateRoleAlias(ctx, scope, "SageMakerEdge-f", long, 0)
		w.ok(err)
		if _, err := w.Assume(ctx, identity.Ask{CertificateID: id, Alias: "SageMakerEdge-f"}); !errors.Is(
			err, identity.ErrRole,
		) {
			t.Error(err)
		}
	})
}

func TestASessionDiesWithItsCertificate(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx := t.Context()
		for name, end := range map[string]func(id, thing string) error{
			"inactive": func(id, _ string) error { return w.SetStatus(ctx, scope, id, trust.Inactive) },
			"revoked":  func(id, _ string) error { return w.SetStatus(ctx, scope, strings.ToUpper(id), trust.Revoked) },
			"detached": func(id, thing string) error {
				return w.DetachThing(ctx, scope, thing, trust.CertificateARN(scope, id))
			},
			"deleted": func(id, thing string) error {
				return errors.Join(w.SetStatus(ctx, scope, id, trust.Inactive),
					w.DetachThing(ctx, scope, thing, trust.CertificateARN(scope, id)),
					w.DeleteCertificate(ctx, scope, id, true))
			},
		} {
			id := w.provision("t-"+name, "f")
			if !w.Alive(id, "t-"+name) || !w.Alive(id, id) || w.Alive(id, "other") || w.Alive(id, "") ||
				w.Alive(id, "t") {
				t.Errorf("%s: before", name)
			}
			w.ok(end(id, "t-"+name))
			if w.Alive(id, "t-"+name) {
				t.Errorf("%s: it lives", name)
			}
			if w.Alive(id, id) != (name == "detached") {
				t.Errorf("%s: the certificate itself", name)
			}
		}
		if w.Alive("", "") || w.Alive("xyz", "t") || w.Alive(strings.Repeat("z", 64), "t") {
			t.Error("what is no certificate lives")
		}
	})
}

func TestAnotherServerSeesARevocation(t *testing.T) {
	onBoth(t, func(w *world) {
		id := w.provision("cam", "f")
		other := server(t, w.db)
		if !other.Alive(id, "cam") {
			t.Fatal("not loaded at the start")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); other.Run(ctx) }()
		defer func() { cancel(); <-done }()
		w.ok(w.SetStatus(t.Context(), scope, id, trust.Revoked))
		for deadline := time.Now().Add(15 * time.Second); other.Alive(id, "cam"); {
			if time.Now().After(deadline) {
				t.Fatal("it is still alive there")
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

func TestCreatingTheSameAgainSucceeds(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx := t.Context()
		typ := trust.ThingType{Scope: scope, Name: "camera", Description: "d"}
		a, err := w.CreateThingType(ctx, typ, nil)
		w.ok(err)
		b, err := w.CreateThingType(ctx, typ, nil)
		if a.ID != b.ID || err != nil {
			t.Error(a, b, err)
		}
		typ.Description = "another"
		_, err = w.CreateThingType(ctx, typ, nil)
		w.refused(err, fault.Exists)

		thing := trust.Thing{Scope: scope, Name: "cam", Type: "camera", Attributes: map[string]string{"a": "b"}}
		c, err := w.CreateThing(ctx, thing)
		w.ok(err)
		d, err := w.CreateThing(ctx, thing)
		if c.ID != d.ID || err != nil {
			t.Error(c, d, err)
		}
		thing.Attributes = nil
		_, err = w.CreateThing(ctx, thing)
		w.refused(err, fault.Exists)
		if have, ok := errors.AsType[*identity.Taken](err); !ok || have.ARN != thing.ARN() || have.ID != c.ID {
			t.Error(have)
		}
		_, err = w.CreateThing(ctx, trust.Thing{Scope: scope, Name: "x", Type: "none"})
		w.refused(err, fault.NotFound)
	})
}

func TestNothingIsDeletedThatSomethingHangsOn(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx := t.Context()
		id := w.provision("cam", "f")
		name := trust.CertificateARN(scope, id)
		w.refused(w.DeleteCertificate(ctx, scope, id, true), fault.Conflict)
		w.refused(w.DeleteThing(ctx, scope, "cam", 0), fault.Invalid)
		w.refused(w.DeleteThing(ctx, scope, "cam", 7), fault.Conflict)
		w.refused(w.DeletePolicy(ctx, scope, "p-cam"), fault.InUse)
		w.ok(w.SetStatus(ctx, scope, id, trust.Revoked))
		w.refused(w.SetStatus(ctx, scope, id, trust.Active), fault.Conflict)
		w.refused(w.SetStatus(ctx, scope, id, "PENDING_TRANSFER"), fault.Invalid)
		w.refused(w.DeleteCertificate(ctx, scope, id, true), fault.InUse)
		w.ok(w.DetachThing(ctx, scope, "cam", name))
		w.refused(w.DeleteCertificate(ctx, scope, id, false), fault.InUse)
		w.ok(w.DeleteCertificate(ctx, scope, "0x"+strings.ToUpper(id), true))
		w.ok(w.DeleteThing(ctx, scope, "cam", 1))
		w.ok(w.DeletePolicy(ctx, scope, "p-cam"))
		w.refused(w.AttachThing(ctx, scope, "cam", name), fault.NotFound)
		_, err := w.Certificate(ctx, scope, id)
		w.refused(err, fault.NotFound)
		elsewhere := arn.Scope{Region: "eu-west-1", Account: scope.Account}
		w.refused(w.AttachPolicy(ctx, elsewhere, "p", name), fault.NotFound)
		w.refused(w.AttachPolicy(ctx, scope, "p", "arn:aws:iot:us-east-1:123456789012:thinggroup/g"), fault.Invalid)
	})
}

func TestACertificateHasAtMostTenPolicies(t *testing.T) {
	inSQLite(t, func(w *world) {
		ctx := t.Context()
		name := trust.CertificateARN(scope, w.provision("cam", "f"))
		for i := range trust.MaxPolicies {
			p := trust.Policy{Scope: scope, Name: string(rune('a' + i)), Document: `{"Statement":[]}`}
			w.ok(w.CreatePolicy(ctx, p, nil))
			err := w.AttachPolicy(ctx, scope, p.Name, name)
			if i < trust.MaxPolicies-1 {
				w.ok(err)
			} else {
				w.refused(err, fault.Limit)
			}
		}
		w.ok(w.AttachPolicy(ctx, scope, "a", name)) // it is attached
	})
}

func TestTheAliasOfAFleetFollowsItsRole(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx := t.Context()
		role2 := role + "2"
		w.ok(w.EnsureAlias(ctx, scope, "f", role))
		w.ok(w.EnsureAlias(ctx, scope, "f", role))
		w.ok(w.EnsureAlias(ctx, scope, "f", role2))
		a, err := w.RoleAlias(ctx, scope, "SageMakerEdge-f")
		if a.RoleARN != role2 || a.Duration != time.Hour ||
			a.ARN() != "arn:aws:iot:us-east-1:123456789012:rolealias/SageMakerEdge-f" || err != nil {
			t.Error(a, err)
		}
		w.ok(w.CreateRoleAlias(
			ctx, trust.RoleAlias{Scope: scope, Name: "SageMakerEdge-g", RoleARN: role, Duration: 900 * time.Second},
			nil,
		))
		w.refused(w.EnsureAlias(ctx, scope, "g", role2), fault.Invalid) // somebody else's
		w.ok(w.EnsureAlias(ctx, scope, "g", role))                      // taken over
		w.ok(w.EnsureAlias(ctx, scope, "g", role2))
		if a, err := w.RoleAlias(ctx, scope, "SageMakerEdge-g"); a.RoleARN != role2 || a.Duration != 900*time.Second ||
			err != nil {
			t.Error(a, err)
		}
	})
}

// Whatever happens at once: what is attached exists, and nothing waits for ever.
func TestAttachingAndDeletingAtOnceLeaveNoLooseEnds(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx := t.Context()
		for range 5 {
			id := w.provision("cam", "f")
			name := trust.CertificateARN(scope, id)
			w.ok(w.DetachThing(ctx, scope, "cam", name))
			var wg sync.WaitGroup
			for _, f := range []func() error{
				func() error { return w.AttachThing(ctx, scope, "cam", name) },
				func() error { return w.DeleteThing(ctx, scope, "cam", 0) },
				func() error { return w.SetStatus(ctx, scope, id, trust.Inactive) },
				func() error { return w.DeleteCertificate(ctx, scope, id, true) },
				func() error { return w.DetachPolicy(ctx, scope, "p-cam", name) },
				func() error { return w.DeletePolicy(ctx, scope, "p-cam") },
			} {
				wg.Go(func() {
					if err := f(); err != nil {
						if kind, _ := fault.Public(err); kind == fault.Internal {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			_, thingErr := w.Thing(ctx, scope, "cam")
			_, certErr := w.Certificate(ctx, scope, id)
			held, err := w.db.CertificatesOfThing(ctx, scope, "cam", "", 9)
			w.ok(err)
			if len(held) > 0 && (thingErr != nil || certErr != nil) {
				t.Errorf("attached, but: %v, %v", thingErr, certErr)
			}
			w.ok(w.tidy("cam", id))
		}
	})
}

// tidy removes what provision made, as far as it is there.
func (w *world) tidy(thing, id string) error {
	ctx := w.t.Context()
	name := trust.CertificateARN(scope, id)
	for _, f := range []func() error{
		func() error { return w.SetStatus(ctx, scope, id, trust.Inactive) },
		func() error { return w.DetachThing(ctx, scope, thing, name) },
		func() error { return w.DeleteCertificate(ctx, scope, id, true) },
		func() error { return w.DeleteThing(ctx, scope, thing, 0) },
		func() error { return w.DeletePolicy(ctx, scope, "p-"+thing) },
	} {
		if err := f(); err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
