package codec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

const anySize = -1

// What most cases have in common.
const (
	js    = "application/json"
	wantX = `error: input "x": expected shape [batch, 2] of FLOAT, `
)

func spec(name string, t tensor.Type, dims ...int64) tensor.Spec {
	s := tensor.Spec{Name: name, Type: t, Ranked: true, Shape: []tensor.Dim{}}
	for _, d := range dims {
		s.Shape = append(s.Shape, tensor.Dim{Size: d})
	}
	return s
}

func signature(in ...tensor.Spec) *tensor.Signature {
	return &tensor.Signature{Inputs: in, Outputs: []tensor.Spec{spec("y", tensor.Float32, anySize, 2)}}
}

var (
	table2    = signature(spec("x", tensor.Float32, anySize, 2))
	image2x2  = signature(spec("x", tensor.Uint8, anySize, 1, 2, 2))
	texts     = signature(spec("s", tensor.String, anySize, 1))
	flags     = signature(spec("f", tensor.Bool, anySize, 2))
	vector    = signature(spec("v", tensor.Int64, anySize))
	fixed     = signature(spec("x", tensor.Float32, 2, 2))
	openWidth = signature(spec("x", tensor.Float32, anySize, anySize))
	two       = signature(spec("a", tensor.Float32, anySize, 2), spec("b", tensor.String, anySize, 1))
)

// shown prints tensors so that tests can be read: name[shape]: elements.
func shown(ts []tensor.Tensor) string {
	var b []byte
	for i := range ts {
		t := &ts[i]
		b = append(b, (t.Name + tensor.ShapeString(t.Shape) + ":")...)
		for j := range t.Len() {
			b = t.AppendElement(append(b, ' '), j)
		}
		b = append(b, '\n')
	}
	return strings.TrimSpace(string(b))
}

type decodeCase struct {
	sig   *tensor.Signature
	media string
	body  string
	want  string // the tensors, or the error's text after "error: "
}

func (c decodeCase) check(t *testing.T) {
	t.Helper()
	m, err := ParseMedia(c.media)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Decode(m, []byte(c.body), c.sig)
	var got string
	if err == nil {
		got = shown(r.Inputs)
	} else {
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("the kind of %v is not invalid", err)
		}
		_, public := fault.Public(err)
		got = "error: " + public
	}
	if diff := cmp.Diff(c.want, got); diff != "" {
		t.Error(diff)
	}
}

func run(t *testing.T, cases map[string]decodeCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, c.check)
	}
}

func TestCSVRowsBecomeOneTensor(t *testing.T) {
	run(t, map[string]decodeCase{
		"two rows":                {table2, "text/csv", "1,2\n3,-0.5\n", "x[2, 2]: 1 2 3 -0.5"},
		"no newline at the end":   {table2, "text/csv; charset=utf-8", "1,2", "x[1, 2]: 1 2"},
		"carriage returns, blank": {table2, "text/csv", "1, 2\r\n\r\n3,4\r\n", "x[2, 2]: 1 2 3 4"},
		"quoted numbers":          {table2, "text/csv", "\"1\",2\n", "x[1, 2]: 1 2"},
		"NaN":                     {table2, "text/csv", "nan,inf", "x[1, 2]: NaN +Inf"},
		"rows of an image":        {image2x2, "text/csv", "1,2,3,4\n5,6,7,8", "x[2, 1, 2, 2]: 1 2 3 4 5 6 7 8"},
		"one column for a vector": {vector, "text/csv", "1\n2\n", "v[2]: 1 2"},
		"one row for a vector":    {vector, "text/csv", "1,2", "v[2]: 1 2"},
		"text with commas":        {texts, "text/csv", "\"a, \"\"b\"\"\"\nc\n", `s[2, 1]: a, "b" c`},

		"a row too short": {table2, "text/csv", "1,2\n3\n", wantX + `but row 2 has 1 columns and row 1 has 2`},
		"rows too wide":   {table2, "text/csv", "1,2,3", wantX + `got [1, 3]`},
		"a header": {
			table2, "text/csv", "a,b\n1,2",
			`error: input "x": row 1, column 1: "a" is not a number (rows come without a header)`,
		},
		"an empty field": {
			table2, "text/csv", "1,2\n3,\n", `error: input "x": row 2, column 2: "" is not a number`,
		},
		"out of range": {
			image2x2, "text/csv", "256,0,0,0", `error: input "x": row 1, column 1: "256" is out of range`,
		},
		"nothing":        {table2, "text/csv", "\n\n", wantX + `got no rows`},
		"a broken quote": {table2, "text/csv", "\"1,2", `error: the CSV is malformed at row 1`},
		"another fixed batch": {
			fixed, "text/csv", "1,2", `error: input "x": expected shape [2, 2] of FLOAT, got [1, 2]`,
		},
		"a model of two": {
			two, "text/csv", "1,2",
			`error: the model takes 2 inputs ("a", "b"); text/csv can carry one, so send application/json with the ` +
				`inputs by name`,
		},
	})
}

func TestJSONInstancesAndColumnsBecomeTensors(t *testing.T) {
	run(t, map[string]decodeCase{
		"instances":           {table2, js, `{"instances": [[1, 2], [3e0, -4]]}`, "x[2, 2]: 1 2 3 -4"},
		"a bare array":        {table2, js, `[[1,2]]`, "x[1, 2]: 1 2"},
		"instances by name":   {table2, js, `{"instances":[{"x":[1,2]}],"signature_name":"s"}`, "x[1, 2]: 1 2"},
		"a column of scalars": {texts, js, `{"instances":["a","\u00e9\n"]}`, "s[2, 1]: a é"},
		"several inputs by name": {
			two, js, `{"instances":[{"a":[1,2],"b":"x"},{"b":"y","a":[3,4]}]}`, "a[2, 2]: 1 2 3 4\nb[2, 1]: x y",
		},
		"columns":                {two, js, `{"inputs":{"a":[[1,2]],"b":[["x"]]}}`, "a[1, 2]: 1 2\nb[1, 1]: x"},
		"one column as an array": {table2, js, `{"inputs":[[1,2]]}`, "x[1, 2]: 1 2"},
		"fractions beyond JSON":  {table2, js, `{"instances":[["NaN","-Infinity"]]}`, "x[1, 2]: NaN -Inf"},
		"truth values":           {flags, js, `[[true,0]]`, "f[1, 2]: true false"},
		"whole numbers":          {vector, js, `[9223372036854775807,-1,2.0]`, "v[3]: 9223372036854775807 -1 2"},
	})
}

func TestJSONThatDoesNotFitIsRefused(t *testing.T) {
	run(t, map[string]decodeCase{
		"not JSON":           {table2, js, `{"instances": [[1,]]}`, "error: the body is not valid JSON"},
		"not an object":      {table2, js, `7`, "error: " + errTopLevel.Public},
		"neither of the two": {table2, js, `{"data":[[1,2]]}`, "error: " + errTopLevel.Public},
		"both": {
			table2, js, `{"instances":[],"inputs":[]}`,
			`error: the body has both "instances" and "inputs"; send one of them`,
		},
		"twice":        {table2, js, `{"instances":[],"instances":[]}`, `error: "instances" comes twice`},
		"no instances": {table2, js, `{"instances":[]}`, wantX + `got an empty array`},
		"instances no array": {
			table2, js, `{"instances":3}`, `error: "instances" must be an array with one element for each row`,
		},
		"ragged":          {table2, js, `[[1,2],[3]]`, wantX + `got nested arrays of unequal lengths or depths`},
		"ragged in depth": {table2, js, `[[1,2],3]`, wantX + `got nested arrays of unequal lengths or depths`},
		"too deep": {
			table2, js, strings.Repeat("[", 40) + "1" + strings.Repeat("]", 40),
			wantX + `got nested arrays of unequal lengths or depths`,
		},
		"too wide":  {table2, js, `[[1,2,3]]`, wantX + `got [1, 3]`},
		"a string":  {table2, js, `[[1,"2"]]`, wantX + `but element 1, "2", is not a number`},
		"null":      {table2, js, `[[1,null]]`, wantX + `but element 1, "null", is not a number`},
		"an object": {table2, js, `[[1,{}]]`, wantX + `but element 1, "{", is not a number`},
		"a number as text": {
			texts, js, `[[1]]`,
			`error: input "s": expected shape [batch, 1] of STRING, but element 0, "1", is not a string`,
		},
		"a fraction": {
			vector, js, `[1.5]`,
			`error: input "v": expected shape [batch] of INT64, but element 0, "1.5", is not a whole number`,
		},
		"an unknown input": {
			table2, js, `{"inputs":{"y":[[1,2]]}}`, `error: the model has no input "y"; it takes "x"`,
		},
		"an input missing": {
			two, js, `{"instances":[{"a":[1,2],"b":"x"},{"a":[1,2]}]}`,
			`error: instance 1 lacks the input "b": expected shape [batch, 1] of STRING`,
		},
		"a column missing": {
			two, js, `{"inputs":{"a":[[1,2]]}}`, `error: input "b" is missing: expected shape [batch, 1] of STRING`,
		},
		"an input twice": {
			two, js, `{"instances":[{"a":[1,2],"a":[1,2],"b":"x"}]}`, `error: instance 0 has the input "a" twice`,
		},
		"rows without names": {
			two, js, `{"instances":[[1,2]]}`, `error: instance 0 must be an object with the 2 inputs by name`,
		},
		"a string with a NUL": {texts, js, `["a\u0000"]`, `error: input "s": element 0 has a NUL character`},
	})
}

func TestOpenInferenceBodiesBecomeTensors(t *testing.T) {
	const head = `{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":`
	run(t, map[string]decodeCase{
		"flat":   {table2, js, head + `[1,2,3,4]}]}`, "x[2, 2]: 1 2 3 4"},
		"nested": {table2, js, head + `[[1,2],[3,4]]}]}`, "x[2, 2]: 1 2 3 4"},
		"data first": {
			table2, js, `{"inputs":[{"data":[1,2],"datatype":"FP32","shape":[1,2],"name":"x"}]}`, "x[1, 2]: 1 2",
		},
		"strings": {
			texts, js, `{"inputs":[{"name":"s","shape":[1,1],"datatype":"BYTES","data":["a"]}]}`, "s[1, 1]: a",
		},
		"another order": {
			two, js,
			`{"inputs":[{"name":"b","shape":[1,1],"datatype":"BYTES","data":["a"]},{"name":"a","shape":[1,2],` +
				`"datatype":"FP32","data":[1,2]}]}`, "a[1, 2]: 1 2\nb[1, 1]: a",
		},
		"too few elements": {
			table2, js, head + `[1,2,3]}]}`, `error: input "x": shape [2, 2] does not agree with its 3 elements`,
		},
		"nested otherwise": {
			table2, js, head + `[[1,2,3,4]]}]}`,
			`error: input "x": the nested data has shape [1, 4], but its shape says [2, 2]`,
		},
		"another type": {
			table2, js, `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}`,
			`error: input "x": expected shape [batch, 2] of FLOAT (datatype FP32), got datatype "FP64"`,
		},
		"no shape": {
			table2, js, `{"inputs":[{"name":"x","datatype":"FP32","data":[1,2]}]}`,
			`error: input "x" lacks its shape: expected shape [batch, 2] of FLOAT`,
		},
		"a huge shape": {
			table2, js, `{"inputs":[{"name":"x","shape":[9223372036854775807,2],"datatype":"FP32","data":[1,2]}]}`,
			`error: input "x": shape [9223372036854775807, 2] does not agree with its 2 elements`,
		},
		"a negative shape": {
			table2, js, `{"inputs":[{"name":"x","shape":[-1,2],"datatype":"FP32","data":[1,2]}]}`,
			`error: "shape" must hold whole numbers of 0 or more`,
		},
		"no data": {
			table2, js, `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32"}]}`, `error: input "x" lacks its data`,
		},
		"twice": {
			table2, js, head + `[1,2,3,4]},{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
			`error: the input "x" comes twice`,
		},
		"unknown output": {
			table2, js,
			`{"outputs":[{"name":"z"}],"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
			`error: the model has no output "z"; it gives "y"`,
		},
	})
}

func TestBinaryTensorsFollowTheJSON(t *testing.T) {
	raw := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5))
	raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(-2))
	head := `{"parameters":{"binary_data_output":true},"inputs":[` +
		`{"name":"b","shape":[1,1],"datatype":"BYTES","parameters":{"binary_data_size":6}},` +
		`{"name":"a","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}`
	body := head + "\x02\x00\x00\x00hi" + string(raw)
	r, err := DecodeOIP([]byte(body), len(head), two)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shown(r.Inputs), "a[1, 2]: 1.5 -2\nb[1, 1]: hi"; got != want || !r.Binary {
		t.Errorf("got %s, binary %t", got, r.Binary)
	}
	for name, c := range map[string]struct{ body, want string }{
		"cut off":       {body[:len(body)-1], `input "a" announces 8 bytes of binary data; 7 are left`},
		"more follows":  {body + "x", `1 bytes follow the binary tensors that the request announced`},
		"a long string": {head + "\xff\xff\xff\xffhi" + string(raw), `input "b": string 0 is cut off`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeOIP([]byte(c.body), len(head), two)
			if !errors.Is(err, fault.Invalid) || err.Error() != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRawBytesSayHowManyRowsTheyAre(t *testing.T) {
	run(t, map[string]decodeCase{
		"two images": {
			image2x2, "application/octet-stream", "\x01\x02\x03\x04\x05\x06\x07\x08", "x[2, 1, 2, 2]: 1 2 3 4 5 6 7 8",
		},
		"truth values": {flags, "application/octet-stream", "\x00\x07", "f[1, 2]: false true"},
		"half a row": {
			image2x2, "application/octet-stream", "\x01\x02\x03\x04\x05",
			`error: input "x": expected shape [batch, 1, 2, 2] of UINT8, got 5 bytes`,
		},
		"nothing": {
			image2x2, "application/octet-stream", "",
			`error: input "x": expected shape [batch, 1, 2, 2] of UINT8, got 0 bytes`,
		},
		"fixed": {fixed, "application/octet-stream", strings.Repeat("\x00", 16), "x[2, 2]: 0 0 0 0"},
		"fixed, another": {
			fixed, "application/octet-stream", strings.Repeat("\x00", 8),
			`error: input "x": expected shape [2, 2] of FLOAT, got 8 bytes`,
		},
		"two open sizes": {
			openWidth, "application/octet-stream", "\x00\x00\x00\x00",
			`error: input "x" has several open dimensions, [batch, ?] of FLOAT, so raw bytes do not say its shape; ` +
				`send application/json or application/x-npy`,
		},
		"strings have bytes": {
			texts, "application/octet-stream", "a",
			`error: input "s" holds strings, which raw bytes cannot carry; send application/json`,
		},
	})
}

func TestMediaTypesThatAreNotServedAreRefused(t *testing.T) {
	for _, header := range []string{"", "image/png", ";;", "application/x-protobuf"} {
		m, err := ParseMedia(header)
		if err == nil {
			_, err = Decode(m, []byte("1,2"), table2)
		}
		if !errors.Is(err, fault.Unsupported) {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestTheAnswerComesInTheFormThatWasAsked(t *testing.T) {
	for name, c := range map[string]struct {
		accept  string
		asked   Form
		outputs int
		want    Form
	}{
		"nothing, CSV":             {"", CSV, 2, CSV},
		"anything, columns":        {"*/*", Columns, 2, Columns},
		"nothing, NumPy":           {"", NPY, 1, NPY},
		"NumPy of two outputs":     {"", NPY, 2, Instances},
		"JSON for CSV":             {js, CSV, 2, Instances},
		"JSON for OIP":             {js, OIP, 2, OIP},
		"the first that is served": {"image/png, text/csv;q=0.5, application/json", Instances, 1, CSV},
		"NumPy for JSON":           {"application/x-npy; output=y", Instances, 2, NPY},
		"none that is served":      {"image/png", CSV, 1, None},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, err := Choose(c.accept, &Request{Form: c.asked}, c.outputs)
			if f != c.want || (err != nil) != (c.want == None) {
				t.Errorf("got form %d, %v", f, err)
			}
		})
	}
}

func TestOutputsAreWrittenInEveryForm(t *testing.T) {
	outs := []tensor.Tensor{
		{Name: "label", Type: tensor.String, Shape: []int64{2}, Strings: []string{`a"b`, "c"}},
		{
			Name: "p", Type: tensor.Float32, Shape: []int64{2, 2}, Data: floatBytes(0.1, 0.9, float32(math.NaN()), 1),
			Keys: []string{"x", "y"},
		},
	}
	for name, c := range map[string]struct {
		form Form
		outs []tensor.Tensor
		want string
	}{
		"CSV": {CSV, outs, "\"a\"\"b\",0.1,0.9\nc,NaN,1\n"},
		"predictions": {
			Instances, outs,
			`{"predictions":[{"label":"a\"b","p":{"x":0.1,"y":0.9}},{"label":"c","p":{"x":"NaN","y":1}}]}`,
		},
		"predictions of one": {Instances, outs[:1], `{"predictions":["a\"b","c"]}`},
		"columns": {
			Columns, outs, `{"outputs":{"label":["a\"b","c"],"p":[{"x":0.1,"y":0.9},{"x":"NaN","y":1}]}}`,
		},
		"a scalar": {
			Instances, []tensor.Tensor{{Name: "n", Type: tensor.Bool, Data: []byte{1}}}, `{"outputs":true}`,
		},
		"open inference": {
			OIP, outs[:1],
			`{"model_name":"m","model_version":"1","outputs":[{"name":"label","datatype":"BYTES","shape":[2],` +
				`"data":["a\"b","c"]}]}`,
		},
		"lines": {Lines, outs, "{\"label\":\"a\\\"b\",\"p\":{\"x\":0.1,\"y\":0.9}}\n" +
			"{\"label\":\"c\",\"p\":{\"x\":\"NaN\",\"y\":1}}\n"},
		"lines of one": {Lines, outs[:1], "\"a\\\"b\"\n\"c\"\n"},
		"a line of a scalar": {
			Lines, []tensor.Tensor{{Name: "n", Type: tensor.Bool, Data: []byte{1}}}, "{\"outputs\":true}\n",
		},
		"raw":                  {Raw, outs[1:], string(outs[1].Data)},
		"rows of zero columns": {CSV, []tensor.Tensor{{Name: "n", Type: tensor.Bool, Shape: []int64{2, 0}}}, "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := Encode(nil, c.form, Media{}, &Request{}, c.outs, "m")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(a.Body)); diff != "" {
				t.Error(diff)
			}
			if a.ContentType == "application/json" && !json.Valid(a.Body) {
				t.Error("not valid JSON")
			}
		})
	}
	if _, err := Encode(nil, Raw, Media{}, &Request{}, outs, "m"); !errors.Is(err, fault.Unsupported) {
		t.Errorf("two outputs as raw bytes: %v", err)
	}
	if a, err := Encode(nil, Raw, Media{Params: map[string]string{"output": "p"}}, &Request{}, outs, "m"); err != nil ||
		len(a.Body) != 16 {
		t.Errorf("the output asked for: %d bytes, %v", len(a.Body), err)
	}
}

func floatBytes(fs ...float32) []byte {
	var b []byte
	for _, f := range fs {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}
