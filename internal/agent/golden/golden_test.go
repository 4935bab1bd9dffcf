package golden_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/agent/golden"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// fixed gives the same outputs whatever it is asked.
type fixed struct {
	outs []tensor.Tensor
	err  error
	asks int
}

func (f *fixed) Signature() tensor.Signature { return tensor.Signature{} }
func (f *fixed) Close(context.Context) error { return nil }
func (f *fixed) Predict(context.Context, []tensor.Tensor) ([]tensor.Tensor, error) {
	f.asks++
	return f.outs, f.err
}

func one(datatype, shape, data string) string {
	return fmt.Sprintf(`{"name":"y","datatype":%q,"shape":%s,"data":%s}`, datatype, shape, data)
}

func file(output, rest string) string {
	return `{"cases":[{"inputs":[` + one("FP32", "[1]", "[1]") + `],"outputs":[` + output + `]` + rest + `}]}`
}

// parsed returns the outputs of a file's only case.
func parsed(t *testing.T, output string) []tensor.Tensor {
	t.Helper()
	cases, err := golden.Parse([]byte(file(output, "")))
	if err != nil {
		t.Fatal(err)
	}
	return cases[0].Outputs
}

// comparisons are outputs beside those that were wanted.
var comparisons = map[string]struct {
	want, got string // outputs
	rest      string
	problem   string // "" if they agree
}{
	"equal": {one("FP32", "[1,2]", "[1,2]"), one("FP32", "[1,2]", "[1,2]"), "", ""},
	"within the default tolerance": {
		one("FP32", "[2]", "[1,2000]"), one("FP32", "[2]", "[1.0001,2000.1]"), "", "",
	},
	"beyond the default tolerance": {
		one("FP32", "[1,2]", "[1,2]"), one("FP32", "[1,2]", "[1,2.001]"), "",
		`golden case 0: output "y"[0, 1]: wanted 2, got 2.001`,
	},
	"exact as it is asked": {
		one("FP64", "[1]", "[1]"), one("FP64", "[1]", "[1.0000001]"), `,"tolerance":0`,
		`output "y"[0]: wanted 1, got 1.0000001`,
	},
	"wide as it is asked": {
		one("FP16", "[1]", "[1]"), one("FP16", "[1]", "[1.5]"), `,"tolerance":0.5`, "",
	},
	"whole numbers are exact": {
		one("INT64", "[1]", "[1000000]"), one("INT64", "[1]", "[1000001]"), `,"tolerance":1`,
		"wanted 1000000, got 1000001",
	},
	"truth values": {
		one("BOOL", "[1]", "[true]"), one("BOOL", "[1]", "[false]"), "", "wanted true, got false",
	},
	"strings": {
		one("BYTES", "[2]", `["a","b"]`), one("BYTES", "[2]", `["a","c"]`), "",
		`output "y"[1]: wanted "b", got "c"`,
	},
	"no number is no number": {one("FP32", "[1]", `["NaN"]`), one("FP32", "[1]", `["NaN"]`), "", ""},
	"no number instead of one": {
		one("FP32", "[1]", `[0]`), one("FP32", "[1]", `["NaN"]`), `,"tolerance":1e9`, "wanted 0, got NaN",
	},
	"infinity": {
		one("FP32", "[1]", `["-Infinity"]`), one("FP32", "[1]", `["-Infinity"]`), "", "",
	},
	"the other infinity": {
		one("FP32", "[1]", `["-Infinity"]`), one("FP32", "[1]", `["Infinity"]`), `,"tolerance":1e300`,
		"wanted -Inf, got +Inf",
	},
	"infinity instead of a number": {
		one("FP32", "[1]", `[1]`), one("FP32", "[1]", `["Infinity"]`), `,"tolerance":1e300`, "wanted 1, got +Inf",
	},
	"another shape": {
		one("FP32", "[1,2]", "[1,2]"), one("FP32", "[2,1]", "[1,2]"), "",
		`output "y": wanted FP32 [1, 2], got FP32 [2, 1]`,
	},
	"another type": {
		one("FP32", "[1]", "[1]"), one("FP64", "[1]", "[1]"), "", "wanted FP32 [1], got FP64 [1]",
	},
	"an output that is not there": {
		strings.Replace(one("FP32", "[1]", "[1]"), `"y"`, `"z"`, 1), one("FP32", "[1]", "[1]"), "",
		`output "z": wanted FP32 [1], got nothing`,
	},
	"an output that nobody asks of": {
		one("FP32", "[1]", "[1]"),
		one("FP32", "[1]", "[1]") + `,{"name":"more","datatype":"BOOL","shape":[1],"data":[true]}`, "", "",
	},
	"nothing, as it must be": {one("FP32", "[0]", "[]"), one("FP32", "[0]", "[]"), "", ""},
}

func TestAModelIsHeldToItsGoldenOutputs(t *testing.T) {
	for name, c := range comparisons {
		t.Run(name, func(t *testing.T) {
			cases, err := golden.Parse([]byte(file(c.want, c.rest)))
			if err != nil {
				t.Fatal(err)
			}
			err = golden.Run(t.Context(), &fixed{outs: parsed(t, c.got)}, cases)
			if c.problem == "" && err != nil ||
				c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
			if _, ok := errors.AsType[*golden.Mismatch](err); ok != (c.problem != "") {
				t.Errorf("%v is no mismatch", err)
			}
		})
	}
}

func TestAFileReadsBackAsItWasWritten(t *testing.T) {
	want := []golden.Case{
		{
			Inputs: parsed(t, one("FP32", "[1,2]", `[0.1,"NaN"]`)), Outputs: parsed(t, one("INT8", "[2]", "[-1,1]")),
			Tolerance: 1e-7,
		},
		{
			Inputs:  parsed(t, one("BYTES", "[1]", `["<\u0000\n>"]`)),
			Outputs: parsed(t, one("FP16", "[2,1]", `[1,"-Infinity"]`)), Tolerance: 0,
		},
	}
	got, err := golden.Parse(golden.Append(nil, want))
	same := cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })
	if d := cmp.Diff(want, got, same); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestAMalformedFileIsRefusedWithItsReason(t *testing.T) {
	good := one("FP32", "[1]", "[1]")
	for name, c := range map[string]struct{ file, want string }{
		"no JSON":               {`{`, "malformed"},
		"something after it":    {file(good, "") + "{}", "something follows"},
		"no cases":              {`{"cases":[]}`, "1 to 1000 cases, not 0"},
		"too many cases":        {`{"cases":[` + strings.Repeat("{},", 1000) + `{}]}`, "not 1001"},
		"no inputs":             {`{"cases":[{"outputs":[` + good + `]}]}`, "case 0 has no inputs"},
		"no outputs":            {file("", ""), "case 0 has no outputs"},
		"an unknown key":        {file(good, `,"tolerence":1`), "tolerence"},
		"a negative tolerance":  {file(good, `,"tolerance":-1`), "the tolerance of case 0 is -1"},
		"a vast tolerance":      {file(good, `,"tolerance":1e999`), "malformed"},
		"an unknown datatype":   {file(one("BF16", "[1]", "[1]"), ""), `unknown datatype "BF16"`},
		"a shape unlike data":   {file(one("FP32", "[3]", "[1]"), ""), "does not agree"},
		"a number out of range": {file(one("UINT8", "[1]", "[256]"), ""), "out of range"},
		"a file that is large":  {strings.Repeat(" ", golden.MaxSize+1), "more than"},
	} {
		if _, err := golden.Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAPackageWithoutGoldenCasesPasses(t *testing.T) {
	dir, r := t.TempDir(), &fixed{}
	if n, err := golden.Check(t.Context(), dir, r); n != 0 || err != nil || r.asks != 0 {
		t.Errorf("%d, %v after %d calls", n, err, r.asks)
	}
	if err := os.WriteFile(filepath.Join(dir, golden.File), []byte(file(one("FP32", "[1]", "[1]"), "")),
		0o600); err != nil {
		t.Fatal(err)
	}
	r.err = model.ErrUnavailable
	if _, err := golden.Check(t.Context(), dir, r); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("a model that can't: %v", err)
	}
	r.outs, r.err = parsed(t, one("FP32", "[1]", "[1]")), nil
	if n, err := golden.Check(t.Context(), dir, r); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file(one("FP32", "[1,2]", `[1,"NaN"]`), `,"tolerance":1e-3`)))
	f.Add([]byte(file(one("BYTES", "[1]", `["a"]`), "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		cases, err := golden.Parse(b)
		if err != nil {
			return
		}
		for i := range cases {
			if err := golden.Run(t.Context(), &fixed{outs: cases[i].Outputs}, cases[i:i+1]); err != nil {
				if len(cases[i].Outputs) == 1 {
					t.Fatalf("an output differs from itself: %v", err)
				}
			}
		}
		if _, err := golden.Parse(golden.Append(nil, cases)); err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
	})
}
