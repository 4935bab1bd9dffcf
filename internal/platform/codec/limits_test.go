package codec

import (
	"bytes"
	"errors"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

func TestTextsThatAreNotUnicodeAreNeitherTakenNorGivenInJSON(t *testing.T) {
	for name, body := range map[string]string{
		"bytes":                "[[\"a\xffb\"]]",
		"bytes beside escapes": "[[\"\\n\xff\"]]",
		"a high half":          `[["\ud800"]]`,
		"a high half and text": `[["\uD83Dx\ude00"]]`,
		"a low half":           `[["\udc00"]]`,
		"two high halves":      `[["\ud83d\ud83d\ude00"]]`,
		"a half and an escape": `[["\ud83d\n"]]`,
	} {
		if r, err := Decode(Media{Type: js}, []byte(body), texts); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %+v", name, err, r.Inputs)
		}
	}
	for body, want := range map[string]string{
		`[["\ud83d\ude00"]]`: "😀", `[["\\ud800"]]`: `\ud800`, `[["\ufffd"]]`: "\ufffd",
	} {
		if r, err := Decode(Media{Type: js}, []byte(body), texts); err != nil || r.Inputs[0].Strings[0] != want {
			t.Errorf("%s: %+v, %v", body, r.Inputs, err)
		}
	}
	out := []tensor.Tensor{{Name: "s", Type: tensor.String, Shape: []int64{1}, Strings: []string{"a\xff"}}}
	for _, form := range []Form{Instances, Columns, Lines, OIP} {
		if a, err := Encode(nil, form, Media{}, &Request{}, out, "m"); !errors.Is(err, fault.Unsupported) {
			t.Errorf("form %d: %v, %s", form, err, a.Body)
		}
	}
	for form, req := range map[Form]*Request{OIP: {Binary: true}, CSV: {}} {
		a, err := Encode(nil, form, Media{}, req, out, "m")
		if err != nil || !bytes.Contains(a.Body, []byte("a\xff")) {
			t.Errorf("form %d: %v, %s", form, err, a.Body)
		}
	}
}

func TestInputsWithoutElementsAreTaken(t *testing.T) {
	run(t, map[string]decodeCase{
		"no rows":           {table2, js, `{"inputs":{"x":[]}}`, "x[0, 2]:"},
		"an empty list":     {vector, js, `{"inputs":{"v":[]}}`, "v[0]:"},
		"rows of no width":  {openWidth, js, `{"inputs":[[],[],[]]}`, "x[3, 0]:"},
		"instances of none": {openWidth, js, `{"instances":[[],[]]}`, "x[2, 0]:"},
		"ragged":            {openWidth, js, `[[],[1]]`, wantOpen + "got nested arrays of unequal lengths or depths"},
		"open inference": {
			table2, js, `{"inputs":[{"name":"x","shape":[0,2],"datatype":"FP32","data":[]}]}`, "x[0, 2]:",
		},
		"a fixed number of rows": {
			fixed, js, `{"inputs":[]}`, `error: input "x": expected shape [2, 2] of FLOAT, got [0, 2]`,
		},
	})
}

const wantOpen = `error: input "x": expected shape [batch, ?] of FLOAT, `

func TestJSONLinesAreInstances(t *testing.T) {
	const lines = "application/jsonlines"
	run(t, map[string]decodeCase{
		"values":           {table2, lines, "[1,2]\n\r\n [3,4]\r\n", "x[2, 2]: 1 2 3 4"},
		"by name":          {two, lines, `{"a":[1,2],"b":["x"]}`, "a[1, 2]: 1 2\nb[1, 1]: x"},
		"a line cut off":   {table2, lines, "[1,2]\n[3,", "error: line 2 is not valid JSON"},
		"two in a line":    {table2, lines, "[1,2] [3,4]", "error: line 1 is not valid JSON"},
		"closed too early": {table2, lines, "[1,2]]\n[[3,4]", "error: line 1 is not valid JSON"},
		"nothing":          {table2, lines, "\n", wantX + "got an empty array"},
	})
}

func TestARequestMayNameTheOutputItWants(t *testing.T) {
	sig := signature(spec("x", tensor.Float32, anySize, 2))
	sig.Outputs = append(sig.Outputs, spec("z", tensor.Float32, anySize))
	outs := []tensor.Tensor{
		{Name: "y", Type: tensor.Float32, Shape: []int64{1, 2}, Data: floatBytes(1, 2)},
		{Name: "z", Type: tensor.Float32, Shape: []int64{1}, Data: floatBytes(3)},
	}
	for name, c := range map[string]struct{ media, accept, body, want string }{
		"in Content-Type": {"text/csv; output=z", "", "1,2", "3\n"},
		"in Accept":       {"text/csv", "text/csv;output=z", "1,2", "3\n"},
		"in the request": {
			js, "text/csv",
			`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}],"outputs":[{"name":"z"}]}`, "3\n",
		},
		"nowhere": {"text/csv", "", "1,2", "1,2,3\n"},
	} {
		m, err := ParseMedia(c.media)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Decode(m, []byte(c.body), sig)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		form, media, err := Choose(c.accept, &r, 2)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := Encode(nil, form, media, &r, outs, "m"); err != nil || string(a.Body) != c.want {
			t.Errorf("%s: %q, %v", name, a.Body, err)
		}
		npy, media, _ := Choose("application/x-npy", &r, 2)
		a, err := Encode(nil, npy, media, &r, outs, "m")
		if (err == nil) != (c.want == "3\n" && name != "in Accept") {
			t.Errorf("%s as an array: %q, %v", name, a.Body, err)
		}
	}
	if a, err := Encode(nil, CSV, Media{}, nil, outs, ""); err != nil || string(a.Body) != "1,2,3\n" {
		t.Errorf("without a request: %q, %v", a.Body, err)
	}
	bad, _ := ParseMedia("text/csv; output=w")
	if _, err := Decode(bad, []byte("1,2"), sig); !errors.Is(err, fault.Invalid) {
		t.Errorf("an output that the model lacks: %v", err)
	}
}
