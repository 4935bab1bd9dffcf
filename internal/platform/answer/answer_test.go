package answer

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

func selector(t testing.TB, s string) Selector {
	t.Helper()
	sel, err := ParseSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

func npy(descr, shape string, data []byte) string {
	h := "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n"
	return "\x93NUMPY\x01\x00" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(h)))) + h + string(data)
}

func floats(fs ...float32) (b []byte) {
	for _, f := range fs {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

const (
	jsonType = "application/json"
	lines    = "application/jsonlines"
	array    = "application/x-npy"
)

func oip(model, id, data string) string {
	return `{"model_name":"` + model + `","id":"` + id + `","outputs":[{"name":"y","datatype":"FP32",` +
		`"shape":[1,2],"data":` + data + `}]}`
}

func chat(id, content, finish string) string {
	return `{"id":"` + id + `","created":1,"model":"m` + id + `","choices":[{"index":0,"message":{` +
		`"role":"assistant","content":"` + content + `"},"finish_reason":"` + finish +
		`"}],"usage":{"completion_tokens":7}}`
}

func TestAnswersAreAsFarApartAsTheirValues(t *testing.T) {
	tenth := Tolerance{Absolute: 0.1}
	nan := `{"predictions":["NaN"]}`
	for name, c := range map[string]struct {
		media, selector string
		tol             Tolerance
		old, green      string
		d               float64
		how             How
	}{
		"labels that differ": {
			jsonType, "json:predictions.0.label",
			Tolerance{},
			`{"predictions":[{"label":"a"}]}`,
			`{"predictions":[{"label":"b"}]}`, 1, ByLabels,
		},
		"labels that agree": {
			jsonType, "json:predictions.0.label",
			Tolerance{},
			`{"predictions":[{"label":"a","p":0.9}]}`,
			`{"predictions":[{"p":0.8,"label":"a"}]}`, 0, ByLabels,
		},
		"a label in each row": {
			jsonType, "json:predictions.label",
			Tolerance{},
			`{"predictions":[{"label":"a"},{"label":"b"}]}`,
			`{"predictions":[{"label":"a"},{"label":"c"}]}`, 0.5, ByLabels,
		},
		"half a tolerance": {jsonType, "json:p", tenth, `{"p":1}`, `{"p":1.05}`, 0.5, ByNumbers},
		"many tolerances":  {jsonType, "json:p", tenth, `{"p":1}`, `{"p":7}`, 1, ByNumbers},
		"a relative tolerance": {
			jsonType, "json:p",
			Tolerance{Relative: 0.5},
			`{"p":100}`,
			`{"p":75}`, 0.5, ByNumbers,
		},
		"a number as a label":      {jsonType, "json:p@label", tenth, `{"p":1}`, `{"p":1.05}`, 1, ByLabels},
		"one is written otherwise": {jsonType, "", Tolerance{}, `{"p":1}`, `{"p":1.0e0}`, 0, ByLeaves},
		"long names are no numbers": {
			jsonType, "",
			Tolerance{},
			`{"id":9007199254740993}`,
			`{"id":9007199254740992}`, 1, ByLeaves,
		},
		"numbers out of range": {jsonType, "", Tolerance{}, `[1e400]`, `[1e500]`, 1, ByLeaves},
		"a leaf of four": {
			jsonType, "",
			Tolerance{},
			`{"a":[1,2,3],"b":"x"}`,
			`{"b":"x","a":[1,2,4]}`, 0.25, ByLeaves,
		},
		"within the tolerance":      {jsonType, "", tenth, `{"a":[1,2]}`, `{"a":[1.05,2]}`, 0, ByLeaves},
		"absent is different":       {jsonType, "", Tolerance{}, `{"a":1}`, `{"a":1,"b":2}`, 0.5, ByLeaves},
		"another kind is different": {jsonType, "", Tolerance{}, `{"a":1}`, `{"a":"1"}`, 1, ByLeaves},
		"empty and emptier":         {jsonType, "", Tolerance{}, `{"a":[]}`, `{"a":{}}`, 1, ByLeaves},
		"names are not ways":        {jsonType, "", Tolerance{}, `{"a.b":1}`, `{"a":{"b":1}}`, 1, ByLeaves},
		"a selector into one only":  {jsonType, "json:a", Tolerance{}, `{"a":1}`, `{"b":1}`, 1, ByBytes},
		"no number twice":           {jsonType, "json:predictions", tenth, nan, nan, 0, ByNumbers},
		"infinite once": {
			jsonType, "json:p", tenth,
			`{"p":"Infinity"}`,
			`{"p":"-Infinity"}`, 1, ByNumbers,
		},
		"embeddings at a right angle": {
			jsonType, "json:e@embedding",
			Tolerance{},
			`{"e":[1,0]}`,
			`{"e":[0,3]}`, 0.5, ByEmbedding,
		},
		"embeddings opposite": {
			jsonType, "json:e@embedding",
			Tolerance{},
			`{"e":[1,1]}`,
			`{"e":[-2,-2]}`, 1, ByEmbedding,
		},
		"embeddings of other length": {
			jsonType, "json:e@embedding",
			Tolerance{},
			`{"e":[1,1]}`,
			`{"e":[1,1,1]}`, 1, ByEmbedding,
		},
		"embeddings that overflow": {
			jsonType, "json:e@embedding",
			Tolerance{},
			`{"e":[1e300,1e300]}`,
			`{"e":[1e-300,1e-300]}`, 0, ByEmbedding,
		},
		"no embedding": {
			jsonType, "json:e@embedding",
			Tolerance{},
			`{"e":[0,0]}`,
			`{"e":[1,0]}`, 1, ByEmbedding,
		},
		"a column": {
			"text/csv; charset=utf-8", "csv:0",
			Tolerance{},
			"a,1\nb,2\n",
			"a,3\r\nc,4", 0.5, ByLabels,
		},
		"a table": {"text/csv", "", tenth, "a,1\n", "a,1.01\n", 0, ByLeaves},
		"quotes":  {"text/csv", "", Tolerance{}, "\"a,b\",1", "\"a,c\",1", 0.5, ByLeaves},
		"lines": {
			lines, "json:label",
			Tolerance{},
			"{\"label\":\"a\"}\n{\"label\":\"b\"}",
			"{\"label\":\"a\"}\n\n{\"label\":\"z\"}\n", 0.5, ByLabels,
		},
		"one line": {
			lines, "json:1.label",
			Tolerance{},
			"{\"label\":\"a\"}\n{\"label\":\"b\"}",
			"{\"label\":\"z\"}\n{\"label\":\"b\"}\n", 0, ByLabels,
		},
		"an array": {
			array, "", tenth,
			npy("<f4", "(2,)", floats(1, 2)),
			npy("<f4", "(2,)", floats(1, 3)), 0.5, ByLeaves,
		},
		"of another shape": {
			array, "", tenth,
			npy("<f4", "(2,)", floats(1, 2)),
			npy("<f4", "(1, 2)", floats(1, 2)), 1, ByLeaves,
		},
		"of another type": {
			array, "npy", tenth,
			npy("<f4", "(1,)", floats(2)),
			npy("|i1", "(1,)", []byte{2}), 0, ByNumbers,
		},
		"no number in an array": {
			array, "npy", tenth,
			npy("<f4", "(1,)", floats(float32(math.NaN()))),
			npy("<f4", "(1,)", floats(2)), 1, ByNumbers,
		},
		"a tensor by name": {
			jsonType, "npy:y", tenth,
			oip("a", "1", "[1,2]"),
			oip("b", "2", "[[1,2]]"), 0, ByNumbers,
		},
		"ids are no outputs": {
			jsonType, "", tenth,
			oip("a", "1", "[1,2]"),
			oip("b", "2", "[1,2.5]"), 0.5, ByLeaves,
		},
		"raw elements": {
			"application/octet-stream", "raw:FP32", tenth,
			string(floats(1, 2)),
			string(floats(1, 2.05)), 0.25, ByNumbers,
		},
		"the same text": {
			jsonType, "",
			Tolerance{},
			chat("1", "hello", "stop"),
			chat("2", "hello", "stop"), 0, ByText,
		},
		"another end": {
			jsonType, "",
			Tolerance{},
			chat("1", "hello", "stop"),
			chat("2", "hello", "length"), 1, ByText,
		},
		"a part of a text": {
			jsonType, "json:choices.0.finish_reason",
			Tolerance{},
			chat("1", "hello", "stop"),
			chat("2", "bye", "stop"), 0, ByLabels,
		},
		"a stream of text": {
			"text/event-stream", "",
			Tolerance{},
			"data: " + delta("he") + "\n\ndata: " + delta("llo") + "\n\ndata: [DONE]\n\n",
			"data: " + delta("hello") + "\n\n", 0, ByText,
		},
		"unknown bytes":          {"image/png", "", Tolerance{}, "\x89PNG1", "\x89PNG2", 1, ByBytes},
		"bytes as they are":      {jsonType, "bytes", Tolerance{}, `{"a":1}`, `{"a": 1}`, 1, ByBytes},
		"the same bytes":         {jsonType, "bytes", Tolerance{}, `{"a":1}`, `{"a":1}`, 0, ByBytes},
		"the same unknown bytes": {"image/png", "", Tolerance{}, "\x89PNG1", "\x89PNG1", 0, ByBytes},
		"JSON and a page":        {jsonType, "", Tolerance{}, `{"a":1}`, `<html>`, 1, ByBytes},
		"JSON of no type":        {"", "", Tolerance{}, ` {"a":1,"b":2}`, `{"b":2,"a":1}`, 0, ByLeaves},
		"a member twice": {
			jsonType, "",
			Tolerance{},
			`{"a":1,"a":2}`,
			`{"a":1,"a":2}`, 0, ByBytes,
		},
	} {
		t.Run(name, func(t *testing.T) {
			sel := selector(t, c.selector)
			old, green := Read(c.media, []byte(c.old), sel), Read(c.media, []byte(c.green), sel)
			got, err := Distance(old, green, c.tol)
			if err != nil || math.Abs(got.D-c.d) > 1e-6 || got.How != c.how {
				t.Errorf("%v by %v, %v; want %v by %v (%q, %q)", got.D, got.How, err, c.d, c.how, old.Why, green.Why)
			}
			if back, _ := Distance(green, old, c.tol); back != got {
				t.Errorf("the other way round it is %v", back)
			}
		})
	}
}

func delta(s string) string { return `{"choices":[{"delta":{"content":"` + s + `"}}]}` }

func TestWhatIsInNeitherAnswerIsNotComparedAsEqual(t *testing.T) {
	long := strings.Repeat(" ", MaxBody+1)
	for name, c := range map[string]struct{ selector, old, green string }{
		"nothing selected": {"json:label", `{"a":1}`, `{"a":1}`},
		"no JSON":          {"json:label", `<html>`, `<html>`},
		"another format":   {"csv:0", `{"a":1}`, `{"a":1}`},
		"too long":         {"", long, long},
		"one too long":     {"", `{"a":1}`, long},
	} {
		sel := selector(t, c.selector)
		d, err := Distance(Read(jsonType, []byte(c.old), sel), Read(jsonType, []byte(c.green), sel), Tolerance{})
		if !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

func TestHostileBodiesAreReadInLittleTime(t *testing.T) {
	for name, body := range map[string]string{
		"deep":         strings.Repeat("[", MaxBody/2) + strings.Repeat("]", MaxBody/2),
		"deep objects": strings.Repeat(`{"a":`, MaxBody/8) + "1" + strings.Repeat("}", MaxBody/8),
		"long names":   `{"` + strings.Repeat("k", MaxBody/2) + `":[` + strings.Repeat("1,", MaxBody/5) + `1]}`,
		"many values":  "[" + strings.Repeat("1,", MaxBody/2-2) + "1]",
		"choices":      `{"choices":[` + strings.Repeat(`{"text":"aaaa"},`, MaxBody/16-2) + `{"text":"a"}]}`,
		"calls": `{"choices":[{"message":{"tool_calls":[` +
			strings.Repeat(`{"function":{"arguments":"a"}},`, MaxBody/31-4) + `{"function":{}}]}}]}`,
		"long number": `[` + strings.Repeat("9", MaxBody-2) + `]`,
		"escapes":     `["` + strings.Repeat(`\u0000`, MaxBody/6-2) + `"]`,
		"objects":     `[` + strings.Repeat(`{},`, MaxBody/3-2) + `{}]`,
	} {
		t.Run(name, func(t *testing.T) {
			if len(body) > MaxBody {
				t.Fatalf("%d bytes", len(body))
			}
			began := time.Now()
			a := Read(jsonType, []byte(body), Selector{})
			d, err := Distance(a, a, Tolerance{})
			if d.D != 0 || err != nil {
				t.Errorf("%v, %v from itself", d, err)
			}
			// What is quadratic takes minutes; the machine may be ten times slower than this one.
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestSelectorsAreRefusedWithASentence(t *testing.T) {
	for _, s := range []string{
		"label", "json:", "csv:", "csv:-1", "csv:x", "raw:", "raw:BYTES", "xml:a", "bytes:1", "bytes@label",
		"json:a@cosine", "json:a@", "@label",
	} {
		if sel, err := ParseSelector(s); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", s, sel, err)
		}
	}
}

func TestFeaturesCountWhatAnswersAre(t *testing.T) {
	key := []byte("k1")
	read := func(media, body, sel string) Features {
		return ReadFeatures(media, []byte(body), len(body), selector(t, sel), key)
	}
	a, b := read(jsonType, `{"label":"yes"}`, "json:label"), read(jsonType, ` {"label": "yes"}`, "json:label")
	if !a.HasLabel || a.Label != b.Label || a.Bad || a.Size != 15 {
		t.Errorf("%+v and %+v", a, b)
	}
	other := ReadFeatures(jsonType, []byte(`{"label":"yes"}`), 15, selector(t, "json:label"), []byte("k2"))
	if no := read(jsonType, `{"label":"no"}`, "json:label"); no.Label == a.Label || other.Label == a.Label {
		t.Error("labels, or keys, make no difference")
	}
	if n := read(jsonType, `[1,3]`, "json:0"); !n.HasNumber || n.Number != 1 {
		t.Errorf("%+v", n)
	}
	if n := read(array, npy("<f4", "(2,)", floats(1, 3)), "npy"); !n.HasNumber || n.Number != 2 {
		t.Errorf("%+v", n)
	}
	for name, f := range map[string]Features{
		"empty":            read(jsonType, "", ""),
		"NaN":              read(array, npy("<f4", "(1,)", floats(float32(math.NaN()))), "npy"),
		"infinite":         read(jsonType, `{"p":1e400}`, "json:p"),
		"null":             read(jsonType, `{"p":null}`, "json:p"),
		"nothing selected": read(jsonType, `{"q":1}`, "json:p"),
		"an empty text":    read(jsonType, chat("1", " ", "stop"), ""),
	} {
		if !f.Bad || f.HasNumber {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := ReadFeatures(jsonType, []byte(`{"p":`), 1<<20, selector(t, "json:p"), key); f.Bad || f.Size != 1<<20 {
		t.Errorf("an answer that was cut: %+v", f)
	}
	s := read(jsonType, chat("1", "two words", "length"), "").Said
	if s != (Said{Text: true, Tokens: 7, Finish: FinishLength}) {
		t.Errorf("%+v", s)
	}
	call := `{"choices":[{"message":{"content":null,"tool_calls":[` +
		`{"function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}]}`
	if s := read(jsonType, call, "").Said; s != (Said{Text: true, Finish: FinishCalls, Calls: true}) {
		t.Errorf("%+v", s)
	}
	if s := read("text/plain", ` {"a": [1]} `, "").Said; s != (Said{Text: true, Tokens: 2, JSON: true}) {
		t.Errorf("%+v", s)
	}
}
