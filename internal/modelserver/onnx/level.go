package onnx

// Level is how far Optimize may go.
type Level string

// The levels.
const (
	Basic    Level = "basic"
	Extended Level = "extended"
	All      Level = "all"
)
