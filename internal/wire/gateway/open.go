package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// probe is h for those who ask, often, how the server is.
func (g *gateway) probe(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &counted{ResponseWriter: w}
		awserr.RequestID(w.Header())
		h(c, r)
		g.logServed(c, r, slog.LevelDebug, "health")
	}
}

// health answers that the server is there. Anybody may ask.
func (g *gateway) health(w http.ResponseWriter, r *http.Request) {
	if reads(w, r) {
		plain(w, http.StatusOK, "ok\n")
	}
}

// Part is something that a server needs for part of its work.
type Part struct {
	Name    string // "routing", …
	Missing error  // why it cannot be had; nil: all is well
	// Minor says that a server without it has more to give than it lacks: it is
	// told, and the server is ready.
	Minor bool
}

// readiness answers what of the server is not ready: as a whole, of the ?part that
// is asked for, or with ?verbose a line for each. Anybody may ask.
func (g *gateway) readiness(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		return
	}
	query := r.URL.Query()
	name := query.Get("part")
	var parts []Part
	if g.Ready != nil {
		parts = g.Ready(name)
	}
	if name != "" {
		i := slices.IndexFunc(parts, func(p Part) bool { return p.Name == name })
		if i < 0 {
			plain(w, http.StatusNotFound, "There is no such part; ?verbose lists them.\n")
			return
		}
		parts = []Part{parts[i]}
		parts[0].Minor = false // whoever asks for it needs it
	}
	status, missing, minor, each := http.StatusOK, "", "", ""
	for _, p := range parts {
		switch {
		case p.Missing == nil:
			each += p.Name + ": ok\n"
			continue
		case p.Minor:
			minor += "; " + p.Name + ": " + p.Missing.Error()
		default:
			status = http.StatusServiceUnavailable
			missing += "; " + p.Name + ": " + p.Missing.Error()
		}
		each += p.Name + ": " + p.Missing.Error() + "\n"
	}
	text := "ok" + minor + "\n"
	if missing != "" {
		text = "not ready: " + strings.TrimPrefix(missing+minor, "; ") + "\n"
	}
	if query.Has("verbose") {
		text = each + text
	}
	plain(w, status, text)
}

// metrics lets in whoever holds a key: signed, as user and password, or, for
// scrapers, its secret as a bearer token.
func (g *gateway) metrics(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		g.logRefusal(w, r, "metrics", http.StatusMethodNotAllowed, "MethodNotAllowed")
		return
	}
	id, ok := g.keyHolder(r)
	if !ok || id.Session != nil { // no device's business
		g.logRefusal(w, r, "metrics", http.StatusUnauthorized, "Unauthorized")
		w.Header().Set("WWW-Authenticate", `Basic realm="slipway"`)
		plain(w, http.StatusUnauthorized,
			"Show an access key: signed, as Basic user and password, or its secret as a Bearer token.\n")
		return
	}
	connlimit.Prove(r.Context(), id.Holder())
	r = r.WithContext(access.With(r.Context(), g.caller(id)))
	c := &counted{ResponseWriter: w}
	awserr.RequestID(w.Header())
	defer g.logServed(c, r, g.RequestLevel.Level(), "metrics")
	if g.Metrics == nil {
		plain(c, http.StatusNotFound, "There are no metrics here.\n")
		return
	}
	g.Metrics.ServeHTTP(c, r)
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
		g.logRefusal(w, r, "enrollment", e.Status, e.Code)
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
