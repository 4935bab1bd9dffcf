package answer_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/answer"
)

func singles(name string, xs ...float32) tensor.Tensor {
	t := tensor.Tensor{Name: name, Type: tensor.Float32, Shape: []int64{int64(len(xs))}}
	for _, x := range xs {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(x))
	}
	return t
}

func TestOutputsOfTwoModelsDifferOrNot(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	label := func(b ...byte) tensor.Tensor {
		return tensor.Tensor{Name: "l", Type: tensor.Uint8, Shape: []int64{int64(len(b))}, Data: b}
	}
	words := func(s ...string) tensor.Tensor {
		return tensor.Tensor{Name: "w", Type: tensor.String, Shape: []int64{int64(len(s))}, Strings: s}
	}
	shaped := label(1, 2)
	shaped.Shape = []int64{1, 2}
	wide := func(f float64) answer.Output {
		return answer.Output{Name: "s", Tolerance: answer.Tolerance{Absolute: f}}
	}
	type ts = []tensor.Tensor
	for name, tt := range map[string]struct {
		old, green ts
		outputs    []answer.Output
		differ     bool
		nothing    bool
	}{
		"equal":                  {ts{label(1), singles("s", 1)}, ts{singles("s", 1), label(1)}, nil, false, false},
		"a label":                {ts{label(1)}, ts{label(2)}, nil, true, false},
		"a text":                 {ts{words("a")}, ts{words("b")}, nil, true, false},
		"rounding":               {ts{singles("s", 1)}, ts{singles("s", 1.00005)}, nil, false, false},
		"rounding of large ones": {ts{singles("s", 1e6)}, ts{singles("s", 1e6+50)}, nil, false, false},
		"more than rounding":     {ts{singles("s", 1)}, ts{singles("s", 1.001)}, nil, true, false},
		"within what is allowed": {
			ts{singles("s", 1)},
			ts{singles("s", 1.04)},
			[]answer.Output{wide(0.05)},
			false, false,
		},
		"beyond it": {
			ts{singles("s", 1)},
			ts{singles("s", 1.06)},
			[]answer.Output{wide(0.05)},
			true, false,
		},
		"one of two beyond it": {
			ts{singles("s", 1, 2)},
			ts{singles("s", 1, 2.06)},
			[]answer.Output{wide(0.05)},
			true, false,
		},
		"no number and a number": {
			ts{singles("s", nan)},
			ts{singles("s", 1)},
			[]answer.Output{wide(1e9)},
			true, false,
		},
		"a number and none": {
			ts{singles("s", 1)},
			ts{singles("s", nan)},
			[]answer.Output{wide(1e9)},
			true, false,
		},
		"no numbers": {ts{singles("s", nan)}, ts{singles("s", nan)}, nil, false, false},
		"an infinite one": {
			ts{singles("s", 1)},
			ts{singles("s", inf)},
			[]answer.Output{wide(1e9)},
			true, false,
		},
		"infinite ones": {ts{singles("s", inf)}, ts{singles("s", inf)}, nil, false, false},
		"another shape": {ts{label(1, 2)}, ts{shaped}, nil, true, false},
		"another type": {
			ts{label(1)},
			ts{{Name: "l", Type: tensor.Bool, Shape: []int64{1}, Data: []byte{1}}},
			nil, true, false,
		},
		"an output less": {ts{label(1), words("a")}, ts{label(1)}, nil, true, false},
		"an output more": {ts{label(1)}, ts{label(1), words("a")}, nil, false, false},
		"what does not count": {
			ts{label(1), words("a")},
			ts{label(1), words("b")},
			[]answer.Output{{Name: "l"}},
			false, false,
		},
		"what counts is missing": {
			ts{label(1), words("a")},
			ts{label(1)},
			[]answer.Output{{Name: "w"}},
			true, false,
		},
		"nothing of what counts": {ts{label(1)}, ts{label(1)}, []answer.Output{{Name: "w"}}, false, true},
		"nothing at all":         {nil, ts{label(1)}, nil, false, true},
		"data shorter than others": {
			ts{label(1, 2)},
			ts{{Name: "l", Type: tensor.Uint8, Shape: []int64{2}, Data: []byte{1}}},
			nil, true, false,
		},
	} {
		differ, err := answer.Differ(tt.old, tt.green, tt.outputs)
		if differ != tt.differ || errors.Is(err, answer.ErrNothing) != tt.nothing {
			t.Errorf("%s: %t, %v", name, differ, err)
		}
	}
}
