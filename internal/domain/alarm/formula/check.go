package formula

// function says what a function takes. Its result is of the kind that result
// returns for the kinds of its arguments.
type function struct {
	least, most int // arguments
	result      func(args []Kind) (Kind, bool)
}

// functions lists what can be called; eval.go computes them.
var functions = map[string]function{
	"ABS": {1, 1, sameKind}, "CEIL": {1, 1, sameKind}, "FLOOR": {1, 1, sameKind},
	"LOG": {1, 1, sameKind}, "LOG10": {1, 1, sameKind},
	"AVG": {1, 1, reduced}, "SUM": {1, 1, reduced}, "MIN": {1, 1, reduced},
	"MAX": {1, 1, reduced}, "STDDEV": {1, 1, reduced},
	"RATE": {1, 1, notScalar}, "DIFF": {1, 1, notScalar}, "RUNNING_SUM": {1, 1, notScalar},
	"PERIOD": {1, 1, ofOneSeries}, "DATAPOINT_COUNT": {1, 1, ofOneSeries},
	"METRIC_COUNT": {1, 1, ofList},
	"TIME_SERIES":  {1, 1, fromScalar},
	"FILL":         {2, 2, filled},
	"IF":           {3, 3, chosen},
	"METRICS":      {0, 1, nil}, // its argument is a string
}

func sameKind(a []Kind) (Kind, bool) { return a[0], true }

// a list to a series, a series to a scalar
func reduced(a []Kind) (Kind, bool)     { return max(a[0], Series) - 1, true }
func notScalar(a []Kind) (Kind, bool)   { return a[0], a[0] != Scalar }
func ofOneSeries(a []Kind) (Kind, bool) { return Scalar, a[0] == Series }
func ofList(a []Kind) (Kind, bool)      { return Scalar, a[0] == List }
func fromScalar(a []Kind) (Kind, bool)  { return Series, a[0] == Scalar }
func filled(a []Kind) (Kind, bool)      { return a[0], a[0] != Scalar && a[1] != List }
func chosen(a []Kind) (Kind, bool)      { return max(a[0], a[1], a[2]), max(a[0], a[1], a[2]) != List }

// kindOf is the type check: what passes it can be computed.
func kindOf(n *node, of func(string) (Kind, bool)) (Kind, error) {
	switch n.op {
	case "number":
		return Scalar, nil
	case "id":
		k, ok := of(n.name)
		if !ok {
			return 0, refuse("The expression refers to %q, which is not the Id of another query.",
				n.name[:min(len(n.name), 64)])
		}
		return k, nil
	case "word":
		return 0, refuse("The word %s has no meaning here.", n.name[:min(len(n.name), 64)])
	case "string":
		return 0, refuse("A string has no meaning here.")
	case "list":
		return kindOfList(n, of)
	case "call":
		return kindOfCall(n, of)
	}
	kind := Scalar
	lists := 0
	for _, a := range n.args {
		k, err := kindOf(a, of)
		if err != nil {
			return 0, err
		}
		if k == List {
			lists++
		}
		kind = max(kind, k)
	}
	if lists > 1 {
		return 0, refuse("The operator %s does not take two lists.", n.op)
	}
	return kind, nil
}

func kindOfList(n *node, of func(string) (Kind, bool)) (Kind, error) {
	if len(n.args) == 0 {
		return 0, refuse("A list in the expression is empty.")
	}
	for _, a := range n.args {
		k, err := kindOf(a, of)
		if err != nil {
			return 0, err
		}
		if k == List {
			return 0, refuse("A list in the expression contains a list.")
		}
	}
	return List, nil
}

func kindOfCall(n *node, of func(string) (Kind, bool)) (Kind, error) {
	f := functions[n.name]
	if len(n.args) < f.least || len(n.args) > f.most {
		return 0, refuse("The function %s takes %d arguments, not %d.", n.name, f.most, len(n.args))
	}
	if n.name == "METRICS" {
		if len(n.args) == 1 && n.args[0].op != "string" {
			return 0, refuse("The function METRICS takes a string.")
		}
		return List, nil
	}
	kinds := make([]Kind, len(n.args))
	for i, a := range n.args {
		if n.name == "FILL" && i == 1 && isFiller(a) {
			continue
		}
		k, err := kindOf(a, of)
		if err != nil {
			return 0, err
		}
		kinds[i] = k
	}
	k, ok := f.result(kinds)
	if !ok {
		return 0, refuse("The function %s does not take %s.", n.name, kinds[0])
	}
	return k, nil
}

func isFiller(n *node) bool { return n.op == "word" && (n.name == "REPEAT" || n.name == "LINEAR") }
