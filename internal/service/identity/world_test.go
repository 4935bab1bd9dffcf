package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/store"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/identity"
)

var scope = arn.Scope{Region: "us-east-1", Account: "123456789012"}

const role = "arn:aws:iam::123456789012:role/SageMakerDevices"

// world is the service over a real store.
type world struct {
	*identity.Service
	t      *testing.T
	db     identitystore.DB
	fleets edgestore.DB
}

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(w *world)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) { f(newWorld(t, db)) })
}

func inSQLite(t *testing.T, f func(w *world)) {
	t.Helper()
	f(newWorld(t, storetest.SQLite(t)))
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	ids := identitystore.New(db)
	return &world{server(t, ids), t, ids, fleets(t, ids)}
}

// fleets are those in the store of identities.
func fleets(t testing.TB, db identitystore.DB) edgestore.DB {
	t.Helper()
	fleets, err := edgestore.New(t.Context(), db.DB)
	if err != nil {
		t.Fatal(err)
	}
	return fleets
}

// server is one more server on a store.
func server(t *testing.T, db identitystore.DB) *identity.Service {
	t.Helper()
	s, err := identity.New(t.Context(), identity.Config{
		Store: db, Fleets: fleets(t, db), Account: scope.Account, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Endpoint: func() string { return "edge.example:9443" },
		URL:      func() string { return "http://edge.example:9400" },
		SigningRoots: func(context.Context) (map[string]string, error) {
			return map[string]string{"us-east-1": "root"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(err error, kind fault.Kind) {
	w.t.Helper()
	if !errors.Is(err, kind) {
		w.t.Errorf("%v, want it %v", err, kind)
	}
}

// fleet creates a device fleet.
func (w *world) fleet(name string) {
	w.t.Helper()
	w.ok(w.fleets.Change(w.t.Context(), func(tx edgestore.Tx) error {
		return tx.InsertFleet(w.t.Context(), edge.Fleet{
			Scope: scope, Name: name, RoleARN: role, Created: time.Now(), Modified: time.Now(),
		})
	}))
}

// device returns the thing of a device of a fleet.
func (w *world) device(fleet, name string) string {
	w.t.Helper()
	f, err := w.fleets.Fleet(w.t.Context(), scope, fleet)
	w.ok(err)
	d, err := w.fleets.Device(w.t.Context(), f, name)
	w.ok(err)
	return d.Thing
}

// provision does what the getting-started guide does, and returns the ID of the
// certificate.
func (w *world) provision(thing, fleet string) string {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.CreateThing(ctx, trust.Thing{Scope: scope, Name: thing})
	w.ok(err)
	k, err := w.CreateKeysAndCertificate(ctx, scope, true)
	w.ok(err)
	w.ok(w.EnsureAlias(ctx, scope, fleet, role))
	p := trust.Policy{
		Scope: scope, Name: "p-" + thing,
		Document: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate",` +
			`"Resource":"` +
			trust.AliasARN(scope, edge.AliasName(fleet)) + `"}}`,
	}
	w.ok(w.CreatePolicy(ctx, p, nil))
	w.ok(w.AttachPolicy(ctx, scope, p.Name, k.ARN()))
	w.ok(w.AttachThing(ctx, scope, thing, k.ARN()))
	return k.ID
}

func csr(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// invite makes a token for a device of fleet f.
func (w *world) invite(device string) enroll.Token {
	w.t.Helper()
	token, err := w.Invite(w.t.Context(), scope, "f", device, time.Hour)
	w.ok(err)
	return token
}

// enroll spends a token and returns the ID of the certificate.
func (w *world) enroll(token enroll.Token, csr []byte) (string, enroll.Reply) {
	w.t.Helper()
	r := token.Request(csr)
	reply, err := w.Enroll(w.t.Context(), r)
	w.ok(err)
	w.ok(reply.Check(token.Secret, r))
	return fingerprint(w.t, reply.Certificate), reply
}
