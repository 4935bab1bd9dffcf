package engine

import (
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// arrange returns in the order of the signature, if there is one, and refuses
// what the model does not take.
func arrange(sig *tensor.Signature, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if len(sig.Inputs) == 0 {
		return in, wellFormed(in)
	}
	out := make([]tensor.Tensor, len(sig.Inputs))
	if len(in) > len(out) {
		return nil, sig.Check(in) // says how many it takes
	}
	for i := range in {
		at := i
		if in[i].Name != "" {
			var err error
			if _, at, err = sig.Input(in[i].Name); err != nil {
				return nil, err
			}
		}
		if out[at].Type != tensor.Invalid {
			return nil, fault.New(fault.Invalid, "the input %q comes twice", sig.Inputs[at].Name)
		}
		if in[i].Type == tensor.Invalid || in[i].Type > tensor.String {
			return nil, fault.New(fault.Invalid, "the input %q has no type", sig.Inputs[at].Name)
		}
		out[at] = in[i]
		out[at].Name = sig.Inputs[at].Name
	}
	return out, sig.Check(out)
}

// wellFormed checks what can be checked without a signature.
func wellFormed(in []tensor.Tensor) error {
	for i := range in {
		t := &in[i]
		if t.Type == tensor.Invalid || t.Type > tensor.String {
			return fault.New(fault.Invalid, "the input %q has no type", t.Name)
		}
		if n, ok := tensor.Elements(t.Shape, 1<<40); !ok || n != int64(t.Len()) {
			return fault.New(fault.Invalid,
				"input %q: shape %s does not agree with its %d elements", t.Name, tensor.ShapeString(t.Shape), t.Len())
		}
	}
	return nil
}

// agree checks what a manifest says against what the model says; an empty side
// of the manifest says nothing.
func agree(manifest, takes *tensor.Signature) error {
	for _, side := range []struct {
		what      string
		said, has []tensor.Spec
	}{{"input", manifest.Inputs, takes.Inputs}, {"output", manifest.Outputs, takes.Outputs}} {
		if len(side.said) == 0 {
			continue
		}
		if len(side.said) != len(side.has) {
			return fmt.Errorf("the manifest describes %d tensors as %s, and the model has %d", len(side.said),
				side.what, len(side.has))
		}
		known := map[string]*tensor.Spec{}
		for i := range side.has {
			known[side.has[i].Name] = &side.has[i]
		}
		for i := range side.said {
			s := &side.said[i]
			r := known[s.Name]
			if r == nil {
				return fmt.Errorf("the manifest describes the %s %q, which the model has not", side.what, s.Name)
			}
			if s.Type != r.Type || !compatible(s, r) {
				return fmt.Errorf("the manifest says that the %s %q is %s, and the model that it is %s", side.what,
					s.Name, s, r)
			}
		}
	}
	return nil
}

func compatible(a, b *tensor.Spec) bool {
	if !a.Ranked || !b.Ranked {
		return true
	}
	if len(a.Shape) != len(b.Shape) {
		return false
	}
	for i := range a.Shape {
		if x, y := a.Shape[i].Size, b.Shape[i].Size; x >= 0 && y >= 0 && x != y {
			return false
		}
	}
	return true
}
