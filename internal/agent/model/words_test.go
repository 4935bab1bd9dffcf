package model_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

func TestEveryTypeHasAWordThatReadsBack(t *testing.T) {
	for typ := tensor.Bool; typ <= tensor.String; typ++ {
		if w := model.Word(typ); w == "" || model.FromWord(w) != typ {
			t.Errorf("type %d is called %q, which means %d", typ, w, model.FromWord(w))
		}
	}
	for w, typ := range map[string]tensor.Type{
		"UINT8": tensor.Uint8, "INT16": tensor.Int16, "INT32": tensor.Int32, "INT64": tensor.Int64,
		"FLOAT16": tensor.Float16, "FLOAT32": tensor.Float32, "FLOAT64": tensor.Float64,
		"": tensor.Invalid, "FLOAT": tensor.Invalid, "UNDEFINED": tensor.Invalid,
	} {
		if got := model.FromWord(w); got != typ {
			t.Errorf("%q means %d, want %d", w, got, typ)
		}
	}
}
