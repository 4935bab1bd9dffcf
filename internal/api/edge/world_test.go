package edge_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	api "github.com/slipway-ml/slipway/internal/api/edge"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// fleets is a fleet "plant" with the devices "cam-1", of the thing "thing-1",
// and "cam-2", which has its own name for a thing. It keeps what it hears.
type fleets struct {
	mu    sync.Mutex
	beats []edge.Heartbeat
	scope arn.Scope
}

var hints = edge.Hints{Poll: 90 * time.Second, Heartbeat: 1500 * time.Millisecond}

func (f *fleets) may(s arn.Scope, c edge.Caller, fleet, device string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scope = s
	d := edge.Device{Fleet: "plant", Name: device}
	switch {
	case fleet != "plant" || device != "cam-1" && device != "cam-2":
		return edge.NoDevice(fleet, device)
	case device == "cam-1":
		d.Thing = "thing-1"
	}
	if !d.Acts(c) {
		return fault.New(fault.Denied, "%s may not act for %s", c.Thing, device)
	}
	return nil
}

func (f *fleets) Registration(
	_ context.Context, s arn.Scope, c edge.Caller, fleet, device string,
) (bool, time.Duration, error) {
	if device == "broken" {
		panic("password=hunter2")
	}
	if fleet == "elsewhere" {
		return false, 0, nil
	}
	return true, time.Hour, f.may(s, c, fleet, device)
}

func (f *fleets) Deployments(
	_ context.Context, s arn.Scope, c edge.Caller, fleet, device string,
) ([]edge.Deployment, edge.Hints, error) {
	if err := f.may(s, c, fleet, device); err != nil || device == "cam-2" {
		return nil, edge.Hints{}, err
	}
	return []edge.Deployment{{
		Name: "d-01hq7m3c9k2v8xw5t4n6p0r1sa", OnFailure: edge.RollbackOnFailure, Definitions: []edge.Definition{
			{
				Handle: "defects", S3URL: "s3://b/packages/defects-1.1.tar.gz",
				SHA1: "da39a3ee5e6b4b0d3255bfef95601890afd80709", State: edge.Deploy,
			},
			{Handle: "old", State: edge.Undeploy},
		},
	}}, hints, nil
}

func (f *fleets) Heartbeat(_ context.Context, s arn.Scope, c edge.Caller, h edge.Heartbeat) (edge.Hints, error) {
	if err := f.may(s, c, h.Fleet, h.Device); err != nil {
		return edge.Hints{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats = append(f.beats, h)
	if h.AgentVersion == "busy" {
		return edge.Hints{}, fault.New(fault.Limit, "Too many heartbeats.")
	}
	return hints, nil
}

func (f *fleets) last(t testing.TB) edge.Heartbeat {
	t.Helper()
	return f.ago(t, 0)
}

// ago is the heartbeat before the last n.
func (f *fleets) ago(t testing.TB, n int) edge.Heartbeat {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.beats) <= n {
		t.Fatalf("only %d heartbeats came", len(f.beats))
	}
	return f.beats[len(f.beats)-1-n]
}

// world is the API behind the gateway.
type world struct {
	*fleets
	http.Handler
	admin    sigv4.Key
	sessions *access.Sessions
}

func newWorld(t testing.TB, log *slog.Logger) *world {
	t.Helper()
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), "123456789012")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{fleets: &fleets{}, admin: keys.Default(), sessions: access.NewSessions([32]byte{1})}
	if log == nil {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ring := access.Ring{Keys: keys, Sessions: w.sessions}
	w.Handler = gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(ring), Keys: ring, Account: "123456789012", Region: "us-east-1", Log: log,
		Edge: api.NewHandler(w.fleets, log),
	})
	return w
}

func (w *world) device(t testing.TB, thing string) sigv4.Key {
	t.Helper()
	c, err := w.sessions.Issue(access.Session{
		Thing: thing, Alias: "SageMakerEdge-plant", RoleARN: "arn:aws:iam::123456789012:role/r", CertificateID: "c",
		Account: "123456789012", Expires: time.Now().Add(time.Hour),
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sigv4.Key{ID: c.AccessKeyID, Secret: c.SecretAccessKey, SessionToken: c.SessionToken}
}

// request is a signed call.
func request(t testing.TB, key sigv4.Key, op, body string) *http.Request {
	t.Helper()
	out, err := http.NewRequestWithContext(
		context.Background(), http.MethodPost, "http://localhost:9400/"+op, strings.NewReader(body),
	)
	if err != nil {
		t.Fatal(err)
	}
	out.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(body))
	keys := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret, SessionToken: key.SessionToken}
	if err := v4.NewSigner().SignHTTP(
		context.Background(), keys, out, hex.EncodeToString(sum[:]), "sagemaker", "us-west-2", time.Now(),
	); err != nil {
		t.Fatal(err)
	}
	in := httptest.NewRequest(http.MethodPost, "/"+op, bytes.NewReader([]byte(body)))
	in.Host, in.Header = "localhost:9400", out.Header
	return in
}

func (w *world) call(t testing.TB, key sigv4.Key, op, body string) (status int, text string, header http.Header) {
	t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, request(t, key, op, body))
	return rec.Code, rec.Body.String(), rec.Result().Header
}

// operator is the API without the gateway, called by an operator.
func operator(w *world) http.Handler {
	h := api.NewHandler(w.fleets, slog.New(slog.DiscardHandler))
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(
			out, r.WithContext(access.With(r.Context(), access.Caller{Account: "123456789012", Region: "us-east-1"})),
		)
	})
}
