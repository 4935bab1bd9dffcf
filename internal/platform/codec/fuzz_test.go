package codec

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// fuzz decodes one body for models of every kind: whatever comes, decoding
// either refuses it with a sentence or gives tensors that the model may be
// given, and those can be written in every form.
func fuzz(f *testing.F, media string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	sigs := []*tensor.Signature{
		table2, image2x2, texts, flags, vector, fixed, openWidth, two, signature(spec("h", tensor.Float16, anySize)),
		signature(tensor.Spec{Name: "any", Type: tensor.Float64}), signature(spec("n", tensor.Uint64)),
	}
	m := Media{Type: media}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, sig := range sigs {
			r, err := Decode(m, body, sig)
			accept(t, body, sig, &r, err)
		}
	})
}

func accept(t *testing.T, body []byte, sig *tensor.Signature, r *Request, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, fault.Invalid) {
			t.Fatalf("%v is not the caller's fault", err)
		}
		return
	}
	if err := sig.Check(r.Inputs); err != nil {
		t.Fatalf("decoding accepted what Check refuses: %v", err)
	}
	size := 0
	for i := range r.Inputs {
		in := &r.Inputs[i]
		size += len(in.Data) + len(in.Strings)
		if in.Type != tensor.String && len(in.Data) != in.Len()*in.Type.Size() {
			t.Fatalf("%d bytes are not %d elements", len(in.Data), in.Len())
		}
	}
	if size > 8*len(body)+64 {
		t.Fatalf("%d bytes became %d", len(body), size)
	}
	for _, form := range []Form{CSV, Instances, Columns, OIP, Lines} {
		r.Want = nil
		a, err := Encode(nil, form, Media{}, r, r.Inputs, "m")
		if err == nil && form != CSV && form != Lines && a.JSONSize == 0 && !json.Valid(a.Body) {
			t.Fatalf("form %d is not valid JSON: %s", form, a.Body)
		}
	}
}

func FuzzCSV(f *testing.F) {
	fuzz(f, "text/csv", "1,2\n3,4\n", "\"a\"\"\",b\r\n", "nan,1e400", ",,,\n,", "1\n2\n")
}

func FuzzJSON(f *testing.F) {
	fuzz(f, "application/json", `{"instances":[[1,2],[3,4]]}`, `{"instances":[{"a":[1,2],"b":"x"}]}`,
		`{"inputs":{"a":[[1,2]],"b":["\ud800"]}}`,
		`[[true,false]]`, `["x"]`,
		`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}],"outputs":[{"name":"y"}]}`,
		`{"inputs":[{"name":"n","shape":[],"datatype":"UINT64","data":7}]}`, `[[[[1,2],[3,4]]]]`, `{"inputs":7}`)
}

func FuzzLines(f *testing.F) {
	fuzz(f, "application/jsonlines", "[1,2]\n[3,4]\n", `{"a":[1,2],"b":"x"}`+"\r\n\n", "\"x\"\n\"\\ud800\"", "1\n2",
		"[[1,2],[3,4]]",
		"{\"inputs\":[1,2]}\n{\"features\":[3,4]}", "\n\n", "[1,2] [3,4]")
}

func FuzzNPY(f *testing.F) {
	fuzz(f, "application/x-npy", npy("<f4", "True", "(3, 2)", string(floatBytes(1, 2, 3, 4, 5, 6))),
		npy(">U1", "False", "(1, 1)", "\x00\x00\x00a"),
		npy("|b1", "False", "(1, 2)", "\x01\x02"), npy("<i8", "False", "()", "12345678"),
		npy("<f2", "False", "(2,)", "\x00\x7c\x01\x00"))
}

func FuzzRaw(f *testing.F) {
	fuzz(f, "application/octet-stream", "12345678", "")
}

func FuzzBinaryOIP(f *testing.F) {
	head := `{"inputs":[{"name":"b","shape":[1,1],"datatype":"BYTES","parameters":{"binary_data_size":6}},` +
		`{"name":"a","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}`
	f.Add([]byte(head+"\x02\x00\x00\x00hi12345678"), len(head))
	f.Add(
		[]byte(
			`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],`+
				`"parameters":{"binary_data_output":true}}12345678`,
		), 138,
	)
	f.Fuzz(func(t *testing.T, body []byte, jsonSize int) {
		for _, sig := range []*tensor.Signature{two, table2, flags} {
			r, err := DecodeOIP(body, jsonSize, sig)
			accept(t, body, sig, &r, err)
		}
	})
}
