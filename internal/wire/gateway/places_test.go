package gateway_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
)

// A device gets new credentials every hour, and as many as it asks for: all of its
// connections are those of one certificate. One that is worth nothing, or that asks
// for what is not its own, proves nothing.
func TestADevicesSessionsAreOneKey(t *testing.T) {
	y := openDevices(t, nil)
	for name, c := range map[string]struct {
		thing, certificate string
		ask                ask
		proves             bool
	}{
		"in an API":           {"cam-1", "good", ask{"POST", "/GetDeployments", "sagemaker", nil, "{}"}, true},
		"in S3":               {"cam-1", "good", ask{"GET", "/own/cam-1/x", "s3", nil, ""}, true},
		"revoked, in an API":  {"cam-1", "revoked", ask{"POST", "/GetDeployments", "sagemaker", nil, "{}"}, false},
		"revoked, in S3":      {"cam-1", "revoked", ask{"GET", "/own/cam-1/x", "s3", nil, ""}, false},
		"an API not its own":  {"cam-1", "good", ask{"POST", "/", "sagemaker", target, "{}"}, false},
		"an object of others": {"cam-1", "good", ask{"GET", "/own/cam-2/x", "s3", nil, ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := connlimit.New(connlimit.Config{Max: 100, PerAddress: 50, PerKey: 2})
			proven := make(chan bool, 5)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				y.ServeHTTP(w, r)
				proven <- connlimit.PayerOf(r, "").Proven
			}))
			connlimit.Watch(s.Config)
			s.Listener = l.Listener(s.Listener)
			s.Start()
			defer s.Close()
			for range 5 {
				r := y.device(t, c.thing, c.certificate).request(t, c.ask) // with credentials of its own
				out, err := http.NewRequestWithContext(t.Context(), r.Method, s.URL+r.URL.Path, r.Body)
				if err != nil {
					t.Fatal(err)
				}
				out.Host, out.Header, out.ContentLength = r.Host, r.Header, r.ContentLength
				own := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
				defer own.CloseIdleConnections()
				resp, err := own.RoundTrip(out)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body) // else the connection ends
				_ = resp.Body.Close()
			}
			for i := range 5 {
				if p := <-proven; p != c.proves {
					t.Errorf("request %d proves: %v", i, p)
				}
			}
			if n := l.Len(); c.proves && n > 2 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// Anybody may send an enrollment: its body is held on the account of an address.
func TestEnrollmentsHaveABudget(t *testing.T) {
	budget := connlimit.NewBudget(64 << 10) // of which an address gets a quarter
	y := openDevices(t, func(c *gateway.Config) { c.Bodies = budget })
	enroll := func(n int) int {
		r := httptest.NewRequest(http.MethodPost, "/enroll", strings.NewReader(strings.Repeat("x", n)))
		status, _, _ := y.answer(t, r)
		return status
	}
	if got := enroll(2000); got != http.StatusOK {
		t.Errorf("a small one: %d", got)
	}
	if got := enroll(60_000); got != http.StatusServiceUnavailable {
		t.Errorf("a large one: %d", got)
	}
	if n := budget.Used(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}
