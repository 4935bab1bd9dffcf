//go:build cgo

package onnx

// #include <stdlib.h>
// #include "ort.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// failure turns the text that a call of the library gave, or nil, into an error.
func failure(text *C.char) error {
	if text == nil {
		return nil
	}
	defer C.ort_free_text(text)
	return errors.New(plainly(C.GoString(text)))
}

// toValue lends the elements to the library: they are pinned, and have to stay
// unchanged until the value is released. Strings are copied.
func toValue(t *tensor.Tensor, pins *runtime.Pinner) (v *C.OrtValue, err error) {
	shape := make([]C.int64_t, len(t.Shape)+1) // so that there is a first
	for i, d := range t.Shape {
		shape[i] = C.int64_t(d)
	}
	rank := C.size_t(len(t.Shape))
	if t.Type == tensor.String {
		return fromStrings(t.Strings, &shape[0], rank)
	}
	var data unsafe.Pointer
	if len(t.Data) > 0 {
		data = unsafe.Pointer(unsafe.SliceData(t.Data))
		pins.Pin(data)
	}
	err = failure(C.ort_tensor(data, C.size_t(len(t.Data)), &shape[0], rank, C.int(t.Type.Code()), &v))
	return v, err
}

func fromStrings(strings []string, shape *C.int64_t, rank C.size_t) (v *C.OrtValue, err error) {
	n := len(strings)
	list := (**C.char)(C.calloc(C.size_t(n+1), C.size_t(unsafe.Sizeof((*C.char)(nil)))))
	defer C.free(unsafe.Pointer(list))
	texts := unsafe.Slice(list, n+1)
	defer func() {
		for _, t := range texts {
			C.free(unsafe.Pointer(t))
		}
	}()
	for i, s := range strings {
		texts[i] = C.CString(s)
	}
	err = failure(C.ort_strings(list, C.size_t(n), shape, rank, &v))
	return v, err
}

// fromValue copies an output into Go memory, which outlives the value.
func fromValue(v *C.OrtValue) (tensor.Tensor, error) {
	var d C.struct_ort_description
	if err := failure(C.ort_describe(v, &d)); err != nil {
		return tensor.Tensor{}, err
	}
	switch d.kind {
	case C.kind_tensor:
		return fromTensor(v, &d)
	case C.kind_sequence:
		return fromMaps(v, int(d.count))
	case 0:
		return tensor.Tensor{}, errors.New("the model gave nothing for it")
	}
	return tensor.Tensor{}, errors.New("it is neither a tensor nor a list of maps")
}

func fromTensor(v *C.OrtValue, d *C.struct_ort_description) (tensor.Tensor, error) {
	t := tensor.Tensor{Type: tensor.FromCode(int32(d._type)), Shape: make([]int64, d.rank)}
	for i := range t.Shape {
		t.Shape[i] = int64(d.shape[i])
	}
	n := int(d.count)
	switch {
	case t.Type == tensor.Invalid:
		return t, fmt.Errorf("it has element type %s, which is not served", tensor.TypeName(int32(d._type)))
	case t.Type == tensor.String:
		var err error
		t.Strings, err = texts(v, n, int(d.text))
		return t, err
	case n > 0:
		t.Data = append([]byte(nil), unsafe.Slice((*byte)(d.data), n*t.Type.Size())...)
	}
	return t, nil
}

func texts(v *C.OrtValue, n, size int) ([]string, error) {
	out := make([]string, n)
	if n == 0 || size == 0 {
		return out, nil
	}
	all, ends := make([]byte, size), make([]C.size_t, n)
	err := failure(C.ort_texts(v, unsafe.Pointer(&all[0]), C.size_t(size), &ends[0], C.size_t(n)))
	if err != nil {
		return nil, err
	}
	for i := range out {
		end := size
		if i+1 < n {
			end = int(ends[i+1])
		}
		out[i] = string(all[ends[i]:end])
	}
	return out, nil
}

// fromMaps turns a list of maps from class to number into a table whose
// columns are the classes. Every map has the same classes: ZipMap takes them
// from its attributes.
func fromMaps(v *C.OrtValue, rows int) (tensor.Tensor, error) {
	t := tensor.Tensor{Type: tensor.Float32, Shape: []int64{int64(rows), 0}}
	for i := range rows {
		keys, numbers, err := fromMap(v, i)
		if err != nil {
			return t, err
		}
		if i == 0 {
			t.Keys = keys
			t.Shape[1] = int64(len(keys))
		}
		if numbers.Type != tensor.Float32 || len(keys) != len(t.Keys) || numbers.Len() != len(keys) {
			return t, errors.New("the maps of the sequence differ in their classes")
		}
		t.Data = append(t.Data, numbers.Data...)
	}
	return t, nil
}

// fromMap reads map i of a sequence.
func fromMap(seq *C.OrtValue, i int) (keys []string, numbers tensor.Tensor, err error) {
	m, err := element(seq, i)
	if err != nil {
		return nil, numbers, err
	}
	defer C.ort_release(m)
	var d C.struct_ort_description
	if err := failure(C.ort_describe(m, &d)); err != nil {
		return nil, numbers, err
	}
	if d.kind != C.kind_map {
		return nil, numbers, errors.New("it is a sequence, but not of maps")
	}
	classes, err := part(m, 0)
	if err != nil {
		return nil, numbers, err
	}
	if numbers, err = part(m, 1); err != nil {
		return nil, numbers, err
	}
	switch classes.Type {
	case tensor.String:
		return classes.Strings, numbers, nil
	case tensor.Int64:
		for k := range classes.Len() {
			keys = append(keys, strconv.FormatInt(classes.Int(k), 10))
		}
		return keys, numbers, nil
	}
	return nil, numbers, errors.New("the maps have keys of a kind that is not served")
}

// part copies the keys of a map, or its values.
func part(m *C.OrtValue, i int) (tensor.Tensor, error) {
	v, err := element(m, i)
	if err != nil {
		return tensor.Tensor{}, err
	}
	defer C.ort_release(v)
	return fromValue(v)
}

func element(of *C.OrtValue, i int) (v *C.OrtValue, err error) {
	err = failure(C.ort_element(of, C.int(i), &v))
	return v, err
}
