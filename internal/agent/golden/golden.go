// Package golden runs the golden cases of a package, inputs with the outputs
// that the model must give for them, through a loaded model. It promises to
// read a hostile file within its limits and, when the model gives something
// else, to say which number of which output of which case. What a failure
// means for the deployment is not its job.
//
// The file is golden.json in the package:
//
//	{"cases": [{
//	  "inputs":  [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
//	  "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2, 4]}],
//	  "tolerance": 1e-4
//	}]}
//
// Datatypes and data are those of the Open Inference Protocol v2 in JSON; NaN
// and the infinities are the strings "NaN", "Infinity" and "-Infinity".
// Outputs that a case does not name may be anything. A fraction may differ
// from what is wanted by tolerance × (1 + |wanted|), 1e-4 if the case does not
// say; whole numbers, truth values, strings, types and shapes must be equal.
package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

// File is the name of the file in a package.
const File = "golden.json"

const (
	// MaxSize is the most bytes that the file may have.
	MaxSize = 16 << 20
	// MaxCases is the most cases that it may have.
	MaxCases = 1000
	// DefaultTolerance is that of cases that do not say.
	DefaultTolerance = 1e-4
)

// Case is inputs and what the model must give for them.
type Case struct {
	Inputs    []tensor.Tensor
	Outputs   []tensor.Tensor
	Tolerance float64
}

// Check runs the golden cases of the package in dir through r and returns how
// many there were, 0 without a file. An error that is neither the context's nor
// one of model's "not now" is the package's fault; its text is for the operator.
func Check(ctx context.Context, dir string, r model.Runner) (int, error) {
	f, err := os.Open(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", File, err)
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", File, err)
	}
	cases, err := Parse(b)
	if err != nil {
		return 0, err
	}
	return len(cases), Run(ctx, r, cases)
}

// Parse reads the file.
func Parse(b []byte) ([]Case, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%s has more than %d bytes", File, MaxSize)
	}
	var file struct {
		Cases []struct {
			Inputs    json.RawMessage `json:"inputs"`
			Outputs   json.RawMessage `json:"outputs"`
			Tolerance *float64        `json:"tolerance"`
		} `json:"cases"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // what this agent does not understand it can't vouch for
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s is malformed: %w", File, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is malformed: something follows the cases", File)
	}
	if n := len(file.Cases); n == 0 || n > MaxCases {
		return nil, fmt.Errorf("%s must have 1 to %d cases, not %d", File, MaxCases, n)
	}
	cases := make([]Case, len(file.Cases))
	for i, c := range file.Cases {
		at := &cases[i]
		at.Tolerance = DefaultTolerance
		if c.Tolerance != nil {
			at.Tolerance = *c.Tolerance
		}
		if at.Tolerance < 0 || math.IsInf(at.Tolerance, 0) {
			return nil, fmt.Errorf("%s: the tolerance of case %d is %g", File, i, at.Tolerance)
		}
		var err error
		if at.Inputs, err = list(i, "inputs", c.Inputs); err != nil {
			return nil, err
		}
		if at.Outputs, err = list(i, "outputs", c.Outputs); err != nil {
			return nil, err
		}
	}
	return cases, nil
}

func list(i int, key string, raw json.RawMessage) ([]tensor.Tensor, error) {
	if raw == nil {
		return nil, fmt.Errorf("%s: case %d has no %s", File, i, key)
	}
	ts, err := codec.DecodeOIPTensors(raw)
	if err != nil {
		_, why := fault.Public(err)
		return nil, fmt.Errorf("%s: the %s of case %d: %s", File, key, i, why)
	}
	if len(ts) == 0 {
		return nil, fmt.Errorf("%s: case %d has no %s", File, i, key)
	}
	return ts, nil
}

// Append appends the file with cases to dst.
func Append(dst []byte, cases []Case) []byte {
	dst = append(dst, `{"cases":[`...)
	for i := range cases {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = codec.AppendOIPTensors(append(dst, `{"inputs":`...), cases[i].Inputs)
		dst = codec.AppendOIPTensors(append(dst, `,"outputs":`...), cases[i].Outputs)
		dst = strconv.AppendFloat(append(dst, `,"tolerance":`...), cases[i].Tolerance, 'g', -1, 64)
		dst = append(dst, '}')
	}
	return append(dst, "]}\n"...)
}

// Mismatch is an output that is not as it must be.
type Mismatch struct {
	Case      int
	Output    string
	Index     []int64 // of the element; nil if the output as a whole differs
	Want, Got string
}

func (m *Mismatch) Error() string {
	at := ""
	if m.Index != nil {
		at = tensor.ShapeString(m.Index)
	}
	return fmt.Sprintf("golden case %d: output %q%s: wanted %s, got %s", m.Case, m.Output, at, m.Want, m.Got)
}

// Run runs cases through r, in order, until one differs: then the error is a
// *Mismatch. When r fails on a case, the error wraps what it said.
func Run(ctx context.Context, r model.Runner, cases []Case) error {
	for i := range cases {
		c := &cases[i]
		outs, err := r.Predict(ctx, c.Inputs)
		if err != nil {
			return fmt.Errorf("golden case %d: %w", i, err)
		}
		for j := range c.Outputs {
			want := &c.Outputs[j]
			m := missing(want)
			for k := range outs {
				if outs[k].Name == want.Name {
					m = compare(want, &outs[k], c.Tolerance)
					break
				}
			}
			if m != nil {
				m.Case, m.Output = i, want.Name
				return m
			}
		}
	}
	return nil
}

func missing(want *tensor.Tensor) *Mismatch {
	return &Mismatch{Want: describe(want), Got: "nothing: the model has no such output"}
}

func describe(t *tensor.Tensor) string { return t.Type.OIP() + " " + tensor.ShapeString(t.Shape) }

// compare returns the first difference, or nil.
func compare(want, got *tensor.Tensor, tolerance float64) *Mismatch {
	if w, g := describe(want), describe(got); w != g || want.Len() != got.Len() {
		return &Mismatch{Want: w, Got: g}
	}
	for i := range want.Len() {
		if equal(want, got, i, tolerance) {
			continue
		}
		return &Mismatch{Index: place(want.Shape, int64(i)), Want: element(want, i), Got: element(got, i)}
	}
	return nil
}

func equal(want, got *tensor.Tensor, i int, tolerance float64) bool {
	switch {
	case want.Type == tensor.String:
		return want.Strings[i] == got.Strings[i]
	case want.Type.Float():
		w, g := want.Float(i), got.Float(i)
		switch {
		case math.IsNaN(w) || math.IsNaN(g):
			return math.IsNaN(w) && math.IsNaN(g)
		case math.IsInf(w, 0) || math.IsInf(g, 0):
			return w == g
		}
		return math.Abs(w-g) <= tolerance*(1+math.Abs(w))
	}
	size := want.Type.Size()
	return bytes.Equal(want.Data[i*size:(i+1)*size], got.Data[i*size:(i+1)*size])
}

func element(t *tensor.Tensor, i int) string {
	if t.Type == tensor.String {
		return fmt.Sprintf("%.60q", t.Strings[i])
	}
	return string(t.AppendElement(nil, i))
}

// place returns the coordinates of element i in an array of that shape.
func place(shape []int64, i int64) []int64 {
	at := make([]int64, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d] = i % shape[d]
		i /= shape[d]
	}
	return at
}
