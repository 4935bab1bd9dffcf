package modelserver

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

func TestTheOpenInferenceProtocolDescribesAndRunsTheModel(t *testing.T) {
	m := newLever()
	m.rows.Declared = tensor.Dependent
	s := newServer(t, m, func(o *Options) { o.Name = "digits" })
	for path, want := range map[string]string{
		"/v2": `{"extensions":["binary_tensor_data"],"name":"slipway-onnx",` +
			`"version":"2"}`,
		"/v2/health/live":  ``,
		"/v2/health/ready": ``,
		"/v2/models/digits": `{"name":"digits","versions":["1"],"platform":"onnx_onnxv1",` +
			`"inputs":[{"name":"x","datatype":"FP32","shape":[-1,-1]}],"outputs":[{"name":"y","datatype":"FP32",` +
			`"shape":[-1,-1]}],"parameters":{"batching":false,"batching_reason":"its rows are declared dependent"}}`,
		"/v2/models/digits/ready":            ``,
		"/v2/models/digits/versions/1/ready": ``,
	} {
		if rec := ask(t, s, http.MethodGet, path, ""); rec.Code != http.StatusOK ||
			strings.TrimSpace(rec.Body.String()) != want {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	rec := ask(t, s, http.MethodPost, "/v2/models/digits/infer",
		`{"id":"a","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`)
	want := `{"model_name":"digits","model_version":"1","id":"a","outputs":[{"name":"y","datatype":"FP32",` +
		`"shape":[1,2],"data":[2,4]}]}`
	if rec.Code != http.StatusOK || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// The container contract takes the same body.
	rec = ask(t, s, http.MethodPost, "/invocations",
		`{"id":"a","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`, "Content-Type",
		"application/json")
	if rec.Code != http.StatusOK || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestBinaryTensorsComeAndGoBesideTheJSON(t *testing.T) {
	s := newServer(t, newLever(), nil)
	raw := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5))
	raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(-2))
	head := `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],` +
		`"outputs":[{"name":"y","parameters":{"binary_data":true}}]}`
	size := strconv.Itoa(len(head))
	for name, c := range map[string]struct {
		path   string
		header []string
	}{
		"as the protocol says":    {"/v2/models/model/infer", []string{oiphttp.HeaderJSONSize, size}},
		"through the invocations": {"/invocations", []string{oiphttp.HeaderJSONSize, size}},
		"through a runtime API": {
			"/invocations", []string{
				"Content-Type", "application/vnd.sagemaker-triton.binary+json;json-header-size=" + size, "Accept",
				"application/vnd.sagemaker-triton.binary+json",
			},
		},
		"whatever Content-Type it has": {
			"/v2/models/model/infer",
			[]string{oiphttp.HeaderJSONSize, size, "Content-Type", "application/octet-stream"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec := ask(t, s, http.MethodPost, c.path, head+string(raw), c.header...)
			n, err := strconv.Atoi(rec.Header().Get(oiphttp.HeaderJSONSize))
			if rec.Code != http.StatusOK || err != nil || n > rec.Body.Len() {
				t.Fatalf("%d %v %s", rec.Code, rec.Header(), rec.Body)
			}
			body := rec.Body.Bytes()
			if !json.Valid(body[:n]) || len(body)-n != 8 {
				t.Fatalf("%d bytes follow %s", len(body)-n, body[:n])
			}
			a := math.Float32frombits(binary.LittleEndian.Uint32(body[n:]))
			b := math.Float32frombits(binary.LittleEndian.Uint32(body[n+4:]))
			if a != 3 || b != -4 {
				t.Errorf("got %g and %g", a, b)
			}
			if strings.HasPrefix(c.header[1], "application/vnd") &&
				rec.Header().Get("Content-Type") != "application/vnd.sagemaker-triton.binary+json;json-header-size="+
					strconv.Itoa(n) {
				t.Errorf("Content-Type %s", rec.Header().Get("Content-Type"))
			}
		})
	}
}

func TestAVersionThatIsNotServedIsNotFound(t *testing.T) {
	s := newServer(t, newLever(), nil)
	for _, c := range [][2]string{
		{http.MethodGet, "/v2/models/model/versions/7"},
		{http.MethodGet, "/v2/models/model/versions/7/ready"},
		{http.MethodPost, "/v2/models/model/versions/7/infer"},
		{http.MethodGet, "/v2/models/model/versions/01"},
	} {
		if rec := ask(t, s, c[0], c[1], "{}"); rec.Code != http.StatusNotFound ||
			!strings.Contains(rec.Body.String(), "version") {
			t.Errorf("%s %s: %d %s", c[0], c[1], rec.Code, rec.Body)
		}
	}
}
