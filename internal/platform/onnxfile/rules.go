package onnxfile

import (
	"errors"
	"slices"
)

// call is a node with what is known of its inputs.
type call struct {
	*node
	opset int64
	in    []array
}

// rule works out the outputs of an operator, or says how it mixes rows.
type rule func(c *call) ([]array, error)

var (
	errAcross  = errors.New("computes across the first dimension")
	errUnknown = errors.New("computes with shapes that are not known from the graph")
	errCounts  = errors.New("computes with the number of rows")
	errParam   = errors.New("takes something else than constants besides its data")
)

// nchwc is the domain of ONNX Runtime's own operators that compute as those of
// the same names do, on images that lie in memory in another way.
const nchwc = "com.microsoft.nchwc"

// rules has every operator that is known, by domain and name.
var rules = func() map[string]rule {
	m := map[string]rule{
		":Shape": shapeOf, ":Reshape": reshape, ":Flatten": flatten, ":Transpose": transpose, ":Squeeze": squeeze,
		":Unsqueeze": unsqueeze, ":Concat": concat, ":Split": split, ":Slice": slice, ":Gather": gather,
		":Expand": expand, ":ConstantOfShape": constantOfShape, ":Constant": constantNode, ":MatMul": matMul,
		":MatMulInteger": matMulInteger, ":Gemm": gemm, "com.microsoft:FusedGemm": gemm,
		":TopK": topK, ":LSTM": recurrent, ":GRU": recurrent, ":RNN": recurrent, ":Pad": pad, ":Tile": tile,
		":CumSum": cumSum, ":OneHot": oneHot, ":BatchNormalization": batchNormalization, ":Dropout": dropout,
		":Trilu": trilu, ":QuantizeLinear": quantize, ":DequantizeLinear": quantize,
		":Softmax": softmax, ":LogSoftmax": softmax, ":Hardmax": softmax, ":LpNormalization": lpNormalization,
		":LayerNormalization": layerNormalization, ":SimplifiedLayerNormalization": layerNormalization,
		":RMSNormalization": layerNormalization, "com.microsoft:FusedConv": perImage,
	}
	add := func(r rule, domain string, ops ...string) {
		for _, op := range ops {
			m[domain+":"+op] = r
		}
	}
	add(elementwise, "", "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil",
		"Celu", "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
		"IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink",
		"Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
		"Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
		"GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "PRelu", "Sub",
		"Sum", "Where", "Xor")
	add(elementwise, "com.microsoft", "Gelu", "FastGelu", "QuickGelu", "BiasGelu")
	add(reduce, "", "ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
		"ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")
	add(perImage, "", "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
		"GlobalLpPool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LpPool", "LRN", "MaxPool",
		"QLinearConv", "ReorderInput", "ReorderOutput", "SpaceToDepth")
	add(perSample, "ai.onnx.ml", "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder",
		"SVMClassifier", "SVMRegressor", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap")
	add(elementwise, "ai.onnx.ml", "Binarizer", "LabelEncoder")
	add(columns, "ai.onnx.ml", "ArrayFeatureExtractor", "Imputer", "Scaler")
	return m
}()

// data returns input i, which has to have a known shape.
func (c *call) data(i int) (array, error) {
	if i >= len(c.in) || !c.in[i].ranked {
		return array{}, errUnknown
	}
	return c.in[i], nil
}

// only returns input 0 and fails if another has rows or counts them.
func (c *call) only() (array, error) {
	for i := 1; i < len(c.in); i++ {
		if c.in[i].axis() >= 0 || c.in[i].counts() {
			return array{}, errParam
		}
	}
	return c.data(0)
}

// both returns inputs 0 and 1.
func (c *call) both() (a, b array, err error) {
	if a, err = c.data(0); err == nil {
		b, err = c.data(1)
	}
	return a, b, err
}

// place turns an axis that may count from the end into one from the start.
func place(axis int64, rank int) (int, error) {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		return 0, errUnknown
	}
	return int(axis), nil
}

// axes returns the axes that an attribute or an input names.
func (c *call) axes(input, rank int) ([]int, error) {
	list, ok := c.ints["axes"]
	if !ok && input < len(c.in) && c.node.in[input] != "" {
		if list, ok = c.in[input].numbers(); !ok {
			return nil, errUnknown
		}
	}
	if len(list) > maxInts {
		return nil, errUnknown
	}
	out := make([]int, 0, len(list))
	for _, a := range list {
		p, err := place(a, rank)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// like returns a value of v's shape whose numbers are not known.
func like(v array) array { return array{ranked: v.ranked, shape: slices.Clone(v.shape)} }

// with returns the shape of v with another size at one place.
func with(v array, at int, e extent) array {
	v = like(v)
	v.shape[at] = e
	return v
}

var openSize = extent{size: unknown}

// elementwise covers operators whose elements follow from those at the same
// place, once the inputs are of one shape by the rules of broadcasting.
func elementwise(c *call) ([]array, error) {
	if out, ok, err := count(c); ok || err != nil {
		return []array{out}, err
	}
	out, err := broadcast(c.in)
	return []array{out}, err
}

func broadcast(in []array) (array, error) {
	out := array{ranked: true}
	for i := range in {
		if !in[i].ranked {
			return out, errUnknown
		}
		if in[i].rank() > out.rank() {
			out.shape = make([]extent, in[i].rank())
		}
	}
	for d := range out.shape {
		out.shape[d] = extent{size: 1}
		for i := range in {
			at := d - (out.rank() - in[i].rank())
			if at < 0 {
				continue
			}
			e, have := in[i].shape[at], &out.shape[d]
			switch {
			case e.rows == 0 && e.size == 1:
			case have.rows == 0 && have.size == 1:
				*have = e
			case (e.rows != 0) != (have.rows != 0):
				return out, errAcross // the rows meet a dimension that is not theirs
			case e.rows != have.rows:
				return out, errUnknown
			case have.size < 0:
				have.size = e.size
			}
		}
	}
	if n := slices.IndexFunc(out.shape, func(e extent) bool { return e.rows != 0 }); n >= 0 &&
		slices.ContainsFunc(out.shape[n+1:], func(e extent) bool { return e.rows != 0 }) {
		return out, errAcross // rows against rows
	}
	return out, nil
}

// count computes with lists of sizes: ok is false if the inputs are none.
func count(c *call) (out array, ok bool, err error) {
	lists := len(c.in) > 0
	counts := false
	for i := range c.in {
		lists = lists && c.in[i].ints != nil
		counts = counts || c.in[i].counts()
	}
	if !counts && (!lists || len(c.in) > 2) {
		return out, false, nil
	}
	if !lists {
		return out, false, errCounts
	}
	a := c.in[0]
	if len(c.in) == 1 {
		if c.op != "Cast" && c.op != "Identity" {
			if counts {
				return out, false, errCounts
			}
			return out, false, nil
		}
		return a, true, nil
	}
	b := c.in[1]
	if len(c.in) > 2 || len(b.ints) != 1 && len(a.ints) != len(b.ints) {
		if counts {
			return out, false, errCounts
		}
		return out, false, nil
	}
	out = like(a)
	for i, x := range a.ints {
		y := b.ints[min(i, len(b.ints)-1)]
		e, ok := arithmetic(c.op, x, y)
		if !ok {
			if counts {
				return out, false, errCounts
			}
			e = openSize
		}
		out.ints = append(out.ints, e)
	}
	return out, true, nil
}

func arithmetic(op string, x, y extent) (extent, bool) {
	plain := x.rows == 0 && y.rows == 0
	switch {
	case plain && (x.size == unknown || y.size == unknown):
		return openSize, true
	case op == "Mul" && x.rows == 0 && y.rows > 0 && x.size > 0:
		return extent{rows: y.rows * x.size}, true
	case op == "Mul" && x.rows > 0 && y.rows == 0 && y.size > 0:
		return extent{rows: x.rows * y.size}, true
	case op == "Div" && x.rows > 0 && y.rows == 0 && y.size > 0 && x.rows%y.size == 0:
		return extent{rows: x.rows / y.size}, true
	case plain && op == "Add":
		return extent{size: x.size + y.size}, true
	case plain && op == "Sub":
		return extent{size: x.size - y.size}, true
	case plain && op == "Mul":
		return extent{size: x.size * y.size}, true
	case plain && op == "Div" && y.size > 0 && x.size >= 0:
		return extent{size: x.size / y.size}, true
	}
	return openSize, false
}
