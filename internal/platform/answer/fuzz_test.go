package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// FuzzDistance compares whatever two bodies come, by whatever selector.
func FuzzDistance(f *testing.F) {
	add := func(media, sel, a, b string) { f.Add(media, sel, []byte(a), []byte(b), 0.1, 0.0) }
	add(jsonType, "", `{"predictions":[{"label":"a","p":[0.1,0.2]}]}`, `{"predictions":[{"label":"b","p":[]}]}`)
	add(jsonType, "json:predictions.label@number",
		`{"predictions":[{"label":"a"}]}`, `{"predictions":[{"label":1e400}]}`)
	add(jsonType, "json:e@embedding", `{"e":[1,2,"NaN"]}`, `{"e":[-1,1e308,3]}`)
	add(jsonType, "npy:y", oip("a", "1", "[1,2]"), oip("b", "2", "[[1],[2]]"))
	add(jsonType, "", chat("1", "hello", "stop"), `{"choices":[{"text":null,"message":{"content":[{"text":"x"}]}}]}`)
	add("text/csv", "csv:1", "a,1\n\"b\",nan", "x,-inf\ny,1e999")
	add(lines, "json:0.a", "{\"a\":1}\n[]", "\n{\"a\":{}}")
	add(array, "npy", npy("<f4", "(2,)", floats(1, 2)), npy("<U1", "(1,)", []byte("a\x00\x00\x00")))
	add(array, "", npy(">i8", "()", []byte("12345678")), npy("|b1", "(0, 3)", nil))
	add("application/vnd.sagemaker-triton.binary+json;json-header-size=104", "",
		`{"outputs":[{"name":"y","datatype":"BOOL","shape":[2],"parameters":{"binary_data_size":2}}]}`+"\x07\x00", "{}")
	add("application/octet-stream", "raw:BOOL", "\x00\x01\x02", "\x01")
	add("text/event-stream", "", "data: "+delta("a")+"\n\ndata: [DONE]", "data: {}")
	add("", "", " [1]", "\x1f\x8b\x08")
	f.Fuzz(func(t *testing.T, media, selector string, a, b []byte, absolute, relative float64) {
		sel, err := ParseSelector(selector)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		tol := Tolerance{Absolute: absolute, Relative: relative}
		before := bytes.Clone(a)
		x, y := Read(media, a, sel), Read(media, b, sel)
		if !bytes.Equal(before, a) {
			t.Fatal("reading changed the body")
		}
		if d, err := Distance(x, x, tol); err == nil && d.D != 0 {
			t.Fatalf("%v from itself", d)
		}
		d, err := Distance(x, y, tol)
		if back, again := Distance(y, x, tol); back != d || (err == nil) != (again == nil) {
			t.Fatalf("%v, and %v the other way round", d, back)
		}
		if !(d.D >= 0 && d.D <= 1) {
			t.Fatalf("%v", d)
		}
		ReadFeatures(media, a, len(a), sel, []byte("key"))
		if media == jsonType && x.Reading == AsValues && sel.Format == Whole {
			sameInAnotherOrder(t, x, a)
		}
	})
}

// sameInAnotherOrder writes a document anew, members by their names and without
// white space: that makes no difference.
func sameInAnotherOrder(t *testing.T, x Answer, body []byte) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return
	}
	again, err := json.Marshal(v)
	if err != nil || len(again) > MaxBody {
		return
	}
	y := Read(jsonType, again, Selector{})
	if d, err := Distance(x, y, Tolerance{}); err != nil || d.D != 0 {
		t.Fatalf("written as %s it differs by %v, %v (%s)", again, d, err, y.Why)
	}
}
