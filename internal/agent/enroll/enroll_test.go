package enroll_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/agent/enroll"
	wire "github.com/slipway-ml/slipway/internal/domain/enroll"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// server answers enrollments as spoil left the reply, before it is signed; and
// sealed, after.
type server struct {
	*cloudtest.Server
	token         wire.Token
	spoil, sealed func(*wire.Reply)
	asked         int
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{Server: cloudtest.New(t), spoil: func(*wire.Reply) {}, sealed: func(*wire.Reply) {}}
	sum := sha256.Sum256(s.CA.Cert.Raw)
	s.token = wire.Token{
		URL: s.URL, ID: "t-1", Secret: secret, CA: hex.EncodeToString(sum[:]), Fleet: "plant", Name: "cam-01",
		Expires: time.Now().Add(time.Hour),
	}
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		s.asked++
		var req wire.Request
		if r.URL.Path != "/enroll" || json.NewDecoder(r.Body).Decode(&req) != nil || !req.Authentic(secret) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message":"the token was used"}`))
			return true
		}
		csr, err := x509.ParseCertificateRequest(req.CSR)
		if err != nil || csr.CheckSignature() != nil || csr.Subject.CommonName != "cam-01" {
			t.Error("the request for a certificate is not one")
			return true
		}
		reply := wire.Reply{
			Certificate: string(s.CA.Sign(t, "cam-01", csr.PublicKey)), Chain: string(s.CA.PEM()),
			SigningRoots: map[string]string{"us-east-1": string(s.CA.PEM())},
			Config: map[string]string{
				"sagemaker_edge_core_device_name": "cam-01", "sagemaker_edge_core_device_fleet_name": "plant",
				"sagemaker_edge_core_region":                    "us-east-1",
				"sagemaker_edge_provider_aws_iot_cred_endpoint": s.Credentials(),
			},
		}
		s.spoil(&reply)
		if err := reply.Sign(secret, req); err != nil {
			t.Error(err)
		}
		s.sealed(&reply)
		_ = json.NewEncoder(w).Encode(reply)
		return true
	})
	return s
}

func TestATokenBecomesAnIdentityThatAnAgentStartsFrom(t *testing.T) {
	s := newServer(t)
	dir := filepath.Join(t.TempDir(), "etc", "slipway")
	if err := enroll.Run(t.Context(), s.token.String(), dir); err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{
		"": 0o700, "private.pem.key": 0o600, "device.pem.crt": 0o644, "ca.pem": 0o444, "roots/us-east-1.pem": 0o444,
		"agent.json": 0o644,
	}
	for name, want := range modes {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	c, err := config.Load(filepath.Join(dir, "agent.json"), "/run/agent.sock", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if c.Device != "cam-01" || c.Cloud.KeyFile != filepath.Join(dir, "private.pem.key") ||
		c.DataRoot != filepath.Join(dir, "data") || c.Poll != time.Minute {
		t.Errorf("read back: %+v", c)
	}
	if err := enroll.Run(t.Context(), s.token.String(), dir); err == nil || !strings.Contains(err.Error(), "already") ||
		s.asked != 1 {
		t.Errorf("a second time: %v, after %d requests", err, s.asked)
	}
}

func TestAReplyThatIsNotTheServersLeavesNoIdentity(t *testing.T) {
	stranger := cloudtest.NewCA(t, "stranger")
	key := stranger.Cert.PublicKey
	for name, tc := range map[string]struct {
		spoil, sealed func(*wire.Reply)
		says          string
	}{
		"changed on the way": {
			sealed: func(r *wire.Reply) { r.Config["sagemaker_edge_core_region"] = "x" }, says: "not from the server",
		},
		"another CA": {
			spoil: func(r *wire.Reply) { r.Chain = string(stranger.PEM()) }, says: "the CA is not",
		},
		"a certificate for another": {
			spoil: func(r *wire.Reply) { r.Certificate = string(stranger.Sign(t, "cam-01", key)) }, says: "another key",
		},
		"no certificate":   {spoil: func(r *wire.Reply) { r.Certificate = "" }, says: "holds no certificate"},
		"no configuration": {spoil: func(r *wire.Reply) { r.Config = nil }, says: "device_name"},
		"a region that climbs": {
			spoil: func(r *wire.Reply) { r.SigningRoots = map[string]string{"../up": ""} }, says: "not a region",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			if tc.spoil != nil {
				s.spoil = tc.spoil
			}
			if tc.sealed != nil {
				s.sealed = tc.sealed
			}
			dir := t.TempDir()
			if err := enroll.Run(t.Context(), s.token.String(), dir); err == nil ||
				!strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want it to say %q", err, tc.says)
			}
			if _, err := os.Stat(filepath.Join(dir, "agent.json")); err == nil {
				t.Error("an agent would start from it")
			}
			s.spoil, s.sealed = func(*wire.Reply) {}, func(*wire.Reply) {}
			if err := enroll.Run(t.Context(), s.token.String(), dir); err != nil {
				t.Errorf("another token, as it were: %v", err)
			}
		})
	}
}

func TestAServerUnderAnotherCAIsRefusedThoughItPassesOnWhatTheRightOneSays(t *testing.T) {
	s, relay := newServer(t), cloudtest.New(t)
	relay.Intercept(func(w http.ResponseWriter, r *http.Request) bool { s.ServeHTTP(w, r); return true })
	s.token.URL = relay.URL
	if err := enroll.Run(t.Context(), s.token.String(), t.TempDir()); err == nil ||
		!strings.Contains(err.Error(), "not of the token's CA") {
		t.Error(err)
	}
}

func TestARefusalIsToldWithoutTheToken(t *testing.T) {
	s := newServer(t)
	s.token.Secret = []byte("another secret of some length...")
	err := enroll.Run(t.Context(), s.token.String(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "the token was used") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	for _, token := range []string{
		"", "slipway-enroll-v1.x", wire.Token{URL: "ftp://x", ID: "i", Secret: secret}.String(),
	} {
		if err := enroll.Run(t.Context(), token, t.TempDir()); err == nil {
			t.Errorf("%.30q was spent", token)
		}
	}
}
