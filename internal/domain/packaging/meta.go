package packaging

import (
	"encoding/json"
	"strings"
)

// ParseMeta reads inputs and outputs from the .meta file of a Neo artifact
// (spec §6.5); ok is false if it has none that can be read.
func ParseMeta(b []byte) (inputs, outputs []Tensor, ok bool) {
	type tensor struct {
		Name  string `json:"name"`
		Type  string `json:"dtype"`
		Shape []any  `json:"shape"`
	}
	var m struct {
		Model struct{ Inputs, Outputs []tensor }
	}
	if err := json.Unmarshal(b, &m); err != nil || len(m.Model.Inputs) == 0 ||
		len(m.Model.Inputs)+len(m.Model.Outputs) > 8192 {
		return nil, nil, false
	}
	read := func(in []tensor) (out []Tensor) {
		for _, t := range in {
			x := Tensor{Name: t.Name, DataType: strings.ToUpper(t.Type), Shape: make([]int64, len(t.Shape))}
			for i, d := range t.Shape {
				x.Shape[i] = -1 // what is no number is open
				if n, isNumber := d.(float64); isNumber && n >= 0 && n < 1<<40 {
					x.Shape[i] = int64(n)
				}
			}
			out = append(out, x)
		}
		return out
	}
	return read(m.Model.Inputs), read(m.Model.Outputs), true
}
