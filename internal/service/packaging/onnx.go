package packaging

import (
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
)

// graph is what an ONNX file says of itself, in the words of a package.
type graph struct {
	irVersion, opset int64
	initializers     int
	inputs, outputs  []packaging.Tensor
	taken            []tensor.Spec       // the inputs, with the symbols of their dimensions
	external         []onnxfile.External // locations are not to be trusted
}

// inspect reads an ONNX file; its error is a reason for the job to fail.
func inspect(path string) (graph, error) {
	d, err := onnxfile.DescribeFile(path)
	if err != nil {
		return graph{}, fail(packaging.Reason("Incompatible ONNX model: %v", err))
	}
	return graph{
		irVersion: d.IRVersion, opset: d.Opset, initializers: d.Initializers, external: d.External,
		taken: d.Signature.Inputs, inputs: packagedTensors(d.Signature.Inputs),
		outputs: packagedTensors(d.Signature.Outputs),
	}, nil
}

// contradiction says how shapes, which fit the inputs, give one symbol of the
// model two sizes, or "".
func (g *graph) contradiction(shapes packaging.Shapes) string {
	type use struct {
		size  int64
		input string
	}
	seen := map[string]use{}
	for n, s := range shapes {
		spec := &g.taken[n]
		if i := slices.IndexFunc(g.taken, func(t tensor.Spec) bool { return t.Name == s.Name }); i >= 0 {
			spec = &g.taken[i]
		}
		for i, d := range spec.Shape {
			if d.Size >= 0 || d.Symbol == "" || i >= len(s.Shape) || s.Shape[i] < 0 {
				continue
			}
			now := use{s.Shape[i], spec.Name}
			if first, again := seen[d.Symbol]; again && first.size != now.size {
				return packaging.Reason(
					"DataInputConfig contradicts the model: %s is %d in input %s and %d in input %s.",
					d.Symbol, first.size, first.input, now.size, now.input)
			}
			seen[d.Symbol] = now
		}
	}
	return ""
}

func packagedTensors(specs []tensor.Spec) (out []packaging.Tensor) {
	for _, s := range specs {
		t := packaging.Tensor{Name: s.Name, DataType: packagedType(s.Type), Unranked: !s.Ranked}
		for _, d := range s.Shape {
			t.Shape = append(t.Shape, d.Size)
		}
		out = append(out, t)
	}
	return out
}

// packagedType is a type in the words of the Edge Manager contract, which has
// FLOAT32 for what the Open Inference Protocol calls FP32.
func packagedType(t tensor.Type) string {
	if t == tensor.String {
		return "STRING"
	}
	return strings.Replace(t.OIP(), "FP", "FLOAT", 1)
}
