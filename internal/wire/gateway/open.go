package gateway

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// health answers /healthz and /readyz: just that the server is there, or what of
// it is not ready. Anybody may ask.
func (g *gateway) health(ready func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !reads(w, r) {
			return
		}
		status, text := http.StatusOK, "ok\n"
		if ready != nil {
			if err := ready(); err != nil {
				status, text = http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n"
			}
		}
		plain(w, status, text)
	}
}

// metrics lets in whoever holds a key: signed, as user and password, or, for
// scrapers, its secret as a bearer token.
func (g *gateway) metrics(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		return
	}
	id, ok := g.keyHolder(r)
	if !ok || id.Session != nil { // no device's business
		g.logRefusal(r, "metrics", http.StatusUnauthorized, "Unauthorized")
		w.Header().Set("WWW-Authenticate", `Basic realm="slipway"`)
		plain(w, http.StatusUnauthorized,
			"Show an access key: signed, as Basic user and password, or its secret as a Bearer token.\n")
		return
	}
	connlimit.Prove(r.Context(), id.Holder())
	if g.Metrics == nil {
		plain(w, http.StatusNotFound, "There are no metrics here.\n")
		return
	}
	g.Metrics.ServeHTTP(w, r.WithContext(access.With(r.Context(), g.caller(id))))
}

func (g *gateway) keyHolder(r *http.Request) (sigv4.Identity, bool) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id = ""
		secret, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	} else if id == "" {
		return sigv4.Identity{}, false
	}
	if ok {
		k, ok := g.Keys.Authenticate(id, secret)
		return sigv4.Identity{AccessKeyID: k.ID, ARN: k.ARN, UserID: k.UserID}, ok
	}
	who, err := g.Verifier.Verify(sigv4.FromHTTP(r), nil, time.Now())
	return who, err == nil
}

// Bounds of the body of an enrollment: in bytes, and for how long it may come.
const (
	maxEnrollment = 64 << 10
	enrollWithin  = 10 * time.Second
)

// enroll hands on the request of a device that has no credentials yet: what it
// brings instead is checked there. Anybody may send one, so its body is read first,
// on the account of the address that it comes from.
func (g *gateway) enroll(w http.ResponseWriter, r *http.Request) {
	_ = connlimit.ReadBefore(w, r, time.Now().Add(enrollWithin)) // not all writers can; those of servers do
	body, held, err := g.Bodies.ReadAll(
		http.MaxBytesReader(w, r.Body, maxEnrollment), maxEnrollment, connlimit.PayerOf(r, ""),
	)
	defer held.Release()
	if err != nil {
		e := unreadable(err)
		g.logRefusal(r, "enrollment", e.Status, e.Code)
		awserr.WriteRESTAs(w, "message", e)
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	g.Enroll.ServeHTTP(w, r)
}

// runtime hands on an invocation, which the runtime verifies itself.
func (g *gateway) runtime(w http.ResponseWriter, r *http.Request) {
	if g.Runtime == nil {
		awserr.WriteREST(w, &awserr.Error{
			Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable,
			Message: "The runtime is not served here.",
		})
		return
	}
	g.Runtime.ServeHTTP(w, r)
}

// console serves the console's pages to a browser, which asks for "/" first.
func (g *gateway) console(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		http.Redirect(w, r, "/console/", http.StatusFound)
		return
	}
	g.Console.ServeHTTP(w, r)
}

// reads reports whether a request only reads, and refuses it otherwise.
func reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	plain(w, http.StatusMethodNotAllowed, "GET or HEAD.\n")
	return false
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	awserr.RetryAfter(w.Header(), status)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client is gone; nobody to tell
}
