package codec

import (
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// decodeRaw takes the body as the elements of the single input, little-endian
// and in row-major order. The one dimension that the graph leaves open follows
// from the length.
func decodeRaw(body []byte, g *tensor.Signature) (Request, error) {
	r := Request{Form: Raw}
	s, err := g.Only("application/octet-stream")
	if err != nil {
		return r, err
	}
	if s.Type == tensor.String {
		return r,
			fault.New(fault.Invalid,
				"input %q holds strings, which raw bytes cannot carry; send application/json", s.Name)
	}
	if !s.Ranked {
		return r,
			fault.New(fault.Invalid,
				"input %q has no shape in the graph, so raw bytes do not say theirs; send application/json or "+
					"application/x-npy", s.Name)
	}
	shape, open, known := make([]int64, len(s.Shape)), -1, int64(s.Type.Size())
	for i, d := range s.Shape {
		shape[i] = d.Size
		switch {
		case d.Size < 0 && open >= 0:
			return r,
				fault.New(fault.Invalid,
					"input %q has several open dimensions, %s, so raw bytes do not say its shape; send "+
						"application/json or application/x-npy", s.Name, s.String())
		case d.Size < 0:
			open = i
		case d.Size > 0 && known > (1<<40)/d.Size:
			return r, s.Mismatch(byteCount(len(body)))
		default:
			known *= d.Size
		}
	}
	size := int64(len(body))
	switch {
	case open >= 0 && known > 0 && size > 0 && size%known == 0:
		shape[open] = size / known
	case open >= 0 || size != known:
		return r, s.Mismatch(byteCount(len(body)))
	}
	data := append([]byte(nil), body...)
	normalizeBools(s.Type, data)
	r.Inputs = []tensor.Tensor{{Name: s.Name, Type: s.Type, Shape: shape, Data: data}}
	return r, nil
}
