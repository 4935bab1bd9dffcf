// Package tensor holds the values that a model takes and gives: typed arrays
// with a shape, and the specification an array must meet. Reading and writing
// them in a media type is codec's job; computing with them is the model's.
package tensor

import "strconv"

// Type is the element type of a tensor.
type Type uint8

// The element types that can be served. Invalid is the zero Type.
const (
	Invalid Type = iota
	Bool
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float16
	Float32
	Float64
	String
)

// facts says how each family of formats names a type, and its size in bytes
// (0 for String, whose elements vary).
var facts = [...]struct {
	onnx, oip, npy string
	onnxCode       int32 // TensorProto.DataType
	size           int
}{
	Invalid: {"UNDEFINED", "", "", 0, 0},
	Bool:    {"BOOL", "BOOL", "|b1", 9, 1},
	Int8:    {"INT8", "INT8", "|i1", 3, 1},
	Int16:   {"INT16", "INT16", "<i2", 5, 2},
	Int32:   {"INT32", "INT32", "<i4", 6, 4},
	Int64:   {"INT64", "INT64", "<i8", 7, 8},
	Uint8:   {"UINT8", "UINT8", "|u1", 2, 1},
	Uint16:  {"UINT16", "UINT16", "<u2", 4, 2},
	Uint32:  {"UINT32", "UINT32", "<u4", 12, 4},
	Uint64:  {"UINT64", "UINT64", "<u8", 13, 8},
	Float16: {"FLOAT16", "FP16", "<f2", 10, 2},
	Float32: {"FLOAT", "FP32", "<f4", 1, 4},
	Float64: {"DOUBLE", "FP64", "<f8", 11, 8},
	String:  {"STRING", "BYTES", "", 8, 0},
}

// String returns the name that ONNX gives the type.
func (t Type) String() string { return facts[t].onnx }

// OIP returns the name that the Open Inference Protocol gives the type.
func (t Type) OIP() string { return facts[t].oip }

// NPY returns NumPy's type descriptor in little-endian order, "" for String.
func (t Type) NPY() string { return facts[t].npy }

// Code returns ONNX's number for the type (TensorProto.DataType).
func (t Type) Code() int32 { return facts[t].onnxCode }

// Size returns the bytes of one element, 0 for String.
func (t Type) Size() int { return facts[t].size }

// Float tells whether the type holds fractions.
func (t Type) Float() bool { return t == Float16 || t == Float32 || t == Float64 }

// FromCode returns the type that ONNX numbers code, or Invalid.
func FromCode(code int32) Type {
	for t := Bool; t <= String; t++ {
		if facts[t].onnxCode == code {
			return t
		}
	}
	return Invalid
}

// others names the element types of ONNX that are not served.
var others = map[int32]string{
	14: "COMPLEX64", 15: "COMPLEX128", 16: "BFLOAT16", 17: "FLOAT8E4M3FN", 18: "FLOAT8E4M3FNUZ", 19: "FLOAT8E5M2",
	20: "FLOAT8E5M2FNUZ", 21: "UINT4", 22: "INT4", 23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2", 26: "INT2",
}

// TypeName returns the name that ONNX gives the type that it numbers code,
// whether it is served or not.
func TypeName(code int32) string {
	if name, ok := others[code]; ok {
		return name
	}
	if t := FromCode(code); t != Invalid {
		return t.String()
	}
	return strconv.Itoa(int(code))
}

// FromOIP returns the type that the Open Inference Protocol calls name, or
// Invalid.
func FromOIP(name string) Type {
	for t := Bool; t <= String; t++ {
		if facts[t].oip == name {
			return t
		}
	}
	return Invalid
}
