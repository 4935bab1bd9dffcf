package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	credentialsapi "github.com/slipway-ml/slipway/internal/api/credentials"
	api "github.com/slipway-ml/slipway/internal/api/slipway"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// deviceServer is a server that knows of identities and little else, with a
// fleet called line; the environment names it.
func deviceServer(t *testing.T) *identity.Service {
	t.Helper()
	s := arn.Scope{Region: "us-east-1", Account: "123456789012"}
	db := storetest.SQLite(t)
	edges, err := edgestore.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), s.Account)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ids, err := identity.New(t.Context(), identity.Config{
		Store: identitystore.New(db), Fleets: edges, Account: s.Account, Log: log,
		Endpoint: func() string { return "localhost:9443" }, URL: func() string { return "http://localhost:1" },
		SigningRoots: func(context.Context) (map[string]string, error) {
			return map[string]string{"us-east-1": "root"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = edges.Change(t.Context(), func(tx edgestore.Tx) error {
		return tx.InsertFleet(
			t.Context(), edge.Fleet{Scope: s, Name: "line", Created: time.Now(), Modified: time.Now()},
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Account: s.Account, Region: s.Region, Log: log,
		Slipway: api.NewHandler(api.Services{Identity: ids}, log),
		Enroll:  credentialsapi.NewEnroll(ids, log),
	}))
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ENDPOINT_URL", srv.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", keys.Default().ID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.Default().Secret)
	t.Setenv("AWS_REGION", s.Region)
	return ids
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := New()
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func ran(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestADeviceIsEnrolledListedAndRevoked(t *testing.T) {
	ids := deviceServer(t)
	if out := ran(t, "device", "list", "line"); out != "The fleet has no devices.\n" {
		t.Error(out)
	}
	token, err := enroll.ParseToken(ran(t, "device", "enroll", "line", "cam-1", "--ttl", "10m"))
	if err != nil || token.Name != "cam-1" || time.Until(token.Expires) > 10*time.Minute {
		t.Errorf("%+v, %v", token, err)
	}
	dir := filepath.Join(t.TempDir(), "cam-1")
	if out := ran(t, "device", "enroll", "line", "cam-1", "--bundle", dir); !strings.Contains(
		out, "Wrote the identity of device cam-1 of fleet line to "+dir,
	) {
		t.Error(out)
	}
	for name, mode := range map[string]os.FileMode{
		"agent.json": 0o644, "device.pem.crt": 0o644, "private.pem.key": 0o600, "ca.pem": 0o444,
		"roots/us-east-1.pem": 0o444,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if ca, err := os.ReadFile(filepath.Join(dir, "ca.pem")); string(ca) != ids.CA() {
		t.Error("another CA:", err)
	}
	if _, err := run(t, "device", "enroll", "line", "cam-1", "--bundle", dir); err == nil ||
		!strings.Contains(err.Error(), "enrolled already") {
		t.Error("over another identity:", err)
	}
	var listed struct {
		DeviceIdentities []struct {
			DeviceName, IotThingName string
			Certificates             []struct {
				CertificateId, Status string
				Enrolled              bool
			}
		}
	}
	if err := json.Unmarshal([]byte(ran(t, "device", "list", "line", "--json")), &listed); err != nil ||
		len(listed.DeviceIdentities) != 1 {
		t.Fatal(listed, err)
	}
	d := listed.DeviceIdentities[0]
	if d.DeviceName != "cam-1" || d.IotThingName != "line:cam-1" || len(d.Certificates) != 1 ||
		d.Certificates[0].Status != "ACTIVE" || !d.Certificates[0].Enrolled {
		t.Errorf("%+v", d)
	}
	if !ids.Alive(d.Certificates[0].CertificateId, "line:cam-1") {
		t.Error("it is not alive")
	}
	if out := ran(t, "device", "revoke", "line", "cam-1"); !strings.Contains(out, "1 certificates were active") {
		t.Error(out)
	}
	if out := ran(t, "device", "list", "line"); !strings.Contains(out, "INACTIVE") || !strings.Contains(out, "never") ||
		ids.Alive(d.Certificates[0].CertificateId, "line:cam-1") {
		t.Error(out)
	}
}

func TestWhatCannotBeEnrolledIsSaidInAnOperatorsWords(t *testing.T) {
	deviceServer(t)
	for want, args := range map[string][]string{
		"No device fleet with name nowhere":                    {"device", "enroll", "nowhere", "cam"},
		"Value '1' at 'ttlInSeconds' failed":                   {"device", "enroll", "line", "cam", "--ttl", "1s"},
		"--ttl is in whole seconds":                            {"device", "enroll", "line", "cam", "--ttl", "1.5s"},
		"failed to satisfy constraint":                         {"device", "enroll", "line", "cam_1"},
		"No device with name cam":                              {"device", "revoke", "line", "cam"},
		"No device fleet with name none":                       {"device", "list", "none"},
		"NAME is missing":                                      {"device", "enroll", "line"},
		"unknown command \"lsit\" for \"slipway device\"":      {"device", "lsit"},
		"Member must have value less than or equal to 2592000": {"device", "enroll", "line", "cam", "--ttl", "900h"},
	} {
		if _, err := run(t, args...); err == nil ||
			!strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%v: %v\nwant %s", args, err, want)
		}
	}
}
