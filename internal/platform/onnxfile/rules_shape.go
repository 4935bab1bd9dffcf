package onnxfile

import "slices"

func constantNode(c *call) ([]array, error) {
	if t, ok := c.tensors["value"]; ok {
		return []array{t}, nil
	}
	if v, ok := c.ints["value_int"]; ok {
		return []array{listOf(v, constant())}, nil
	}
	if v, ok := c.ints["value_ints"]; ok {
		return []array{listOf(v, constant(int64(len(v))))}, nil
	}
	return nil, errUnknown // which is no fault: it is a constant
}

func listOf(numbers []int64, v array) array {
	v.ints = make([]extent, 0, len(numbers))
	for _, n := range numbers {
		v.ints = append(v.ints, extent{size: n})
	}
	return v
}

func shapeOf(c *call) ([]array, error) {
	x, err := c.data(0)
	if err != nil {
		return nil, err
	}
	clamp := func(at int64) int64 {
		if at < 0 {
			at += int64(x.rank())
		}
		return min(max(at, 0), int64(x.rank()))
	}
	start, end := clamp(c.int("start", 0)), clamp(c.int("end", int64(x.rank())))
	list := slices.Clone(x.shape[start:max(start, end)])
	for i, e := range list {
		if e.rows < 0 {
			return nil, errCounts
		}
		if e.rows == 0 && e.size < 0 {
			list[i] = openSize
		}
	}
	v := constant(int64(len(list)))
	v.ints = list
	return []array{v}, nil
}

// reshape keeps the elements in their order: rows that come one after the other
// stay so. What matters is that the new first dimension is a multiple of theirs.
func reshape(c *call) ([]array, error) {
	x, err := c.data(0)
	if err != nil {
		return nil, err
	}
	if len(c.in) < 2 || c.in[1].ints == nil || c.in[1].axis() >= 0 {
		return nil, errUnknown
	}
	out := array{ranked: true, ints: x.ints}
	open := -1
	for i, e := range c.in[1].ints {
		switch {
		case e.rows == 0 && e.size == 0 && c.int("allowzero", 0) == 0:
			if i >= x.rank() {
				return nil, errUnknown
			}
			e = x.shape[i]
		case e.rows == 0 && e.size == -1:
			open, e = i, openSize
		}
		out.shape = append(out.shape, e)
	}
	if x.axis() < 0 {
		if c.in[1].counts() {
			return nil, errCounts
		}
		return []array{out}, nil
	}
	if x.axis() != 0 || out.rank() == 0 {
		return nil, errAcross
	}
	if slices.ContainsFunc(out.shape[1:], func(e extent) bool { return e.rows != 0 }) {
		return nil, errAcross
	}
	switch rest := product(out.shape[1:]); {
	case out.shape[0].rows != 0: // as many blocks to each row, whoever asks
		if open > 0 {
			out.shape[open] = leftOver(x, out, open)
		}
	case open != 0 || rest <= 0:
		return nil, errAcross
	default:
		// Each row has to be a whole number of new ones, whatever its open sizes.
		known, all := knownPart(x.shape[1:])
		if x.shape[0].rows > 0 {
			known *= x.shape[0].rows
		}
		if known == 0 || known%rest != 0 {
			return nil, errAcross
		}
		out.shape[0] = extent{rows: -1}
		if all && x.shape[0].rows > 0 {
			out.shape[0].rows = known / rest
		}
	}
	out.ints = nil
	return []array{out}, nil
}

// knownPart multiplies the sizes that are known; all tells whether they all are.
func knownPart(es []extent) (n int64, all bool) {
	n, all = 1, true
	for _, e := range es {
		if e.size < 0 || e.rows != 0 || e.size > 1<<20 || n > 1<<40 {
			all = false
			continue
		}
		n *= e.size
	}
	return n, all
}

// leftOver is the size that -1 stands for, if it is known.
func leftOver(x, out array, open int) extent {
	whole := product(x.shape[1:])
	rest := product(slices.Delete(slices.Clone(out.shape[1:]), open-1, open))
	from, to := x.shape[0].rows, out.shape[0].rows
	if whole <= 0 || rest <= 0 || from <= 0 || to <= 0 || whole*from%(rest*to) != 0 {
		return openSize
	}
	return extent{size: whole * from / (rest * to)}
}

func flatten(c *call) ([]array, error) {
	x, err := c.data(0)
	if err != nil {
		return nil, err
	}
	at := int(c.int("axis", 1))
	if at < 0 {
		at += x.rank()
	}
	if at < 0 || at > x.rank() {
		return nil, errUnknown
	}
	out := array{ranked: true, shape: []extent{openSize, openSize}}
	if n := product(x.shape[at:]); n >= 0 {
		out.shape[1].size = n
	}
	if x.axis() < 0 {
		return []array{out}, nil
	}
	if x.axis() != 0 || at == 0 {
		return nil, errAcross
	}
	out.shape[0] = extent{rows: -1}
	if n := product(x.shape[1:at]); n > 0 && x.shape[0].rows > 0 {
		out.shape[0].rows = x.shape[0].rows * n
	}
	return []array{out}, nil
}

func transpose(c *call) ([]array, error) {
	x, err := c.data(0)
	if err != nil {
		return nil, err
	}
	perm, ok := c.ints["perm"]
	if !ok {
		for i := x.rank() - 1; i >= 0; i-- {
			perm = append(perm, int64(i))
		}
	}
	if len(perm) != x.rank() {
		return nil, errUnknown
	}
	out := array{ranked: true}
	for _, p := range perm {
		at, err := place(p, x.rank())
		if err != nil {
			return nil, err
		}
		out.shape = append(out.shape, x.shape[at])
	}
	return []array{out}, nil
}

func squeeze(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	axes, err := c.axes(1, x.rank())
	if err != nil {
		return nil, err
	}
	if len(axes) == 0 { // every size of 1, which all have to be known for
		if x.axis() >= 0 {
			return nil, errAcross // one row alone would lose its dimension
		}
		return nil, errUnknown
	}
	out := array{ranked: true, ints: x.ints}
	for i, e := range x.shape {
		switch {
		case !slices.Contains(axes, i):
			out.shape = append(out.shape, e)
		case e.rows != 0:
			return nil, errAcross
		}
	}
	return []array{out}, nil
}

func unsqueeze(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	count := len(c.node.ints["axes"])
	if count == 0 && len(c.in) > 1 {
		count = len(c.in[1].ints)
	}
	axes, err := c.axes(1, x.rank()+count)
	if err != nil || len(axes) == 0 || count > maxInts {
		return nil, errUnknown
	}
	out := array{ranked: true, ints: x.ints}
	rest := x.shape
	for i := range x.rank() + count {
		if slices.Contains(axes, i) {
			out.shape = append(out.shape, extent{size: 1})
		} else if len(rest) > 0 {
			out.shape, rest = append(out.shape, rest[0]), rest[1:]
		}
	}
	return []array{out}, nil
}

func concat(c *call) ([]array, error) {
	out, err := c.data(0)
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", 0), out.rank())
	if err != nil {
		return nil, err
	}
	rows, lists := out.axis(), true
	sum := extent{}
	var ints []extent
	for i := range c.in {
		v, err := c.data(i)
		if err != nil {
			return nil, err
		}
		if v.axis() != rows || v.rank() != out.rank() || rows >= 0 && v.shape[rows] != out.shape[rows] {
			return nil, errAcross
		}
		lists = lists && v.ints != nil
		ints = append(ints, v.ints...)
		if sum.size += v.shape[at].size; v.shape[at].size < 0 || sum.size < 0 {
			sum.size = unknown
		}
		if v.counts() && v.ints == nil {
			return nil, errCounts
		}
	}
	if rows == at {
		return nil, errAcross
	}
	out = with(out, at, sum)
	if lists {
		out.ints = ints
	} else if slices.ContainsFunc(ints, func(e extent) bool { return e.rows != 0 }) {
		return nil, errCounts
	}
	return []array{out}, nil
}

func split(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", 0), x.rank())
	if err != nil {
		return nil, err
	}
	if at == x.axis() || x.counts() {
		return nil, errAcross
	}
	outs := make([]array, len(c.out))
	for i := range outs {
		outs[i] = with(x, at, openSize)
	}
	return outs, nil
}

func slice(c *call) ([]array, error) {
	x, err := c.only()
	if err != nil {
		return nil, err
	}
	list := func(name string, input int) ([]int64, bool) {
		if v, ok := c.ints[name]; ok {
			return v, true
		}
		if input >= len(c.in) || c.node.in[input] == "" {
			return nil, true
		}
		return c.in[input].numbers()
	}
	axes, ok := list("axes", 3)
	starts, ok1 := list("starts", 1)
	ends, ok2 := list("ends", 2)
	steps, ok3 := list("steps", 4)
	if !ok {
		return nil, errUnknown
	}
	if axes == nil {
		if !ok1 {
			return nil, errUnknown
		}
		for i := range starts {
			axes = append(axes, int64(i))
		}
	}
	out := like(x)
	for _, a := range axes {
		at, err := place(a, x.rank())
		if err != nil {
			return nil, err
		}
		if at == x.axis() {
			return nil, errAcross
		}
		out.shape[at] = openSize
	}
	if x.ints == nil {
		return []array{out}, nil
	}
	if !ok1 || !ok2 || !ok3 || x.rank() != 1 || len(starts) != 1 || len(ends) != 1 || len(steps) == 1 && steps[0] != 1 {
		if x.counts() {
			return nil, errCounts
		}
		return []array{out}, nil
	}
	clamp := func(at int64) int64 {
		if at < 0 {
			at += int64(len(x.ints))
		}
		return min(max(at, 0), int64(len(x.ints)))
	}
	from := clamp(starts[0])
	out.ints = slices.Clone(x.ints[from:max(from, clamp(ends[0]))])
	out.shape[0] = extent{size: int64(len(out.ints))}
	return []array{out}, nil
}

// gather looks rows up in a constant, or elements up in each row.
func gather(c *call) ([]array, error) {
	x, index, err := c.both()
	if err != nil {
		return nil, err
	}
	at, err := place(c.int("axis", 0), x.rank())
	if err != nil {
		return nil, err
	}
	if x.axis() >= 0 && index.axis() >= 0 || x.axis() == at || index.counts() {
		return nil, errAcross
	}
	out := array{ranked: true}
	out.shape = slices.Concat(x.shape[:at], index.shape, x.shape[at+1:])
	if x.ints == nil {
		return []array{out}, nil
	}
	numbers, ok := index.numbers()
	if !ok {
		if x.counts() {
			return nil, errCounts
		}
		return []array{out}, nil
	}
	for _, n := range numbers {
		p, err := place(n, len(x.ints))
		if err != nil {
			return nil, err
		}
		out.ints = append(out.ints, x.ints[p])
	}
	return []array{out}, nil
}

func expand(c *call) ([]array, error) {
	x, err := c.data(0)
	if err != nil {
		return nil, err
	}
	if len(c.in) < 2 || c.in[1].ints == nil || c.in[1].axis() >= 0 || x.counts() {
		return nil, errUnknown
	}
	out, err := broadcast([]array{like(x), {ranked: true, shape: c.in[1].ints}})
	return []array{out}, err
}

// constantOfShape gives as many equal rows as there are.
func constantOfShape(c *call) ([]array, error) {
	if len(c.in) < 1 || c.in[0].ints == nil || c.in[0].axis() >= 0 {
		return nil, errUnknown
	}
	out, err := broadcast([]array{{ranked: true, shape: c.in[0].ints}})
	return []array{out}, err
}
