package model

import "github.com/slipway-ml/slipway/internal/domain/tensor"

// Word returns the name of t in package manifests and captured data: the
// DataType names of the Edge Manager contract (spec §7.1), and for the types
// that it lacks names in the same manner.
func Word(t tensor.Type) string {
	switch t {
	case tensor.Float32:
		return "FLOAT32"
	case tensor.Float64:
		return "FLOAT64"
	}
	return t.String()
}

// FromWord returns the type that Word calls w, or tensor.Invalid.
func FromWord(w string) tensor.Type {
	for t := tensor.Bool; t <= tensor.String; t++ {
		if Word(t) == w {
			return t
		}
	}
	return tensor.Invalid
}
