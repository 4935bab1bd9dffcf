package codec

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// npy builds what numpy.save writes.
func npy(descr, fortran, shape, data string) string {
	h := "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }"
	h += strings.Repeat(" ", 63-(10+len(h))%64) + "\n"
	return npyMagic + "\x01\x00" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(h)))) + h + data
}

func doubles(fs ...float64) string {
	var b []byte
	for _, f := range fs {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
	}
	return string(b)
}

func TestNumPyArraysBecomeTheInput(t *testing.T) {
	const (
		media  = "application/x-npy"
		notNPY = "error: the body is not an .npy array: "
	)
	six := string(floatBytes(1, 2, 3, 4, 5, 6))
	run(t, map[string]decodeCase{
		"as it is":             {table2, media, npy("<f4", "False", "(3, 2)", six), "x[3, 2]: 1 2 3 4 5 6"},
		"column-major":         {table2, media, npy("<f4", "True", "(3, 2)", six), "x[3, 2]: 1 4 2 5 3 6"},
		"doubles are narrowed": {table2, media, npy("<f8", "False", "(1, 2)", doubles(0.5, -3)), "x[1, 2]: 0.5 -3"},
		"big-endian":           {vector, media, npy(">i2", "False", "(2,)", "\x01\x00\xff\xff"), "v[2]: 256 -1"},
		"bytes are widened":    {table2, media, npy("|u1", "False", "(1, 2)", "\x07\xff"), "x[1, 2]: 7 255"},
		"truth values":         {flags, media, npy("|b1", "False", "(1, 2)", "\x01\x00"), "f[1, 2]: true false"},
		"four dimensions": {
			image2x2, media, npy("|u1", "True", "(2, 1, 2, 2)", "\x01\x02\x03\x04\x05\x06\x07\x08"),
			"x[2, 1, 2, 2]: 1 5 3 7 2 6 4 8",
		},
		"UTF-32 strings": {
			texts, media, npy("<U2", "False", "(1, 1)", "a\x00\x00\x00\xe9\x00\x00\x00"), "s[1, 1]: aé",
		},
		"byte strings": {texts, media, npy("|S3", "False", "(2, 1)", "ab\x00c\x00\x00"), "s[2, 1]: ab c"},

		"another width": {table2, media, npy("<f4", "False", "(2, 3)", six), wantX + `got [2, 3]`},
		"cut off": {
			table2, media, npy("<f4", "False", "(3, 2)", six[:23]),
			`error: input "x": the array says shape [3, 2] of "<f4", but 23 bytes follow`,
		},
		"a huge shape": {
			table2, media, npy("<f4", "True", "(4611686018427387904, 4)", six),
			`error: input "x": the array says shape [4611686018427387904, 4] of "<f4", but 24 bytes follow`,
		},
		"fractions for ints": {
			vector, media, npy("<f8", "False", "(1,)", doubles(1)),
			`error: input "v": expected shape [batch] of INT64, got [1] of "<f8"`,
		},
		"out of range": {
			image2x2, media, npy("<i2", "False", "(1, 1, 2, 2)", "\x00\x01\x00\x00\x00\x00\x00\x00"),
			`error: input "x": expected shape [batch, 1, 2, 2] of UINT8, but element 0 is out of range`,
		},
		"objects": {
			table2, media, npy("|O", "False", "(1, 2)", six), notNPY + `its element type is unknown`,
		},
		"complex numbers":   {table2, media, npy("<c8", "False", "(1, 2)", six[:16]), wantX + `got [1, 2] of "<c8"`},
		"not an array":      {table2, media, "hello, this is text", notNPY + `it does not begin as one`},
		"a header too long": {table2, media, npyMagic + "\x01\x00\xff\xffxx", notNPY + `its header is cut off`},
		"a huge header": {
			table2, media, npyMagic + "\x02\x00\xff\xff\xff\xffxx", notNPY + `its header is cut off`,
		},
		"numbers as strings": {
			texts, media, npy("<f4", "False", "(1, 1)", six[:4]),
			`error: input "s": expected shape [batch, 1] of STRING, got [1, 1] of "<f4"`,
		},
	})
}

func TestAnArrayThatIsWrittenReadsBack(t *testing.T) {
	in := tensor.Tensor{Name: "x", Type: tensor.Float32, Shape: []int64{3, 2}, Data: floatBytes(1, 2, 3, 4, 5, 6)}
	body, err := appendNPY(nil, &in)
	if err != nil {
		t.Fatal(err)
	}
	if at := strings.IndexByte(string(body), '\n'); (at+1)%64 != 0 {
		t.Errorf("the data begin at byte %d, which is not aligned", at+1)
	}
	decodeCase{table2, "application/x-npy", string(body), "x[3, 2]: 1 2 3 4 5 6"}.check(t)
}
