package tensor

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

func TestEveryHalfSurvivesTheWayThroughAFloat(t *testing.T) {
	for h := range 1 << 16 {
		f := HalfToFloat(uint16(h))
		back := FloatToHalf(f)
		if math.IsNaN(float64(f)) {
			if !math.IsNaN(float64(HalfToFloat(back))) {
				t.Fatalf("%#04x: NaN became %#04x", h, back)
			}
			continue
		}
		if back != uint16(h) {
			t.Fatalf("%#04x became %g and then %#04x", h, f, back)
		}
	}
}

func TestNarrowingToHalfRoundsToTheNearestAndTiesToEven(t *testing.T) {
	// Every half but the last has a successor: what lies between must go to the
	// nearer of the two.
	for h := uint16(0); h < 0x7bff; h++ {
		low, high := float64(HalfToFloat(h)), float64(HalfToFloat(h+1))
		middle := float32((low + high) / 2) // exact: a half has few bits
		want := h + h&1
		if got := FloatToHalf(middle); got != want {
			t.Fatalf("the middle of %#04x and its successor became %#04x", h, got)
		}
		if got := FloatToHalf(math.Nextafter32(middle, 0)); got != h {
			t.Fatalf("just below the middle after %#04x became %#04x", h, got)
		}
		if got := FloatToHalf(-math.Nextafter32(middle, 1e9)); got != 0x8000|(h+1) {
			t.Fatalf("just beyond the negative middle after %#04x became %#04x", h, got)
		}
	}
	for in, want := range map[float32]uint16{
		65504: 0x7bff, 65519: 0x7bff, 65520: 0x7c00, float32(math.Inf(-1)): 0xfc00, 1e-30: 0,
	} {
		if got := FloatToHalf(in); got != want {
			t.Errorf("%g became %#04x, want %#04x", in, got, want)
		}
	}
}

func TestElementCountsDoNotOverflow(t *testing.T) {
	for name, c := range map[string]struct {
		shape []int64
		want  int64
		ok    bool
	}{
		"a scalar":                   {nil, 1, true},
		"a matrix":                   {[]int64{3, 4}, 12, true},
		"an empty one":               {[]int64{3, 0, 4}, 0, true},
		"a negative dimension":       {[]int64{-1, 2}, 0, false},
		"an overflow to a small one": {[]int64{1 << 32, 1 << 32}, 0, false},
		"more than the limit":        {[]int64{1001}, 0, false},
		"too many dimensions":        {make([]int64, MaxRank+1), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if n, ok := Elements(c.shape, 1000); n != c.want || ok != c.ok {
				t.Errorf("got %d, %t", n, ok)
			}
		})
	}
}

func TestTextBecomesElementsOrSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		typ  Type
		text string
		want string // as AppendElement prints it
		err  error
	}{
		"a short number":                {Float32, "16", "16", nil},
		"a fraction":                    {Float32, "-0.1", "-0.1", nil},
		"an infinity in CSV":            {Float64, "-inf", "-Inf", nil},
		"a fraction beyond float32":     {Float32, "1e39", "", ErrRange},
		"a fraction beyond float16":     {Float16, "65520", "", ErrRange},
		"a large float16":               {Float16, "65504", "65504", nil},
		"a word":                        {Float32, "image", "", ErrNotANumber},
		"nothing":                       {Float32, "", "", ErrNotANumber},
		"the least int8":                {Int8, "-128", "-128", nil},
		"below the least int8":          {Int8, "-129", "", ErrRange},
		"the greatest uint64":           {Uint64, "18446744073709551615", "18446744073709551615", nil},
		"above the greatest uint64":     {Uint64, "18446744073709551616", "", ErrRange},
		"a negative uint64":             {Uint64, "-1", "", ErrRange},
		"a whole number with a point":   {Int32, "3.0", "3", nil},
		"a whole number with exponent":  {Int64, "3e2", "300", nil},
		"a fraction for a whole number": {Int32, "3.5", "", ErrNotWhole},
		"NaN for a whole number":        {Int32, "nan", "", ErrNotANumber},
		"beyond what a float holds":     {Int64, "1e300", "", ErrRange},
		"beyond int64":                  {Int64, "9223372036854775808", "", ErrRange},
		"the greatest uint32":           {Uint32, "4294967295", "4294967295", nil},
		"a negative uint16":             {Uint16, "-1", "", ErrRange},
		"one as a truth value":          {Bool, "1", "true", nil},
		"two as a truth value":          {Bool, "2", "", ErrNotABool},
		"any text":                      {String, " x ", " x ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder(c.typ, 1)
			err := b.AppendText([]byte(c.text))
			if !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			if err != nil {
				if b.Len() != 0 {
					t.Error("a refused text left an element")
				}
				return
			}
			v := b.Tensor("x", []int64{1})
			if got := string(v.AppendElement(nil, 0)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func floats(name string, shape ...int64) Tensor {
	n, _ := Elements(shape, 1<<20)
	return Tensor{Name: name, Type: Float32, Shape: shape, Data: make([]byte, 4*n)}
}

var (
	oneInput = &Signature{
		Inputs: []Spec{{Name: "x", Type: Float32, Ranked: true, Shape: []Dim{{Size: -1}, {Size: 64}}}},
	}
	twoInputs = &Signature{Inputs: []Spec{
		{Name: "a", Type: Float32, Ranked: true, Shape: []Dim{{Size: -1, Symbol: "n"}, {Size: 2}}},
		{Name: "b", Type: Float32, Ranked: true, Shape: []Dim{{Size: -1, Symbol: "n"}, {Size: -1, Symbol: "unk__7"}}},
	}}
)

func TestCheckNamesTheInputAndWhatWasExpected(t *testing.T) {
	short := floats("x", 2, 64)
	short.Data = short.Data[:100]
	for name, c := range map[string]struct {
		sig  *Signature
		in   []Tensor
		want string
	}{
		"a good one": {oneInput, []Tensor{floats("x", 2, 64)}, ""},
		"another width": {
			oneInput, []Tensor{floats("x", 2, 63)}, `input "x": expected shape [batch, 64] of FLOAT, got [2, 63]`,
		},
		"another rank": {
			oneInput, []Tensor{floats("x", 64)}, `input "x": expected shape [batch, 64] of FLOAT, got [64]`,
		},
		"another type": {
			oneInput,
			[]Tensor{{Name: "x", Type: Int64, Shape: []int64{1, 64}}},
			`input "x": expected shape [batch, 64] of FLOAT, got [1, 64] of INT64`,
		},
		"an empty batch": {
			oneInput,
			[]Tensor{floats("x", 0, 64)},
			"",
		},
		"a large shape of nothing": {
			&Signature{Inputs: []Spec{{Name: "x", Type: Float32}}},
			[]Tensor{floats("x", 1<<17, 0)},
			`input "x": the shape [131072, 0] holds nothing and is too large`,
		},
		"less than its shape": {
			oneInput, []Tensor{short}, `input "x": shape [2, 64] does not agree with its 25 elements`,
		},
		"a missing input": {
			twoInputs, []Tensor{floats("a", 1, 2), {}}, `input "b" is missing: expected shape [n, ?] of FLOAT`,
		},
		"too few inputs": {twoInputs, []Tensor{floats("a", 1, 2)}, `the model takes 2 inputs ("a", "b"), got 1`},
		"batches that disagree": {
			twoInputs,
			[]Tensor{floats("a", 3, 2), floats("b", 2, 5)},
			`input "b": expected shape [n, ?] of FLOAT, got [2, 5], but n is 3 in input "a"`,
		},
		"batches that agree": {twoInputs, []Tensor{floats("a", 3, 2), floats("b", 3, 5)}, ""},
		"a string that C cuts": {
			&Signature{Inputs: []Spec{{Name: "s", Type: String}}},
			[]Tensor{{Name: "s", Type: String, Shape: []int64{1}, Strings: []string{"a\x00b"}}},
			`input "s": element 0 has a NUL character`,
		},
		"any shape if none said": {
			&Signature{Inputs: []Spec{{Name: "x", Type: Float32}}}, []Tensor{floats("x", 1, 2, 3)}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.sig.Check(c.in)
			if c.want == "" && err == nil {
				return
			}
			if !errors.Is(err, fault.Invalid) || err.Error() != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestTypesKnowTheirNames(t *testing.T) {
	for typ := Bool; typ <= String; typ++ {
		if FromCode(typ.Code()) != typ || FromOIP(typ.OIP()) != typ {
			t.Errorf("%s is not found by its names", typ)
		}
		if n := typ.NPY(); typ != String && !strings.HasSuffix(n, string(rune('0'+typ.Size()))) {
			t.Errorf("%s of %d bytes is %s to NumPy", typ, typ.Size(), n)
		}
	}
	if FromCode(16) != Invalid || FromOIP("FP8") != Invalid {
		t.Error("an unknown type was found")
	}
}
