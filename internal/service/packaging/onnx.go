package packaging

import (
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
		inputs: packagedTensors(d.Signature.Inputs), outputs: packagedTensors(d.Signature.Outputs),
	}, nil
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
