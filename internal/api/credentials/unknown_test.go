package credentials_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/slipway-ml/slipway/internal/api/credentials"
	"github.com/slipway-ml/slipway/internal/domain/trust"
)

func TestAConnectionIsKeptForActiveDevicesAlone(t *testing.T) {
	w := newWorld(t)
	good, revoked := w.certify(true), w.certify(true)
	w.ok(w.ids.SetStatus(t.Context(), scope, revoked.ID, trust.Revoked))
	_, stranger := w.stranger()
	h := credentials.CloseUnknown(w.ids, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for name, c := range map[string]struct {
		pair tls.Certificate
		want string
	}{"a device": {good.pair, ""}, "revoked": {revoked.pair, "close"}, "of nobody": {stranger, "close"}} {
		cert, err := x509.ParseCertificate(c.pair.Certificate[0])
		w.ok(err)
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		out := httptest.NewRecorder()
		h.ServeHTTP(out, r)
		if got := out.Header().Get("Connection"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
