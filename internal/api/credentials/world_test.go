package credentials_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/api/credentials"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	"github.com/slipway-ml/slipway/internal/platform/store"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
)

var scope = arn.Scope{Region: "us-east-1", Account: "123456789012"}

const role = "arn:aws:iam::123456789012:role/Devices"

// issuer keeps the sessions that it was asked for.
type issuer struct {
	*access.Sessions
	mu   sync.Mutex
	last access.Session
	err  error
}

func (i *issuer) Issue(x access.Session, now time.Time) (access.Credentials, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = x
	if i.err != nil {
		return access.Credentials{}, i.err
	}
	return i.Sessions.Issue(x, now)
}

// world is the device listener over the real service and store.
type world struct {
	t        *testing.T
	ids      *identity.Service
	db       *store.DB
	edge     edgestore.DB
	sessions *issuer
	address  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.SQLite(t)
	edges, err := edgestore.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	w := &world{t: t, db: db, edge: edges, sessions: &issuer{Sessions: access.NewSessions([32]byte{1})}}
	w.ids, err = identity.New(t.Context(), identity.Config{
		Store: identitystore.New(db), Fleets: w.edge, Account: scope.Account, Log: log, MaxSession: 2 * time.Hour,
		Endpoint: func() string { return w.address }, URL: func() string { return "https://" + w.address },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(credentials.Prefix, credentials.New(w.ids, w.sessions, log))
	mux.Handle("/enroll", credentials.NewEnroll(w.ids, log))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	w.address = l.Addr().String()
	c, err := w.ids.TLSConfig()
	w.ok(err)
	srv := devicetls.Server(c, mux, log)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(devicetls.Limit(l, connlimit.Config{}), "", "") }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fleet(name string) {
	w.t.Helper()
	w.ok(w.edge.Change(w.t.Context(), func(tx edgestore.Tx) error {
		return tx.InsertFleet(w.t.Context(), edge.Fleet{
			Scope: scope, Name: name, RoleARN: role, Created: time.Now(), Modified: time.Now(),
		})
	}))
}

// holder is a certificate that a client has, with its key.
type holder struct {
	identity.Keys
	pair tls.Certificate
}

// certify makes a certificate that is attached to things, which are made.
func (w *world) certify(active bool, things ...string) holder {
	w.t.Helper()
	k, err := w.ids.CreateKeysAndCertificate(w.t.Context(), scope, active)
	w.ok(err)
	for _, name := range things {
		_, err := w.ids.CreateThing(w.t.Context(), trust.Thing{Scope: scope, Name: name})
		w.ok(err)
		w.ok(w.ids.AttachThing(w.t.Context(), scope, name, k.ARN()))
	}
	pair, err := tls.X509KeyPair([]byte(k.PEM), []byte(k.Private))
	w.ok(err)
	return holder{k, pair}
}

// allow lets a certificate use aliases that a pattern names.
func (w *world) allow(h holder, effect, pattern string) {
	w.t.Helper()
	name := fmt.Sprintf("p%d", time.Now().UnixNano())
	w.ok(w.ids.CreatePolicy(w.t.Context(), trust.Policy{Scope: scope, Name: name, Document: `{"Version":"2012-10-17",` +
		`"Statement":{"Effect":"` + effect +
		`","Action":"iot:AssumeRoleWithCertificate","Resource":"` + trust.AliasARN(scope, pattern) + `"}}`}, nil))
	w.ok(w.ids.AttachPolicy(w.t.Context(), scope, name, h.ARN()))
}

func (w *world) alias(name, role string, d time.Duration) {
	w.t.Helper()
	w.ok(w.ids.CreateRoleAlias(
		w.t.Context(), trust.RoleAlias{Scope: scope, Name: name, RoleARN: role, Duration: d}, nil,
	))
}

// client is a client that trusts the device CA.
func (w *world) client(pairs ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(w.ids.CA()))
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: pairs}, DisableKeepAlives: true,
	}}
}

// ask asks for credentials of an alias; things are values of the header.
func (w *world) ask(pair tls.Certificate, method, alias string, things ...string) (int, http.Header, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(
		w.t.Context(), method, "https://"+w.address+"/role-aliases/"+alias+"/credentials", nil,
	)
	w.ok(err)
	for _, thing := range things {
		r.Header.Add("x-amzn-iot-thingname", thing)
	}
	res, err := w.client(pair).Do(r)
	w.ok(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	w.ok(err)
	return res.StatusCode, res.Header, strings.TrimSpace(string(b))
}

// post enrolls with a body.
func (w *world) post(body any) (int, string) {
	w.t.Helper()
	b, err := json.Marshal(body)
	w.ok(err)
	if raw, ok := body.(string); ok {
		b = []byte(raw)
	}
	// A device that enrolls has no certificate yet; any one will do.
	_, stranger := w.stranger()
	res, err := w.client(stranger).Post(
		"https://"+w.address+"/enroll", "application/json", strings.NewReader(string(b)),
	)
	w.ok(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	w.ok(err)
	return res.StatusCode, string(text)
}
