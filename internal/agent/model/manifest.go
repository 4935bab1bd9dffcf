package model

import (
	"fmt"

	"github.com/slipway-ml/slipway/internal/modelserver/tensor"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// PackageOf describes the package with the manifest m that lies unpacked in
// dir, an absolute path.
func PackageOf(dir string, m *bundle.Manifest) (Package, error) {
	p := Package{Dir: dir, ModelName: m.Metadata.ModelName, ModelVersion: m.Metadata.ModelVersion, Runtime: m.Metadata.Runtime}
	var err error
	if p.Signature.Inputs, err = specs("input", m.Inputs); err != nil {
		return p, err
	}
	p.Signature.Outputs, err = specs("output", m.Outputs)
	return p, err
}

func specs(what string, list []bundle.Tensor) ([]tensor.Spec, error) {
	var out []tensor.Spec
	for _, t := range list {
		s := tensor.Spec{Name: t.Name, Type: FromWord(t.DataType), Ranked: len(t.Shape) > 0}
		if s.Type == tensor.Invalid {
			return nil, fmt.Errorf("the manifest's %s %q has the unknown data type %.40q", what, t.Name, t.DataType)
		}
		if len(t.Shape) > tensor.MaxRank {
			return nil, fmt.Errorf("the manifest's %s %q has more than %d dimensions", what, t.Name, tensor.MaxRank)
		}
		for _, d := range t.Shape {
			s.Shape = append(s.Shape, tensor.Dim{Size: max(d, -1)})
		}
		out = append(out, s)
	}
	return out, nil
}
