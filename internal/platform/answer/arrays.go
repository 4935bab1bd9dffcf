package answer

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

func (a *Answer) readCSV(body []byte, sel Selector) error {
	if sel.Format != Whole && sel.Format != CSV {
		return errOtherForm
	}
	rd := csv.NewReader(bytes.NewReader(body))
	rd.FieldsPerRecord, rd.ReuseRecord = -1, true
	for row := 0; ; row++ {
		record, err := rd.Read()
		if errors.Is(err, io.EOF) {
			return a.found(sel)
		}
		if err != nil {
			return failure("it is not CSV")
		}
		for column, field := range record {
			if sel.Format == CSV && column != sel.Column {
				continue
			}
			if err := a.putField(element(element(0, row), column), field); err != nil {
				return err
			}
		}
	}
}

// putField adds a field of a table: a number if it reads as one.
func (a *Answer) putField(at uint64, field string) error {
	trimmed := strings.TrimSpace(field)
	if trimmed == "" {
		return a.put(leaf{place: at, kind: null})
	}
	if _, err := strconv.ParseFloat(trimmed, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return a.put(numeral(at, []byte(trimmed)))
	}
	return a.putText(at, strings.Clone(field)) // the record is used again
}

func (a *Answer) readNPY(body []byte, sel Selector) error {
	if sel.Format != Whole && sel.Format != Array {
		return errOtherForm
	}
	t, err := codec.DecodeArray(body)
	if err != nil {
		return failure("it is not a NumPy array of plain elements")
	}
	t.Name = sel.Name // an array has none
	return a.readTensors([]tensor.Tensor{t}, sel.Name)
}

// readBinaryOIP reads an answer of the Open Inference Protocol whose first bytes
// are JSON. Reading changes truth values, so that it gets a body of its own.
func (a *Answer) readBinaryOIP(body []byte, jsonSize string, sel Selector) error {
	if sel.Format != Whole && sel.Format != Array {
		return errOtherForm
	}
	n, ok := place(jsonSize)
	if !ok {
		return failure("it does not say how much of it is JSON")
	}
	tensors, err := codec.DecodeOIPAnswer(bytes.Clone(body), n)
	if err != nil {
		return failure("it is not an answer of the Open Inference Protocol")
	}
	return a.readTensors(tensors, sel.Name)
}

func (a *Answer) readRaw(body []byte, sel Selector) error {
	size := sel.Element.Size()
	if len(body)%size != 0 || len(body) == 0 {
		return failure("it is not a whole number of elements")
	}
	t := tensor.Tensor{Type: sel.Element, Shape: []int64{int64(len(body) / size)}, Data: body}
	return a.readTensors([]tensor.Tensor{t}, "")
}

// readTensors adds the elements of the tensor of that name, or of all.
func (a *Answer) readTensors(tensors []tensor.Tensor, name string) error {
	a.Reading = AsValues
	found := false
	for i := range tensors {
		t := &tensors[i]
		if name != "" && t.Name != name {
			continue
		}
		found = true
		if err := a.putTensor(t); err != nil {
			return err
		}
	}
	if !found {
		return errNothing
	}
	return nil
}

// putTensor adds the elements of a tensor. Its shape is part of their places: two
// arrays with the same elements in other shapes differ throughout.
func (a *Answer) putTensor(t *tensor.Tensor) error {
	if t.Len() > MaxValues {
		return errTooMany
	}
	at := member(0, t.Name)
	if !a.selected {
		at = member(at, tensor.ShapeString(t.Shape))
	}
	for i := range t.Len() {
		var err error
		switch p := element(at, i); {
		case t.Type == tensor.String:
			err = a.putText(p, t.Strings[i])
		case t.Type == tensor.Bool:
			err = a.put(leaf{place: p, kind: truth, num: float64(min(t.Data[i], 1))})
		case t.Type.Float():
			err = a.putNumber(p, t.Float(i))
		default:
			err = a.put(numeral(p, t.AppendElement(nil, i)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
