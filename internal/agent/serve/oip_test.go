package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/agent/proto/oip"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

type (
	inferInput  = oip.ModelInferRequest_InferInputTensor
	inferOutput = oip.ModelInferRequest_InferRequestedOutputTensor
)

// plainRunner has names in UTF-8: "x" in, "x" out, FP32 [n, 4].
func plainRunner() model.Runner {
	row := []tensor.Dim{{Size: -1, Symbol: "n"}, {Size: 4}}
	spec := []tensor.Spec{{Name: "x", Type: tensor.Float32, Ranked: true, Shape: row}}
	return echo{tensor.Signature{Inputs: spec, Outputs: spec}}
}

func plainModel(w *world) { w.models.Swap("plain", load(plainRunner(), "7")) }

func TestInferenceAnswersInTheFormOfTheRequest(t *testing.T) {
	w := start(t, nil)
	plainModel(w)
	typedInput := &inferInput{
		Name: "x", Datatype: "FP32", Shape: []int64{1, 4},
		Contents: &oip.InferTensorContents{Fp32Contents: []float32{1, 2, 3, 4}},
	}
	r, err := w.oip.ModelInfer(t.Context(), &oip.ModelInferRequest{
		ModelName: "plain", ModelVersion: "7", Id: "a", Inputs: []*inferInput{typedInput},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.ModelName != "plain" || r.ModelVersion != "7" || r.Id != "a" || len(r.RawOutputContents) != 0 {
		t.Errorf("got %v", r)
	}
	if o := r.Outputs[0]; o.Name != "x" || o.Datatype != "FP32" || len(o.Shape) != 2 ||
		o.Contents.Fp32Contents[3] != 4 {
		t.Errorf("got %v", o)
	}
	rawInput := &inferInput{Name: "x", Datatype: "FP32", Shape: []int64{1, 4}}
	r, err = w.oip.ModelInfer(t.Context(), &oip.ModelInferRequest{
		ModelName: "plain", Inputs: []*inferInput{rawInput}, RawInputContents: [][]byte{floats(1, 2, 3, 4)},
		Outputs: []*inferOutput{{Name: "x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.RawOutputContents[0], floats(1, 2, 3, 4)) || r.Outputs[0].Contents != nil {
		t.Errorf("got %v", r)
	}
}

func TestEveryDatatypeGoesThroughBothForms(t *testing.T) {
	w := start(t, nil)
	type contents = oip.InferTensorContents
	for datatype, c := range map[string]struct {
		contents *contents // of [least, 1]
		raw      string
	}{
		"BOOL":  {&contents{BoolContents: []bool{false, true}}, "\x00\x01"},
		"INT8":  {&contents{IntContents: []int32{-128, 1}}, "\x80\x01"},
		"INT16": {&contents{IntContents: []int32{-32768, 1}}, "\x00\x80\x01\x00"},
		"INT32": {&contents{IntContents: []int32{-1 << 31, 1}}, "\x00\x00\x00\x80\x01\x00\x00\x00"},
		"INT64": {
			&contents{Int64Contents: []int64{-1, 1}},
			"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00",
		},
		"UINT8":  {&contents{UintContents: []uint32{255, 1}}, "\xff\x01"},
		"UINT16": {&contents{UintContents: []uint32{65535, 1}}, "\xff\xff\x01\x00"},
		"UINT32": {&contents{UintContents: []uint32{1<<32 - 1, 1}}, "\xff\xff\xff\xff\x01\x00\x00\x00"},
		"UINT64": {
			&contents{Uint64Contents: []uint64{1<<64 - 1, 1}},
			"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00",
		},
		"FP16": {nil, "\x00\x3c\x00\x40"},
		"FP32": {&contents{Fp32Contents: []float32{1, 2}}, "\x00\x00\x80\x3f\x00\x00\x00\x40"},
		"FP64": {
			&contents{Fp64Contents: []float64{1, 2}},
			"\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\x40",
		},
		"BYTES": {&contents{BytesContents: [][]byte{[]byte("a\xff"), nil}}, "\x02\x00\x00\x00a\xff\x00\x00\x00\x00"},
	} {
		t.Run(datatype, func(t *testing.T) {
			in := &inferInput{Name: "x", Datatype: datatype, Shape: []int64{2}}
			r, err := w.oip.ModelInfer(t.Context(), &oip.ModelInferRequest{
				ModelName: "any", Inputs: []*inferInput{in}, RawInputContents: [][]byte{[]byte(c.raw)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if o := r.Outputs[0]; string(r.RawOutputContents[0]) != c.raw || o.Datatype != datatype || o.Name != "x" {
				t.Errorf("got % x of %v", r.RawOutputContents, o)
			}
			in.Contents = c.contents
			r, err = w.oip.ModelInfer(t.Context(), &oip.ModelInferRequest{ModelName: "any", Inputs: []*inferInput{in}})
			if c.contents == nil {
				if says := wantCode(t, err, codes.InvalidArgument); !strings.Contains(says, "send raw_input_contents") {
					t.Error(says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Outputs[0].Contents; got.String() != c.contents.String() {
				t.Errorf("got %v, want %v", got, c.contents)
			}
		})
	}
}

var fourFractions = &oip.InferTensorContents{Fp32Contents: []float32{1, 2, 3, 4}}

// misfits are calls of models that take four fractions, or anything.
var misfits = map[string]struct {
	r    *oip.ModelInferRequest
	code codes.Code
	says string
}{
	"another type": {
		&oip.ModelInferRequest{Inputs: []*inferInput{{Name: "x", Datatype: "FP64", Shape: []int64{1, 4}}}},
		codes.InvalidArgument, `input "x": expected shape [n, 4] of FLOAT (datatype FP32), got datatype "FP64"`,
	},
	"another shape": {
		&oip.ModelInferRequest{
			Inputs: []*inferInput{{Name: "x", Datatype: "FP32", Shape: []int64{4}, Contents: fourFractions}},
		}, codes.InvalidArgument, `input "x": expected shape [n, 4] of FLOAT, got [4]`,
	},
	"another count": {
		&oip.ModelInferRequest{
			Inputs: []*inferInput{{Name: "x", Datatype: "FP32", Shape: []int64{2, 4}, Contents: fourFractions}},
		}, codes.InvalidArgument, `input "x": the shape [2, 4] takes 8 elements, got 4`,
	},
	"another field": {
		&oip.ModelInferRequest{
			Inputs: []*inferInput{
				{
					Name: "x", Datatype: "FP32", Shape: []int64{1, 4},
					Contents: &oip.InferTensorContents{IntContents: []int32{1, 2, 3, 4}},
				},
			},
		}, codes.InvalidArgument, "takes 4 elements, got 0",
	},
	"an overflow": {
		&oip.ModelInferRequest{
			Inputs: []*inferInput{{Name: "x", Datatype: "FP32", Shape: []int64{1 << 40, 1 << 40}}},
		}, codes.InvalidArgument, "negative or too large",
	},
	"another input": {
		&oip.ModelInferRequest{Inputs: []*inferInput{{Name: "y", Datatype: "FP32"}}}, codes.InvalidArgument,
		`the model has no input "y"; it takes "x"`,
	},
	"one twice": {
		&oip.ModelInferRequest{
			Inputs: []*inferInput{
				{Name: "x", Datatype: "FP32", Shape: []int64{1, 4}, Contents: fourFractions},
				{Name: "x", Datatype: "FP32", Shape: []int64{1, 4}, Contents: fourFractions},
			},
		}, codes.InvalidArgument, "comes twice",
	},
	"none": {&oip.ModelInferRequest{}, codes.InvalidArgument, `input "x" is missing`},
	"raw for another": {
		&oip.ModelInferRequest{
			Inputs: []*inferInput{{Name: "x", Datatype: "FP32"}}, RawInputContents: make([][]byte, 2),
		}, codes.InvalidArgument, "one element for each of the 1 inputs, not 2",
	},
	"another output": {
		&oip.ModelInferRequest{
			Inputs:  []*inferInput{{Name: "x", Datatype: "FP32", Shape: []int64{1, 4}, Contents: fourFractions}},
			Outputs: []*inferOutput{{Name: "y"}},
		}, codes.InvalidArgument, `no output "y"`,
	},
	"another version": {
		&oip.ModelInferRequest{ModelVersion: "8"}, codes.NotFound,
		`version "8" of the model "plain" is not loaded; it is version "7"`,
	},
	"another model": {&oip.ModelInferRequest{ModelName: "other"}, codes.NotFound, "no model is loaded"},
	"an int8 too big": {
		&oip.ModelInferRequest{
			ModelName: "any", Inputs: []*inferInput{
				{
					Name: "x", Datatype: "INT8", Shape: []int64{1},
					Contents: &oip.InferTensorContents{IntContents: []int32{128}},
				},
			},
		}, codes.InvalidArgument, "element 0 is out of the range of INT8",
	},
	"a strange type": {
		&oip.ModelInferRequest{
			ModelName: "any", Inputs: []*inferInput{{Name: "x", Datatype: "FP8", Shape: []int64{1}}},
		}, codes.InvalidArgument, `the datatype "FP8" is unknown`,
	},
}

func TestInferenceRefusesWhatDoesNotFit(t *testing.T) {
	w := start(t, nil)
	plainModel(w)
	for name, c := range misfits {
		t.Run(name, func(t *testing.T) {
			if c.r.ModelName == "" {
				c.r.ModelName = "plain"
			}
			_, err := w.oip.ModelInfer(t.Context(), c.r)
			if says := wantCode(t, err, c.code); !strings.Contains(says, c.says) {
				t.Errorf("got  %s\nwant %s", says, c.says)
			}
		})
	}
}

func TestTheProtocolTellsOfServerAndModels(t *testing.T) {
	w := start(t, nil)
	if r, err := w.oip.ServerLive(t.Context(), &oip.ServerLiveRequest{}); err != nil || !r.Live {
		t.Error(r, err)
	}
	if r, err := w.oip.ServerReady(t.Context(), &oip.ServerReadyRequest{}); err != nil || !r.Ready {
		t.Error(r, err)
	}
	if r, err := w.oip.ServerMetadata(t.Context(), &oip.ServerMetadataRequest{}); err != nil ||
		r.Name != "slipway-agent" {
		t.Error(r, err)
	}
	for name, ready := range map[string]bool{"double": true, "other": false} {
		if r, err := w.oip.ModelReady(t.Context(), &oip.ModelReadyRequest{Name: name}); err != nil || r.Ready != ready {
			t.Error(name, r, err)
		}
	}
	m, err := w.oip.ModelMetadata(t.Context(), &oip.ModelMetadataRequest{Name: "double"})
	if err != nil {
		t.Fatal(err)
	}
	in := m.Inputs[0]
	if m.Versions[0] != "7" || in.Name != "donn\uFFFDes" || in.Datatype != "FP32" || in.Shape[0] != -1 ||
		in.Shape[1] != 4 {
		t.Errorf("got %v", m)
	}
	// The name as the protocol can write it is understood, too.
	r, err := w.oip.ModelInfer(t.Context(), &oip.ModelInferRequest{
		ModelName: "double", Inputs: []*inferInput{{Name: in.Name, Datatype: "FP32", Shape: []int64{1, 4}}},
		RawInputContents: [][]byte{floats(1, 2, 3, 4)},
	})
	if err != nil || !bytes.Equal(r.RawOutputContents[0], floats(2, 4, 6, 8)) {
		t.Error(r, err)
	}
}

// web asks over HTTP/1.1 through the socket.
func (w *world) web(method, path, body string, header ...string) (int, http.Header, string) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error,
	) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", w.socket)
	}}}
	defer client.CloseIdleConnections()
	return ask(w.t, client, method, "http://agent"+path, body, header...)
}

func ask(t testing.TB, client *http.Client, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

const goodCall = `{"id":"1","inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}`

// webCalls are what is asked over HTTP, and the answers.
var webCalls = map[string]struct {
	method, path, body string
	status             int
	want               string
}{
	"the server": {
		"GET", "/v2", "", 200, `{"extensions":["binary_tensor_data"],"name":"slipway-agent","version":"0"}`,
	},
	"life":      {"GET", "/v2/health/live", "", 200, ""},
	"readiness": {"GET", "/v2/health/ready", "", 200, ""},
	"a model": {
		"GET", "/v2/models/plain", "", 200,
		`{"name":"plain","versions":["7"],"platform":"slipway_package","inputs":[{"name":"x","datatype":"FP32",` +
			`"shape":[-1,4]}],"outputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}]}`,
	},
	"a version": {"GET", "/v2/models/plain/versions/7/ready", "", 200, ""},
	"another version": {
		"GET", "/v2/models/plain/versions/8/ready", "", 404,
		`{"error":"version \"8\" of the model \"plain\" is not loaded; it is version \"7\""}`,
	},
	"a prediction": {
		"POST", "/v2/models/plain/infer", goodCall, 200,
		`{"model_name":"plain","model_version":"7","id":"1","outputs":[{"name":"x","datatype":"FP32",` +
			`"shape":[1,4],"data":[1,2,3,4]}]}`,
	},
	"one of any model": {
		"POST", "/v2/models/any/infer", goodCall, 200,
		`{"model_name":"any","model_version":"1","id":"1","outputs":[{"name":"x","datatype":"FP32",` +
			`"shape":[1,4],"data":[1,2,3,4]}]}`,
	},
	"a chosen output": {
		"POST", "/v2/models/any/infer", strings.Replace(goodCall, `"inputs"`, `"outputs":[{"name":"x"}],"inputs"`, 1),
		200,
		`{"model_name":"any","model_version":"1","id":"1","outputs":[{"name":"x","datatype":"FP32",` +
			`"shape":[1,4],"data":[1,2,3,4]}]}`,
	},
	"an output of none": {
		"POST", "/v2/models/any/infer", strings.Replace(goodCall, `"inputs"`, `"outputs":[{"name":"y"}],"inputs"`, 1),
		400, `{"error":"the model gave no output \"y\""}`,
	},
	"another model": {
		"POST", "/v2/models/other/infer", goodCall, 404, `{"error":"no model is loaded under the name \"other\""}`,
	},
	"another shape": {
		"POST", "/v2/models/plain/infer", strings.Replace(goodCall, "1,4", "4", 1), 400,
		`{"error":"input \"x\": expected shape [n, 4] of FLOAT, got [4]"}`,
	},
	"no JSON": {"POST", "/v2/models/plain/infer", "x", 400, `{"error":"the body is not valid JSON"}`},
	"no JSON for any": {
		"POST", "/v2/models/any/infer", "x", 400, `{"error":"the body is not an inference request"}`,
	},
	"another path": {"GET", "/v1", "", 404, "404 page not found"},
	"a body beyond limit": {
		"POST", "/v2/models/plain/infer", strings.Repeat(" ", 64<<20+1), 413,
		`{"error":"the body exceeds the limit of 67108864 bytes"}`,
	},
}

func TestTheSameSocketSpeaksHTTP(t *testing.T) {
	w := start(t, nil)
	plainModel(w)
	for name, c := range webCalls {
		t.Run(name, func(t *testing.T) {
			status, _, body := w.web(c.method, c.path, c.body)
			if status != c.status || strings.TrimSpace(body) != c.want {
				t.Errorf("got %d %s\nwant %d %s", status, body, c.status, c.want)
			}
		})
	}
}

func TestBinaryTensorsFollowTheJSON(t *testing.T) {
	w := start(t, nil)
	plainModel(w)
	head := `{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32",` +
		`"parameters":{"binary_data_size":16}}]}`
	status, h, body := w.web("POST", "/v2/models/plain/infer", head+string(floats(1, 2, 3, 4)),
		"Inference-Header-Content-Length", jsonNumber(len(head)))
	if status != 200 || h.Get("Inference-Header-Content-Length") != jsonNumber(len(body)-16) ||
		!strings.HasSuffix(body, string(floats(1, 2, 3, 4))) {
		t.Fatalf("got %d %v %q", status, h, body)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(body[:len(body)-16]), &answer); err != nil || answer["model_version"] != "7" {
		t.Errorf("got %v, %v", answer, err)
	}
}

func jsonNumber(n int) string {
	b, _ := json.Marshal(n) // a number always marshals
	return string(b)
}
