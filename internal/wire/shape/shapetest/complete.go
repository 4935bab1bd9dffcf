package shapetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// Complete passes requests in AWS JSON on to h and fails the test if a success
// lacks a member that the model requires of it: typed clients go through a nil
// pointer then.
func Complete(t testing.TB, s *shape.Service, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		_, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if rec.Code == http.StatusOK {
			WantComplete(t, s, name, rec.Body.Bytes())
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // a test that hangs up early has its reason
	})
}

// WantComplete fails the test if a successful answer of an operation lacks a
// member that the model requires of it.
func WantComplete(t testing.TB, s *shape.Service, operation string, body []byte) {
	op := s.Operation(operation)
	if op == nil || op.Output == nil {
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s: %v", operation, err)
	}
	for _, path := range lacking(op.Output, v, "") {
		t.Errorf("%s answers without the required member %s", operation, path)
	}
}

// lacking returns the paths of the required members that are not below v.
func lacking(s *shape.Shape, v any, at string) (paths []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, m := range s.Members {
			below, ok := v[m.Name]
			switch {
			case ok:
				paths = append(paths, lacking(m.Shape, below, at+"."+m.Name)...)
			case m.Required && m.Location == "":
				paths = append(paths, strings.TrimPrefix(at+"."+m.Name, "."))
			}
		}
	case []any:
		for i, below := range v {
			paths = append(paths, lacking(s.Elem, below, at+"."+strconv.Itoa(i))...)
		}
	}
	return paths
}
