package oiphttp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

func TestThePathsLeadToTheirHandlers(t *testing.T) {
	say := func(what string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			oiphttp.Reply(w, []string{what, r.PathValue("name"), r.PathValue("version")})
		}
	}
	mux := http.NewServeMux()
	oiphttp.Handlers{
		Ready: say("ready"), Metadata: say("server"),
		ModelReady: say("model ready"), ModelMetadata: say("model"), Infer: say("infer"),
	}.Route(mux)
	for request, want := range map[string]string{
		"GET /v2":                                `["server","",""]`,
		"GET /v2/health/live":                    ``,
		"GET /v2/health/ready":                   `["ready","",""]`,
		"GET /v2/models/m":                       `["model","m",""]`,
		"GET /v2/models/m/ready":                 `["model ready","m",""]`,
		"GET /v2/models/m/versions/2/ready":      `["model ready","m","2"]`,
		"POST /v2/models/m/infer":                `["infer","m",""]`,
		"POST /v2/models/a%2Fb/versions/2/infer": `["infer","a/b","2"]`,
	} {
		method, path, _ := strings.Cut(request, " ")
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		if got := strings.TrimSpace(rec.Body.String()); rec.Code != http.StatusOK || got != want {
			t.Errorf("%s: %d %s, want %s", request, rec.Code, got, want)
		}
	}
}

func TestABodyIsReadUpToTheLimit(t *testing.T) {
	var buffers oiphttp.Buffers
	for body, want := range map[string]error{"12345": nil, "123456": fault.Limit} {
		for _, known := range []bool{true, false} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
			if !known {
				r.ContentLength = -1
			}
			buf := buffers.Get()
			err := oiphttp.ReadBody(httptest.NewRecorder(), r, 5, buf)
			if !errors.Is(err, want) || want == nil && buf.String() != body {
				t.Errorf("%q, length known %t: %v, %q", body, known, err, buf)
			}
			buffers.Put(buf)
		}
	}
	broken := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", iotest.ErrReader(errors.New("gone")))
	if err := oiphttp.ReadBody(httptest.NewRecorder(), broken, 5, buffers.Get()); !errors.Is(err, fault.Invalid) {
		t.Errorf("a body that cannot be read: %v", err)
	}
}

func TestAnOpenDimensionIsMinusOne(t *testing.T) {
	s := tensor.Spec{Name: "x", Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: -7}, {Size: 64}}}
	rec := httptest.NewRecorder()
	oiphttp.Reply(rec, oiphttp.Tensors([]tensor.Spec{s}))
	if got := strings.TrimSpace(rec.Body.String()); got != `[{"name":"x","datatype":"FP32","shape":[-1,64]}]` {
		t.Error(got)
	}
	rec = httptest.NewRecorder()
	oiphttp.Refuse(rec, http.StatusTeapot, `no "coffee"`)
	got := strings.TrimSpace(rec.Body.String())
	if rec.Code != http.StatusTeapot || got != `{"error":"no \"coffee\""}` {
		t.Errorf("%d %s", rec.Code, got)
	}
}
