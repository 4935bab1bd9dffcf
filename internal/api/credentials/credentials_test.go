package credentials_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/api/credentials"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
)

// stranger returns a certificate that the service has never seen, though its
// CA issued it.
func (w *world) stranger() (*ecdsa.PrivateKey, tls.Certificate) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	a, _, err := identitystore.New(w.db).DeviceCA(w.t.Context())
	w.ok(err)
	ca, err := devicetls.OpenCA(a.Certificate, a.Key)
	w.ok(err)
	issued, err := ca.Issue(key.Public())
	w.ok(err)
	b, _ := pem.Decode([]byte(issued.PEM))
	return key, tls.Certificate{Certificate: [][]byte{b.Bytes}, PrivateKey: key}
}

// Every row of the table of edge spec §5.2, in its order: a request to which
// several apply gets the first.
func TestTheProviderAnswersByTheFirstConditionThatApplies(t *testing.T) {
	w := newWorld(t)
	w.alias("A", role, time.Hour)
	w.alias("noRole", "arn:aws:iam::123456789012:user/nobody", 3*time.Hour)
	w.alias("long", role, 3*time.Hour)
	all := w.certify(true, "cam")
	w.allow(all, "Allow", "*")
	inactive, none, denied, other := w.certify(false, "cam"), w.certify(true), w.certify(true), w.certify(true, "cam2")
	w.allow(inactive, "Allow", "*")
	w.allow(denied, "Allow", "*")
	w.allow(denied, "Deny", "A")
	w.allow(other, "Allow", "B")
	revoked := w.certify(true)
	w.allow(revoked, "Allow", "*")
	w.ok(w.ids.SetStatus(t.Context(), scope, revoked.ID, trust.Revoked))
	_, stranger := w.stranger()
	const invalid, thing, access, alias = `{"message":"Certificate is invalid on this ` +
		`endpoint"}`, `{"message":"Invalid thing name ` +
		`passed"}`, `{"message":"Access Denied"}`, `{"message":"Role alias does not exist"}`
	for name, c := range map[string]struct {
		pair   tls.Certificate
		alias  string
		things []string
		status int
		body   string
	}{
		"a certificate that is unknown":  {stranger, "A", nil, 403, invalid},
		"one that is inactive":           {inactive.pair, "nowhere", []string{"nobody"}, 403, invalid},
		"one that is revoked":            {revoked.pair, "A", nil, 403, invalid},
		"a thing that is unknown":        {none.pair, "A", []string{"nobody"}, 403, thing},
		"a thing of another certificate": {all.pair, "A", []string{"cam2"}, 403, thing},
		"its own thing and another":      {all.pair, "A", []string{"cam", "cam2"}, 403, thing},
		"no name":                        {all.pair, "A", []string{""}, 403, thing},
		"without a policy":               {none.pair, "A", nil, 403, access},
		"without a policy for this":      {other.pair, "A", []string{"cam2"}, 403, access},
		"with one that forbids it":       {denied.pair, "A", nil, 403, access},
		"no alias, and no policy for it": {other.pair, "nowhere", nil, 403, access},
		"an alias that is a pattern":     {other.pair, "*", nil, 403, access},
		"no alias":                       {all.pair, "nowhere", nil, 404, alias},
		"an alias that is none":          {all.pair, "a%20b", nil, 404, alias},
		"no role, for too long besides": {
			all.pair, "noRole", nil, 400,
			`{"message":"Unable to assume the role, or the role to assume does not exist"}`,
		},
		"for longer than the role may": {
			all.pair, "long", nil, 400,
			`{"message":"The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role"}`,
		},
		"allowed, where it has no such alias": {other.pair, "B", nil, 404, alias},
	} {
		status, head, body := w.ask(c.pair, http.MethodGet, c.alias, c.things...)
		if status != c.status || body != c.body || len(head.Get("x-amzn-RequestId")) != 36 {
			t.Errorf("%s: %d %s %v", name, status, body, head)
		}
		if want := "AccessDeniedException"; c.status == 403 && head.Get("x-amzn-ErrorType") != want {
			t.Errorf("%s: %v", name, head)
		}
	}
	if _, err := w.client().Get("https://" + w.address + "/role-aliases/A/credentials"); err == nil {
		t.Error("a client without a certificate was answered")
	}
}

func TestADeviceGetsCredentialsForItsThing(t *testing.T) {
	w := newWorld(t)
	w.alias("A", role, 900*time.Second)
	one, none, two := w.certify(true, "cam"), w.certify(true), w.certify(true, "x", "y")
	for _, h := range []holder{one, none, two} {
		w.allow(h, "Allow", "A")
	}
	for name, c := range map[string]struct {
		holder
		header []string
		thing  string
	}{
		"of one thing":             {one, nil, "cam"},
		"of one that it names":     {one, []string{"cam"}, "cam"},
		"of two, one of them":      {two, []string{"y"}, "y"},
		"of two, not saying which": {two, nil, two.ID},
		"of none":                  {none, nil, none.ID},
	} {
		asked := time.Now()
		status, head, body := w.ask(c.pair, http.MethodGet, "A", c.header...)
		var got struct{ Credentials map[string]string }
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 ||
			head.Get("x-amzn-RequestId") == "" || head.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %v", name, status, head)
		}
		until, err := time.Parse("2006-01-02T15:04:05Z", got.Credentials["expiration"])
		if left := until.Sub(asked); err != nil || left < 895*time.Second || left > 901*time.Second {
			t.Error(name, left, err)
		}
		if len(got.Credentials) != 4 || !strings.HasPrefix(got.Credentials["accessKeyId"], "ASIA") ||
			got.Credentials["secretAccessKey"] == "" || got.Credentials["sessionToken"] == "" {
			t.Error(name, len(got.Credentials))
		}
		want := access.Session{
			Thing: c.thing, Alias: "A", RoleARN: role, CertificateID: c.ID, Account: scope.Account,
			Region: scope.Region,
		}
		last := w.sessions.last
		last.Expires = time.Time{}
		if d := cmp.Diff(want, last); d != "" {
			t.Error(name, d)
		}
		alive := credentials.Alive(w.ids)
		if !alive(access.Device{Thing: c.thing, CertificateID: c.ID}) ||
			alive(access.Device{Thing: "other", CertificateID: c.ID}) {
			t.Error(name, "is not alive, or for others")
		}
	}
}

func TestNothingElseIsBelowTheProvider(t *testing.T) {
	w := newWorld(t)
	h := w.certify(true)
	for name, c := range map[string]struct{ method, alias string }{
		"a POST": {http.MethodPost, "A"}, "a path too long": {http.MethodGet, "A/credentials/more"},
		"no alias": {http.MethodGet, ""},
	} {
		if status, _, body := w.ask(h.pair, c.method, c.alias); status != 404 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	w.alias("A", role, time.Hour)
	w.allow(h, "Allow", "A")
	w.sessions.err = errors.New("the secret cause")
	if status, _, body := w.ask(h.pair, http.MethodGet, "A"); status != 500 || strings.Contains(body, "cause") {
		t.Error(status, body)
	}
}

func TestManyDevicesAskAtOnceWhileOneIsRevoked(t *testing.T) {
	w := newWorld(t)
	w.alias("A", role, time.Hour)
	var all []holder
	for range 3 {
		h := w.certify(true)
		w.allow(h, "Allow", "A")
		all = append(all, h)
	}
	var wg sync.WaitGroup
	for _, h := range all {
		for range 10 {
			wg.Go(func() {
				status, _, body := w.ask(h.pair, http.MethodGet, "A")
				if status != 200 && (h.ID != all[0].ID || status != 403) {
					t.Error(status, body)
				}
			})
		}
	}
	w.ok(w.ids.SetStatus(t.Context(), scope, all[0].ID, trust.Inactive))
	if status, _, _ := w.ask(all[0].pair, http.MethodGet, "A"); status != 403 {
		t.Error("revoked, and served:", status)
	}
	wg.Wait()
}

func TestADeviceEnrollsOverHTTPAndUsesWhatItGot(t *testing.T) {
	w := newWorld(t)
	w.fleet("f")
	token, err := w.ids.Invite(t.Context(), scope, "f", "cam", time.Hour)
	w.ok(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	w.ok(err)
	request := token.Request(csr)
	status, body := w.post(request)
	var reply enroll.Reply
	if err := json.Unmarshal([]byte(body), &reply); err != nil || status != 200 {
		t.Fatal(status, body)
	}
	w.ok(reply.Check(token.Secret, request))
	b, _ := pem.Decode([]byte(reply.Certificate))
	pair := tls.Certificate{Certificate: [][]byte{b.Bytes}, PrivateKey: key}
	if status, _, body := w.ask(pair, http.MethodGet, "SageMakerEdge-f", "f:cam"); status != 200 {
		t.Error(status, body)
	}
	if w.sessions.last.Thing != "f:cam" || w.sessions.last.RoleARN != role {
		t.Errorf("%+v", w.sessions.last)
	}
}

func TestWhatIsNoEnrollmentIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		body   any
		status int
	}{
		"no JSON":        {"{", 400},
		"nothing":        {"{}", 403},
		"without a MAC":  {map[string]any{"id": "x", "csr": "AAAA"}, 403},
		"endless":        {`{"id":"` + strings.Repeat("x", 70<<10) + `"}`, 413},
		"another secret": {enroll.Token{ID: "x", Secret: []byte("0123456789abcdef")}.Request([]byte("x")), 403},
	} {
		if status, body := w.post(c.body); status != c.status || !strings.Contains(body, `"message"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	_, stranger := w.stranger()
	res, err := w.client(stranger).Get("https://" + w.address + "/enroll")
	w.ok(err)
	if _ = res.Body.Close(); res.StatusCode != http.StatusMethodNotAllowed {
		t.Error(res.Status)
	}
}
