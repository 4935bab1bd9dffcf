package onnxfile

import "slices"

// matMul contracts the last dimension of a with the last but one of b.
func matMul(c *call) ([]array, error) {
	a, b, err := c.both()
	if err != nil {
		return nil, err
	}
	if a.rank() < 2 || b.rank() < 2 {
		return nil, errAcross
	}
	if a.axis() == a.rank()-1 || b.axis() == b.rank()-2 {
		return nil, errAcross // the rows are summed up
	}
	m, n := a.shape[a.rank()-2], b.shape[b.rank()-1]
	if m.rows != 0 && b.axis() >= 0 || n.rows != 0 && a.axis() >= 0 {
		return nil, errAcross // rows against rows
	}
	out, err := broadcast([]array{
		{ranked: true, shape: a.shape[:a.rank()-2]}, {ranked: true, shape: b.shape[:b.rank()-2]},
	})
	out.shape = append(out.shape, m, n)
	return []array{out}, err
}

func matMulInteger(c *call) ([]array, error) {
	for i := 2; i < len(c.in); i++ {
		if c.in[i].axis() >= 0 {
			return nil, errParam // each row would have a zero point of its own
		}
	}
	return matMul(c)
}

func gemm(c *call) ([]array, error) {
	a, b, err := c.both()
	if err != nil {
		return nil, err
	}
	if a.rank() != 2 || b.rank() != 2 {
		return nil, errUnknown
	}
	turned := func(v array, name string) array {
		if c.int(name, 0) != 0 {
			return array{ranked: true, shape: []extent{v.shape[1], v.shape[0]}}
		}
		return v
	}
	a, b = turned(a, "transA"), turned(b, "transB")
	if a.axis() == 1 || b.axis() == 0 || a.axis() >= 0 && b.axis() >= 0 {
		return nil, errAcross
	}
	parts := []array{{ranked: true, shape: []extent{a.shape[0], b.shape[1]}}}
	if len(c.in) > 2 && c.node.in[2] != "" {
		bias, err := c.data(2)
		if err != nil {
			return nil, err
		}
		parts = append(parts, like(bias))
	}
	out, err := broadcast(parts)
	return []array{out}, err
}

// normalized checks that the dimensions from axis on are not the rows'.
func normalized(c *call, from, to int) ([]array, error) {
	x := c.in[0]
	if rows := x.axis(); rows >= from && rows < to {
		return nil, errAcross
	}
	return []array{like(x)}, nil
}

func softmax(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	if c.opset >= 13 {
		at, err := place(c.int("axis", -1), x.rank())
		if err != nil {
			return nil, err
		}
		return normalized(c, at, at+1)
	}
	at, err := place(c.int("axis", 1), x.rank())
	if err != nil {
		return nil, errAcross
	}
	return normalized(c, at, x.rank())
}

func lpNormalization(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", -1), x.rank())
	if err != nil {
		return nil, err
	}
	return normalized(c, at, at+1)
}

func layerNormalization(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", -1), x.rank())
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(c.in); i++ { // scale and bias belong to the normalized dimensions
		if c.node.in[i] != "" && (!c.in[i].ranked || c.in[i].rank() > x.rank()-at) {
			return nil, errUnknown
		}
	}
	return normalized(c, at, x.rank())
}

func reduce(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	axes, err := c.axes(1, x.rank())
	if err != nil {
		return nil, err
	}
	if c.op == "ArgMax" || c.op == "ArgMin" {
		at, err := place(c.int("axis", 0), x.rank())
		if err != nil {
			return nil, err
		}
		axes = []int{at}
	}
	if len(axes) == 0 {
		if c.int("noop_with_empty_axes", 0) != 0 {
			return []array{like(x)}, nil
		}
		for i := range x.shape {
			axes = append(axes, i)
		}
	}
	out := array{ranked: true}
	for i, e := range x.shape {
		switch {
		case !slices.Contains(axes, i):
			out.shape = append(out.shape, e)
		case e.rows != 0:
			return nil, errAcross
		case c.int("keepdims", 1) != 0:
			out.shape = append(out.shape, extent{size: 1})
		}
	}
	return []array{out}, nil
}

func topK(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", -1), x.rank())
	if err != nil {
		return nil, err
	}
	if at == x.axis() {
		return nil, errAcross
	}
	out := with(x, at, openSize)
	return []array{out, out}, nil
}

// perImage covers what computes each element of the first dimension alone, and
// gives as many dimensions. A second output would count across all of them.
func perImage(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	if x.axis() > 0 || x.rank() < 3 || len(c.out) > 1 && c.out[1] != "" {
		return nil, errAcross
	}
	out := array{ranked: true, shape: slices.Repeat([]extent{openSize}, x.rank())}
	out.shape[0] = x.shape[0]
	switch c.op {
	case "LRN", "InstanceNormalization", "GroupNormalization":
		out = like(x)
	case "Conv", "FusedConv", "ConvInteger", "QLinearConv":
		w := 1
		if c.op == "QLinearConv" {
			w = 3
		}
		if w < len(c.in) && c.in[w].rank() == x.rank() {
			out.shape[1] = c.in[w].shape[0]
		}
	case "MaxPool", "AveragePool", "LpPool":
		out.shape[1] = x.shape[1]
	case "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool":
		for i := range out.shape[2:] {
			out.shape[2+i] = extent{size: 1}
		}
		out.shape[1] = x.shape[1]
	}
	return []array{out}, nil
}

// perSample covers classic models, which take a row of features and give a row,
// or one label, for each.
func perSample(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	if x.axis() > 0 || x.rank() != 2 {
		return nil, errAcross
	}
	table := array{ranked: true, shape: []extent{x.shape[0], openSize}}
	switch c.op {
	case "TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier":
		return []array{{ranked: true, shape: []extent{x.shape[0]}}, table}, nil
	case "OneHotEncoder":
		return []array{{ranked: true, shape: append(slices.Clone(x.shape), openSize)}}, nil
	}
	return []array{table}, nil
}

// columns covers classic operators on tables that may give other columns.
func columns(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	if x.rank() < 2 || x.axis() == x.rank()-1 {
		return nil, errAcross
	}
	return []array{with(x, x.rank()-1, openSize)}, nil
}

// recurrent nets step through dimension 0; dimension 1 has the rows.
func recurrent(c *call) ([]array, error) {
	x, err := c.data(0)
	if err != nil {
		return nil, err
	}
	if x.rank() != 3 || x.axis() == 0 || x.axis() == 2 || c.int("layout", 0) != 0 {
		return nil, errAcross
	}
	for i := 1; i < len(c.in); i++ {
		want := -1
		switch {
		case c.node.in[i] == "":
			continue
		case i == 4: // lengths
			want = 0
		case i == 5 || i == 6: // the states at the start
			want = 1
		}
		if x.axis() < 0 || want < 0 || !c.in[i].ranked {
			want = -1
		}
		if c.in[i].axis() != want {
			return nil, errParam
		}
	}
	state := array{ranked: true, shape: []extent{openSize, x.shape[1], openSize}}
	return []array{{ranked: true, shape: []extent{x.shape[0], openSize, x.shape[1], openSize}}, state, state}, nil
}

func pad(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	pads, ok := c.ints["pads"]
	if !ok && len(c.in) > 1 {
		pads, ok = c.in[1].numbers()
	}
	if !ok || len(pads) != 2*x.rank() || len(c.in) > 3 {
		return nil, errUnknown
	}
	out := like(x)
	for i := range x.shape {
		before, after := pads[i], pads[i+x.rank()]
		switch {
		case before == 0 && after == 0:
		case i == x.axis():
			return nil, errAcross
		default:
			out.shape[i] = openSize
		}
	}
	return []array{out}, nil
}

func tile(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	repeats, ok := c.in[min(1, len(c.in)-1)].numbers()
	if !ok || len(repeats) != x.rank() {
		return nil, errUnknown
	}
	out := like(x)
	for i, r := range repeats {
		switch {
		case r == 1:
		case i == x.axis():
			return nil, errAcross
		default:
			out.shape[i] = openSize
		}
	}
	return []array{out}, nil
}

func cumSum(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	axis, ok := c.in[min(1, len(c.in)-1)].numbers()
	if !ok || len(axis) != 1 {
		return nil, errUnknown
	}
	at, err := place(axis[0], x.rank())
	if err != nil {
		return nil, err
	}
	return normalized(c, at, at+1)
}

func oneHot(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", -1), x.rank()+1)
	if err != nil {
		return nil, err
	}
	return []array{{ranked: true, shape: slices.Insert(slices.Clone(x.shape), at, openSize)}}, nil
}

func batchNormalization(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	training := c.int("training_mode", 0) != 0 || c.opset < 7 && c.int("is_test", 0) == 0
	if training || x.axis() == 1 || x.rank() < 2 {
		return nil, errAcross
	}
	return []array{like(x)}, nil
}

func dropout(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	if len(c.in) > 2 && c.node.in[2] != "" || c.opset < 7 && c.int("is_test", 0) == 0 {
		return nil, errUnknown // it may be training
	}
	return []array{like(x), like(x)}, nil
}

// trilu cuts a triangle out of the last two dimensions.
func trilu(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	return normalized(c, x.rank()-2, x.rank())
}

// quantize takes scales that are constant: one, or one for each place of an axis.
func quantize(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(c.in); i++ {
		if c.node.in[i] == "" {
			continue
		}
		if !c.in[i].ranked || c.in[i].rank() > 1 {
			return nil, errUnknown
		}
		at, err := place(c.int("axis", 1), x.rank())
		if c.in[i].rank() == 1 && c.in[i].elements() != 1 && (err != nil || at == x.axis()) {
			return nil, errAcross
		}
	}
	return []array{like(x)}, nil
}
