package iot_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"

	credentialsapi "github.com/slipway-ml/slipway/internal/api/credentials"
	api "github.com/slipway-ml/slipway/internal/api/iot"
	"github.com/slipway-ml/slipway/internal/api/sagemaker"
	fleetapi "github.com/slipway-ml/slipway/internal/api/sagemaker/fleet"
	"github.com/slipway-ml/slipway/internal/api/sts"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

const account = "123456789012"

// world is the APIs of fleets and things over the real services and store,
// behind the gateway, which is open to devices at their listener, too. Its embedded
// client is the SDK for Go.
type world struct {
	*sdk.Client
	t       *testing.T
	ids     *identity.Service
	url     string
	devices string // host:port of the device listener
	key     sigv4.Key
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.SQLite(t)
	edges, err := edgestore.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), account)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := access.OpenSessions(filepath.Join(t.TempDir(), "session.key"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	w := &world{t: t, key: keys.Default()}
	w.ids, err = identity.New(t.Context(), identity.Config{
		Store: identitystore.New(db), Fleets: edges, Account: account, Log: log,
		Endpoint: func() string { return w.devices },
	})
	if err != nil {
		t.Fatal(err)
	}
	fleets := fleet.New(fleet.Config{Store: edges, Log: log, EnsureAlias: w.ids.EnsureAlias})
	ring := access.Ring{Keys: keys, Sessions: sessions}
	h := gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(ring), Keys: keys, Account: account, Region: "us-east-1", Log: log,
		IoT:       api.NewHandler(w.ids, log),
		SageMaker: sagemaker.NewHandler(control.New(control.Config{}), log, fleetapi.Ops(fleets)),
		STS:       sts.New(log), SessionAlive: credentialsapi.Alive(w.ids),
	})
	srv := httptest.NewServer(h)
	w.url = srv.URL
	stop := w.listen(h, credentialsapi.New(w.ids, sessions, log), log)
	t.Cleanup(func() {
		stop()
		srv.Close()
	})
	w.Client = w.in("us-east-1")
	return w
}

// listen opens the device listener.
func (w *world) listen(h, provider http.Handler, log *slog.Logger) (stop func()) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	c, err := w.ids.TLSConfig()
	w.ok(err)
	mux := http.NewServeMux()
	mux.Handle(credentialsapi.Prefix, provider)
	mux.Handle("/", h)
	srv := devicetls.Server(c, mux, log)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(devicetls.Limit(l, connlimit.Config{}), "", "") }()
	w.devices = l.Addr().String()
	return func() { _ = srv.Close(); <-done }
}

// in is a client that signs for a region.
func (w *world) in(region string) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: &w.url, Region: region, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(w.key.ID, w.key.Secret, ""),
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused checks the type, the status and a part of the text of an error.
func refused[E interface {
	error
	ErrorMessage() string
}](w *world, err error, status int, text string) (e E) {
	w.t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok || !strings.Contains(e.ErrorMessage(), text) {
		w.t.Errorf("got %v\nwant %T: %s", err, e, text)
		return e
	}
	if r, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); !ok || r.HTTPStatusCode() != status {
		w.t.Errorf("the status of %v is not %d", err, status)
	}
	return e
}
