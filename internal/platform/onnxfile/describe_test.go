package onnxfile_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// message writes length-delimited fields.
func message(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), slices.Concat(parts...))
}

func number(num protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), n)
}

func entry(key, value string) []byte {
	return message(13, message(1, []byte(key)), message(2, []byte(value)))
}

// within puts a tensor into an attribute of a node of a graph inside a node.
func within(tensor []byte) []byte {
	inner := message(1, message(5, message(5, tensor)))
	return message(1, message(5, message(6, inner)))
}

func TestADescriptionFindsDataInOtherFilesWhereverItHides(t *testing.T) {
	model := identity(ox.Value{Name: "x", Type: ox.Float, Dims: []any{"n", 3}},
		ox.Value{Name: "y", Type: ox.Float}).Marshal()
	d, err := onnxfile.Describe(model)
	if err != nil || d.IRVersion == 0 || d.Opset == 0 || len(d.External) != 0 || d.Signature.Inputs[0].Name != "x" {
		t.Fatalf("%+v, %v", d, err)
	}
	outside := slices.Concat(entry("location", "weights.bin"), entry("offset", "4096"), entry("length", "12"),
		number(14, 1))
	for name, c := range map[string]struct {
		field []byte
		want  int
	}{
		"an initializer":        {message(7, message(5, outside)), 1},
		"a sparse initializer":  {message(7, message(15, message(1, outside), message(2, outside))), 2},
		"a graph in a node":     {message(7, within(outside)), 1},
		"a function's node":     {message(25, message(7, message(5, message(5, outside)))), 1},
		"data that is not used": {message(7, message(5, entry("location", "weights.bin"))), 0},
	} {
		// Fields of a message may come again: repeated ones add up, and Describe
		// looks into every graph.
		d, err := onnxfile.Describe(slices.Concat(c.field, model))
		if err != nil || len(d.External) != c.want {
			t.Errorf("%s: %+v, %v", name, d.External, err)
			continue
		}
		if c.want > 0 && d.External[0] != (onnxfile.External{Location: "weights.bin", Offset: 4096, Length: 12}) {
			t.Errorf("%s: %+v", name, d.External)
		}
	}
}

func TestADescriptionRefusesWhatMakesNoSense(t *testing.T) {
	model := identity(ox.Value{Name: "x", Type: ox.Float, Dims: []any{1}},
		ox.Value{Name: "y", Type: ox.Float}).Marshal()
	deep := []byte{}
	for range 100 {
		deep = message(1, message(5, message(6, deep)))
	}
	for name, field := range map[string][]byte{
		"no file":             message(7, message(5, number(14, 1))),
		"a negative offset":   message(7, message(5, entry("offset", "-1"))),
		"graphs without end":  message(7, deep),
		"a cut-off attribute": message(7, message(1, message(5, []byte{0x2a, 0x7f}))),
	} {
		if d, err := onnxfile.Describe(slices.Concat(field, model)); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(identity(ox.Value{Name: "x", Type: ox.Float, Dims: []any{1}}, ox.Value{Name: "y", Type: ox.Float}).Marshal())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = onnxfile.Describe(b) // it must come back
	})
}
