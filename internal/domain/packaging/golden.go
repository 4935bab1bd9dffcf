package packaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// MaxGolden bounds golden.json, in bytes.
const MaxGolden = 16 << 20

type goldenTensor struct {
	Name     string          `json:"name"`
	DataType string          `json:"datatype"`
	Shape    []int64         `json:"shape"`
	Data     json.RawMessage `json:"data"`
}

// CheckGolden holds golden inputs and outputs to the signature of the model
// that must give them. It returns "" or the reason of failure. Words for types
// are those of the Open Inference Protocol.
func CheckGolden(b []byte, inputs, outputs []Tensor) string {
	var g struct {
		Cases []struct {
			Inputs    []goldenTensor `json:"inputs"`
			Outputs   []goldenTensor `json:"outputs"`
			Tolerance *float64       `json:"tolerance"`
		} `json:"cases"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil || d.More() {
		return Reason(`golden.json is not of the form {"cases":[{"inputs":[…],"outputs":[…],"tolerance":1e-4}]}`)
	}
	if len(g.Cases) == 0 || len(g.Cases) > 1000 {
		return Reason("golden.json has %d cases; 1 to 1000 are allowed", len(g.Cases))
	}
	for i, c := range g.Cases {
		if c.Tolerance != nil && !(*c.Tolerance >= 0 && *c.Tolerance <= 1e9) {
			return Reason("golden.json, case %d: the tolerance must not be negative", i+1)
		}
		if len(c.Outputs) == 0 {
			return Reason("golden.json, case %d: there are no outputs to compare with", i+1)
		}
		for _, in := range inputs {
			if !slices.ContainsFunc(c.Inputs, func(t goldenTensor) bool { return t.Name == in.Name }) {
				return Reason("golden.json, case %d: the input %q is missing", i+1, in.Name)
			}
		}
		if why := checkAll("input", c.Inputs, inputs); why != "" {
			return Reason("golden.json, case %d: %s", i+1, why)
		}
		if why := checkAll("output", c.Outputs, outputs); why != "" {
			return Reason("golden.json, case %d: %s", i+1, why)
		}
	}
	return ""
}

func checkAll(what string, given []goldenTensor, known []Tensor) string {
	seen := map[string]bool{}
	for _, t := range given {
		i := slices.IndexFunc(known, func(k Tensor) bool { return k.Name == t.Name })
		switch {
		case i < 0:
			return fmt.Sprintf("the model has no %s %q", what, t.Name)
		case seen[t.Name]:
			return fmt.Sprintf("the %s %q is there twice", what, t.Name)
		}
		seen[t.Name] = true
		if why := t.check(known[i]); why != "" {
			return fmt.Sprintf("the %s %q %s", what, t.Name, why)
		}
	}
	return ""
}

// fromOIP gives the protocol's word for a type as manifests have it.
func fromOIP(t string) string {
	if t == "BYTES" {
		return "STRING"
	}
	return strings.Replace(t, "FP", "FLOAT", 1)
}

func (t goldenTensor) check(k Tensor) string {
	if fromOIP(t.DataType) != k.DataType {
		return fmt.Sprintf("has datatype %q; the model has %s", t.DataType, k.DataType)
	}
	want := int64(1)
	for _, d := range t.Shape {
		if d < 0 || d > 0 && want > MaxGolden/d {
			return "has a shape that is not one of values"
		}
		want *= d
	}
	if !k.fits(t.Shape) {
		return fmt.Sprintf("has shape %s; the model has %s", dims(t.Shape), dims(k.Shape))
	}
	n, ok := countValues(t.Data, k.DataType)
	if !ok {
		return "has data that is not of its datatype"
	}
	if n != want {
		return fmt.Sprintf("has %d values; its shape asks for %d", n, want)
	}
	return ""
}

// countValues counts the values in data, flat or nested, and tells whether each
// is of the right kind.
func countValues(data []byte, dataType string) (n int64, ok bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for depth := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return n, depth == 0 && n >= 0 && len(data) > 0 && data[0] == '['
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '}' {
				return 0, false
			}
			if v == '[' {
				depth++
			} else {
				depth--
			}
			continue
		case json.Number:
			ok = dataType != "STRING" && dataType != "BOOL"
		case bool:
			ok = dataType == "BOOL"
		case string:
			ok = dataType == "STRING"
		default:
			ok = false
		}
		if !ok {
			return 0, false
		}
		n++
	}
}
