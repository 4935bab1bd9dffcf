package packaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// clientError begins the reasons of failures that the caller can mend, as the
// real service words them (spec §6.4).
const clientError = "ClientError: InputConfiguration: "

// Reason words a failure that the caller can mend.
func Reason(format string, args ...any) string { return clientError + fmt.Sprintf(format, args...) }

// Trouble words a failure that is the server's.
func Trouble(what string) string {
	return "ServerError: There was an internal server error during the compilation job, " + what
}

// Shapes is a DataInputConfig: shapes by input name, or in the order of the
// inputs when the names are empty.
type Shapes []Tensor

// ParseShapes reads a DataInputConfig: JSON, or the single-quoted text that
// clients send besides (spec §6.4). It knows {"name": [1, 3]}, {"name":
// {"shape": [1, 3]}} and the list of shapes of PyTorch.
func ParseShapes(text string) (Shapes, error) {
	d := json.NewDecoder(bytes.NewReader(requote(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return nil, fault.New(fault.Invalid, "%s", Reason("DataInputConfig is not valid JSON.")).Because(err)
	}
	var out Shapes
	add := func(name string, v any) error {
		dims, why := parseDims(v)
		if why != "" {
			return fault.New(fault.Invalid, "%s",
				Reason("Input %s has wrong shape in Input Shape dictionary. %s", name, why))
		}
		out = append(out, Tensor{Name: name, Shape: dims})
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for name, dims := range v {
			if err := add(name, dims); err != nil {
				return nil, err
			}
		}
		slices.SortFunc(out, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	case []any:
		for i, dims := range v {
			if err := add(strconv.Itoa(i), dims); err != nil {
				return nil, err
			}
			out[i].Name = ""
		}
	}
	if len(out) == 0 {
		return nil, fault.New(fault.Invalid, "%s", Reason("DataInputConfig names no inputs."))
	}
	return out, nil
}

// requote turns the single-quoted text that people copy from Python into JSON.
func requote(text string) []byte {
	if json.Valid([]byte(text)) {
		return []byte(text)
	}
	return []byte(strings.NewReplacer("'", `"`, "None", "null", "(", "[", ")", "]").Replace(text))
}

const maxRank = 16

// parseDims returns a shape, or a sentence that says why v is none.
func parseDims(v any) (dims []int64, why string) {
	if m, ok := v.(map[string]any); ok {
		v = m["shape"]
	}
	list, ok := v.([]any)
	if !ok || len(list) > maxRank {
		return nil, fmt.Sprintf("A shape is a list of at most %d numbers.", maxRank)
	}
	dims = make([]int64, len(list))
	for i, d := range list {
		if d == nil {
			dims[i] = -1
			continue
		}
		n, ok := d.(json.Number)
		size, err := n.Int64()
		if !ok || err != nil || size == 0 || size < -1 {
			return nil, fmt.Sprintf("%.40v is not the size of a dimension.", d)
		}
		dims[i] = size
	}
	return dims, ""
}

// Fit holds the shapes to the inputs of a model; an open dimension on either
// side fits anything. It returns "" or the reason of failure.
func (s Shapes) Fit(inputs []Tensor) string {
	if len(s) > 0 && s[0].Name == "" {
		if len(s) != len(inputs) {
			return Reason("DataInputConfig has %d shapes; the model has %d inputs: %s.", len(s), len(inputs),
				names(inputs))
		}
		s = slices.Clone(s)
		for i := range s {
			s[i].Name = inputs[i].Name
		}
	}
	for _, want := range s {
		i := slices.IndexFunc(inputs, func(t Tensor) bool { return t.Name == want.Name })
		if i < 0 {
			return Reason("Input %s of DataInputConfig is not an input of the model; it has: %s.", want.Name,
				names(inputs))
		}
		if !inputs[i].fits(want.Shape) {
			return Reason("Input %s has wrong shape in Input Shape dictionary. The model takes %s, "+
				"DataInputConfig says %s.", want.Name, dims(inputs[i].Shape), dims(want.Shape))
		}
	}
	for _, in := range inputs {
		if !slices.ContainsFunc(s, func(t Tensor) bool { return t.Name == in.Name }) {
			return Reason("Input %s of the model is missing in DataInputConfig.", in.Name)
		}
	}
	return ""
}

// fits tells whether values of a shape can be the tensor's; sizes below 0 are
// open.
func (t Tensor) fits(shape []int64) bool {
	if t.Unranked {
		return true
	}
	if len(t.Shape) != len(shape) {
		return false
	}
	for i, d := range t.Shape {
		if d >= 0 && shape[i] >= 0 && d != shape[i] {
			return false
		}
	}
	return true
}

// Derive writes the DataInputConfig of a model's inputs; -1 is an open
// dimension.
func Derive(inputs []Tensor) string {
	m := make(map[string][]int64, len(inputs))
	for _, t := range inputs {
		m[t.Name] = t.Shape
		if t.Shape == nil {
			m[t.Name] = []int64{}
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "" // strings and numbers: it cannot fail
	}
	return string(b)
}

func names(ts []Tensor) string {
	var b strings.Builder
	for i, t := range ts {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t.Name)
	}
	return b.String()
}

func dims(shape []int64) string { return strings.ReplaceAll(fmt.Sprint(shape), " ", ", ") }

// ParseOptimize reads the level of optimisation from CompilerOptions, which
// may also be in single quotes; other options are Neo's and mean nothing here.
func ParseOptimize(options string) (string, error) {
	var o struct {
		Optimize *string `json:"x-optimize"`
	}
	if err := json.Unmarshal(requote(options), &o); err != nil {
		if strings.Contains(options, "x-optimize") {
			return "", fault.New(fault.Invalid,
				"CompilerOptions with x-optimize must be a JSON object such as {\"x-optimize\": \"basic\"}.").Because(
				err,
			)
		}
		return "", nil
	}
	switch {
	case o.Optimize == nil:
		return "", nil
	case slices.Contains([]string{"basic", "extended", "all"}, *o.Optimize):
		return *o.Optimize, nil
	}
	return "", fault.New(fault.Invalid, "The x-optimize of CompilerOptions must be basic, extended or all.")
}
