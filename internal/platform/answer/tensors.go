package answer

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Output is an output of a model that counts, and how far its numbers may be
// apart. Whole numbers, truth values and texts must be equal.
type Output struct {
	Name      string
	Tolerance Tolerance
}

// closeEnough is the tolerance of outputs for which nobody says otherwise: what
// another order of adding the same numbers makes is within it.
const closeEnough = 1e-4

// Differ reports whether two models gave different outputs for the same inputs:
// in any of those outputs an element is too far apart, or type, shape or the whole
// output is another. Without outputs all that the old model gave count, and what
// the new one gives besides does not. ErrNothing: neither has any of them.
//
// It takes no memory, and looks at each element once.
func Differ(old, green []tensor.Tensor, outputs []Output) (bool, error) {
	compared := false
	one := func(o Output) bool {
		named := func(t tensor.Tensor) bool { return t.Name == o.Name }
		i, j := slices.IndexFunc(old, named), slices.IndexFunc(green, named)
		if i < 0 && j < 0 {
			return false
		}
		compared = true
		return i < 0 || j < 0 || apart(&old[i], &green[j], cmp.Or(o.Tolerance, Tolerance{closeEnough, closeEnough}))
	}
	differ := false
	for _, o := range outputs {
		differ = one(o) || differ
	}
	if len(outputs) == 0 {
		for i := range old {
			differ = one(Output{Name: old[i].Name}) || differ
		}
	}
	if !compared {
		return false, ErrNothing
	}
	return differ, nil
}

// apart reports whether two arrays differ.
func apart(a, b *tensor.Tensor, tol Tolerance) bool {
	switch {
	case a.Type != b.Type || !slices.Equal(a.Shape, b.Shape) || !slices.Equal(a.Keys, b.Keys):
		return true
	case a.Type == tensor.String:
		return !slices.Equal(a.Strings, b.Strings)
	case !a.Type.Float() || len(a.Data) != len(b.Data):
		return !bytes.Equal(a.Data, b.Data)
	}
	for i := range a.Len() {
		x, y := a.Float(i), b.Float(i)
		switch {
		case x == y:
		case math.IsNaN(x) || math.IsNaN(y):
			if math.IsNaN(x) != math.IsNaN(y) {
				return true
			}
		case math.IsInf(x, 0) || math.IsInf(y, 0) || !(math.Abs(x-y) <= tol.of(x, y)):
			return true
		}
	}
	return false
}
