package modelserver

import (
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// mergeable returns how many of the first jobs may run together: their rows
// have the same shapes, and are at most limit. The first always may; one without
// rows runs alone: what a model makes of nothing is its own.
func mergeable(jobs []*job, limit int) int {
	rows := int64(0)
	for i, j := range jobs {
		n := j.in[0].Shape[0]
		rows += n
		if i > 0 && (n == 0 || rows == n || rows > int64(limit) || !sameRows(jobs[0].in, j.in)) {
			return i
		}
	}
	return len(jobs)
}

// sameRows tells whether rows of a and b have the same shapes.
func sameRows(a, b []tensor.Tensor) bool {
	for i := range a {
		if !slices.Equal(a[i].Shape[1:], b[i].Shape[1:]) {
			return false
		}
	}
	return true
}

// merged puts the rows of the jobs one below the other.
func merged(jobs []*job) (in []tensor.Tensor, rows int) {
	in = slices.Clone(jobs[0].in)
	for i := range in {
		t := &in[i]
		size, texts := 0, 0
		for _, j := range jobs {
			size += len(j.in[i].Data)
			texts += len(j.in[i].Strings)
		}
		t.Shape, t.Data, t.Strings = slices.Clone(t.Shape), make([]byte, 0, size), make([]string, 0, texts)
		t.Shape[0] = 0
		for _, j := range jobs {
			t.Shape[0] += j.in[i].Shape[0]
			t.Data = append(t.Data, j.in[i].Data...)
			t.Strings = append(t.Strings, j.in[i].Strings...)
		}
	}
	return in, int(in[0].Shape[0])
}

// part returns n rows of every tensor from row at on.
func part(ts []tensor.Tensor, at, n int) []tensor.Tensor {
	out := slices.Clone(ts)
	for i := range out {
		t := &out[i]
		_, width, _ := t.Rows()
		t.Shape = slices.Clone(t.Shape)
		t.Shape[0] = int64(n)
		if t.Type == tensor.String {
			t.Strings = t.Strings[at*width : (at+n)*width]
		} else {
			size := width * t.Type.Size()
			t.Data = t.Data[at*size : (at+n)*size]
		}
	}
	return out
}
