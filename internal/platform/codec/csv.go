package codec

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// decodeCSV reads rows without a header into the single input of a model. A
// row holds the elements of all dimensions beyond the first.
func decodeCSV(body []byte, g *tensor.Signature) (Request, error) {
	r := Request{Form: CSV}
	s, err := g.Only("text/csv")
	if err != nil {
		return r, err
	}
	t := table{spec: s, build: tensor.NewBuilder(s.Type, len(body)/2+1)}
	if bytes.IndexByte(body, '"') >= 0 {
		err = t.quoted(body)
	} else {
		err = t.plain(body)
	}
	if err != nil {
		return r, err
	}
	in, err := t.tensor()
	r.Inputs = []tensor.Tensor{in}
	return r, err
}

type table struct {
	spec    *tensor.Spec
	build   *tensor.Builder
	rows    int64
	columns int64 // of the first row
}

// plain reads rows none of which has quotes.
func (t *table) plain(body []byte) error {
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(line) == 0 {
			continue
		}
		column := int64(0)
		for more := true; more; column++ {
			var field []byte
			field, line, more = bytes.Cut(line, []byte{','})
			if err := t.field(field, column); err != nil {
				return err
			}
		}
		if err := t.endRow(column); err != nil {
			return err
		}
	}
	return nil
}

// quoted reads rows by the full rules of CSV.
func (t *table) quoted(body []byte) error {
	rd := csv.NewReader(bytes.NewReader(body))
	rd.FieldsPerRecord, rd.ReuseRecord = -1, true
	for {
		record, err := rd.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.New(fault.Invalid, "the CSV is malformed at row %d", t.rows+1).Because(err)
		}
		for i, f := range record {
			if err := t.field([]byte(f), int64(i)); err != nil {
				return err
			}
		}
		if err := t.endRow(int64(len(record))); err != nil {
			return err
		}
	}
}

func (t *table) field(field []byte, column int64) error {
	if t.build.Type() != tensor.String {
		field = bytes.TrimSpace(field)
	}
	if err := t.build.AppendText(field); err != nil {
		hint := ""
		if t.rows == 0 && errors.Is(err, tensor.ErrNotANumber) {
			hint = " (rows come without a header)"
		}
		return fault.New(fault.Invalid, "input %q: row %d, column %d: %q %s%s",
			t.spec.Name, t.rows+1, column+1, field[:min(len(field), 40)], err.Error(), hint)
	}
	return nil
}

func (t *table) endRow(columns int64) error {
	if t.rows == 0 {
		t.columns = columns
	} else if t.columns != columns {
		return fault.New(fault.Invalid, "input %q: expected shape %s, but row %d has %d columns and row 1 has %d",
			t.spec.Name, t.spec.String(), t.rows+1, columns, t.columns)
	}
	t.rows++
	return nil
}

// tensor gives the rows the shape of the input, if their length allows it; if
// not, Check will say what was expected and what came.
func (t *table) tensor() (tensor.Tensor, error) {
	s := t.spec
	if t.rows == 0 {
		return tensor.Tensor{}, fault.New(fault.Invalid, "input %q: expected shape %s, got no rows", s.Name, s.String())
	}
	shape := []int64{t.rows, t.columns}
	if s.Ranked && len(s.Shape) == 1 {
		if t.columns == 1 {
			shape = shape[:1]
		} else if t.rows == 1 {
			shape = shape[1:]
		}
	}
	if width, ok := s.RowWidth(); ok && len(s.Shape) > 2 && width == t.columns {
		shape = shape[:1]
		for _, d := range s.Shape[1:] {
			shape = append(shape, d.Size)
		}
	}
	return t.build.Tensor(s.Name, shape), nil
}

// appendCSV writes a line for each row, with the elements of every output.
func appendCSV(dst []byte, outs []tensor.Tensor) ([]byte, error) {
	rows, ok := commonRows(outs)
	if !ok {
		return dst,
			fault.New(fault.Unsupported,
				"the outputs do not share their first dimension, so they are no table; accept application/json")
	}
	for r := range rows {
		for o := range outs {
			width := outs[o].Len() / rows
			for i := range width {
				if o+i > 0 {
					dst = append(dst, ',')
				}
				dst = appendField(dst, &outs[o], r*width+i)
			}
		}
		dst = append(dst, '\n')
	}
	return dst, nil
}

func appendField(dst []byte, t *tensor.Tensor, i int) []byte {
	if t.Type == tensor.String && strings.ContainsAny(t.Strings[i], ",\"\r\n") {
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(t.Strings[i], `"`, `""`)...)
		return append(dst, '"')
	}
	return t.AppendElement(dst, i)
}

// commonRows returns the first dimension if all outputs share it. Outputs
// without dimensions are one row.
func commonRows(outs []tensor.Tensor) (int, bool) {
	rows := -1
	for i := range outs {
		n := 1
		if len(outs[i].Shape) > 0 {
			n = int(outs[i].Shape[0])
		}
		if rows >= 0 && rows != n {
			return 0, false
		}
		rows = n
	}
	return rows, rows >= 0
}
