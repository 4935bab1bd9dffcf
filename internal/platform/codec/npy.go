package codec

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

const npyMagic = "\x93NUMPY"

// npyArray is what an .npy header says.
type npyArray struct {
	descr   string // as NumPy writes it: <f4
	fortran bool
	shape   []int64
	data    []byte
}

// decodeNPY reads one array, as numpy.save writes it, into the single input.
// Fractions and whole numbers of another width are converted if they fit.
func decodeNPY(body []byte, g *tensor.Signature) (Request, error) {
	r := Request{Form: NPY}
	s, err := g.Only("application/x-npy")
	if err != nil {
		return r, err
	}
	a, err := parseNPY(body)
	if err != nil {
		return r, err
	}
	in, err := a.tensor(s)
	r.Inputs = []tensor.Tensor{in}
	return r, err
}

func badNPY(why string) error {
	return fault.New(fault.Invalid, "the body is not an .npy array: %s", why)
}

func parseNPY(body []byte) (npyArray, error) {
	var a npyArray
	if len(body) < 12 || string(body[:6]) != npyMagic {
		return a, badNPY("it does not begin as one")
	}
	size, rest := int(binary.LittleEndian.Uint16(body[8:])), body[10:]
	switch body[6] {
	case 1:
	case 2, 3:
		size, rest = int(binary.LittleEndian.Uint32(body[8:])), body[12:]
	default:
		return a, badNPY("its version is not 1, 2 or 3")
	}
	if size > len(rest) || size > 64<<10 {
		return a, badNPY("its header is cut off")
	}
	a.data = rest[size:]
	return a, a.parseHeader(string(rest[:size]))
}

// parseHeader reads the Python dictionary of three known keys.
func (a *npyArray) parseHeader(h string) error {
	value := func(key string) (string, bool) {
		_, after, ok := strings.Cut(h, "'"+key+"':")
		return strings.TrimLeft(after, " "), ok
	}
	descr, ok1 := value("descr")
	order, ok2 := value("fortran_order")
	shape, ok3 := value("shape")
	if !ok1 || !ok2 || !ok3 || len(descr) < 2 || descr[0] != '\'' || shape == "" || shape[0] != '(' {
		return badNPY("its header lacks descr, fortran_order or shape of a plain array")
	}
	var ok bool
	if a.descr, _, ok = strings.Cut(descr[1:], "'"); !ok {
		return badNPY("its descr is cut off")
	}
	a.fortran = strings.HasPrefix(order, "True")
	inner, _, ok := strings.Cut(shape[1:], ")")
	if !ok {
		return badNPY("its shape is cut off")
	}
	a.shape = []int64{}
	for d := range strings.SplitSeq(inner, ",") {
		if d = strings.TrimSpace(d); d == "" {
			continue
		}
		n, err := strconv.ParseInt(d, 10, 64)
		if err != nil || n < 0 || len(a.shape) == tensor.MaxRank {
			return badNPY("its shape is not up to 16 sizes")
		}
		a.shape = append(a.shape, n)
	}
	return nil
}

// tensor makes the array the input s.
func (a *npyArray) tensor(s *tensor.Spec) (tensor.Tensor, error) {
	if len(a.descr) < 3 {
		return tensor.Tensor{}, badNPY("its element type is unknown")
	}
	size, err := strconv.Atoi(a.descr[2:])
	kind := a.descr[1]
	if kind == 'U' {
		size *= 4
	}
	if err != nil || size <= 0 || size > 1<<20 {
		return tensor.Tensor{}, badNPY("its elements have no size")
	}
	n, ok := tensor.Elements(a.shape, int64(len(a.data)/size))
	if !ok || n*int64(size) != int64(len(a.data)) {
		return tensor.Tensor{}, fault.New(fault.Invalid,
			"input %q: the array says shape %s of %.8q, but %d bytes follow",
			s.Name, tensor.ShapeString(a.shape), a.descr, len(a.data))
	}
	data := a.data
	if a.fortran && len(a.shape) > 1 && n > 0 {
		data = rowMajor(data, a.shape, size)
	} else {
		data = bytes.Clone(data)
	}
	if a.descr[0] == '>' && kind != 'S' {
		width := size
		if kind == 'U' {
			width = 4
		}
		swap(data, width)
	}
	t := tensor.Tensor{Name: s.Name, Type: s.Type, Shape: a.shape}
	if kind == 'U' || kind == 'S' {
		if s.Type != tensor.String {
			return t, s.Mismatch(tensor.ShapeString(a.shape) + " of strings")
		}
		t.Strings = npyStrings(data, size, kind, int(n))
		return t, nil
	}
	from := npyType(kind, size)
	if from == tensor.Invalid || from.Float() && !s.Type.Float() || s.Type == tensor.String ||
		(from == tensor.Bool) != (s.Type == tensor.Bool) {
		return t, s.Mismatch(tensor.ShapeString(a.shape) + " of " + strconv.Quote(a.descr[:min(8, len(a.descr))]))
	}
	normalizeBools(from, data)
	if from == s.Type {
		t.Data = data
		return t, nil
	}
	return convert(tensor.Tensor{Name: s.Name, Type: from, Shape: a.shape, Data: data}, s, int(n))
}

func npyType(kind byte, size int) tensor.Type {
	for t := tensor.Bool; t < tensor.String; t++ {
		if d := t.NPY(); d[1] == kind && t.Size() == size {
			return t
		}
	}
	return tensor.Invalid
}

// convert changes the width of numbers, or makes whole numbers fractions.
func convert(t tensor.Tensor, s *tensor.Spec, n int) (tensor.Tensor, error) {
	b := tensor.NewBuilder(s.Type, n)
	for i := range n {
		switch {
		case t.Type.Float():
			b.AppendFloat(t.Float(i))
		case t.Type == tensor.Uint64 && t.Int(i) < 0:
			return t,
				fault.New(fault.Invalid,
					"input %q: expected shape %s, but element %d is out of range", s.Name, s.String(), i)
		case s.Type.Float():
			b.AppendFloat(float64(t.Int(i)))
		default:
			if err := b.AppendInt(t.Int(i)); err != nil {
				return t,
					fault.New(fault.Invalid,
						"input %q: expected shape %s, but element %d %s", s.Name, s.String(), i, err.Error())
			}
		}
	}
	return b.Tensor(s.Name, t.Shape), nil
}

// rowMajor reorders column-major elements of size bytes each.
func rowMajor(data []byte, shape []int64, size int) []byte {
	out := make([]byte, 0, len(data))
	index := make([]int64, len(shape))
	stride := make([]int, len(shape))
	for i, at := 0, size; i < len(shape); i++ {
		stride[i] = at
		at *= int(shape[i])
	}
	for at := 0; ; {
		out = append(out, data[at:at+size]...)
		d := len(shape) - 1
		for ; d >= 0; d-- {
			index[d]++
			at += stride[d]
			if index[d] < shape[d] {
				break
			}
			at -= stride[d] * int(index[d])
			index[d] = 0
		}
		if d < 0 {
			return out
		}
	}
}

func swap(data []byte, width int) {
	for i := 0; i+width <= len(data); i += width {
		for a, b := i, i+width-1; a < b; a, b = a+1, b-1 {
			data[a], data[b] = data[b], data[a]
		}
	}
}

// npyStrings reads fixed-width strings, padded with NULs: bytes (S) or UTF-32 (U).
func npyStrings(data []byte, size int, kind byte, n int) []string {
	out := make([]string, n)
	var b strings.Builder
	for i := range out {
		cell := data[i*size : (i+1)*size]
		if kind == 'S' {
			out[i] = string(bytes.TrimRight(cell, "\x00"))
			continue
		}
		b.Reset()
		for ; len(cell) > 0; cell = cell[4:] {
			if r := binary.LittleEndian.Uint32(cell); r != 0 && r <= math.MaxInt32 {
				b.WriteRune(rune(r))
			}
		}
		out[i] = b.String()
	}
	return out
}

// appendNPY writes one output as numpy.load reads it.
func appendNPY(dst []byte, t *tensor.Tensor) ([]byte, error) {
	if t.Type == tensor.String {
		return dst, fault.New(fault.Unsupported, "output %q holds strings; accept application/json", t.Name)
	}
	h := []byte("{'descr': '" + t.Type.NPY() + "', 'fortran_order': False, 'shape': (")
	for _, d := range t.Shape {
		h = strconv.AppendInt(h, d, 10)
		h = append(h, ',')
	}
	h = append(h, "), }"...)
	for (10+len(h)+1)%64 != 0 {
		h = append(h, ' ')
	}
	h = append(h, '\n')
	dst = append(dst, npyMagic+"\x01\x00"...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(h)))
	return append(append(dst, h...), t.Data...), nil
}
