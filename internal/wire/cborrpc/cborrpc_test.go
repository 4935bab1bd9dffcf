package cborrpc_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/slipway-ml/slipway/internal/wire/cborrpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

// item is CBOR in hexadecimal, with words in quotes standing for text strings.
func item(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			word, err := cbor.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, word...)
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, raw...)
	}
	return b
}

func TestEveryWayToWriteAValueIsRead(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"an int for a double":       {`a1 "Threshold" 18 64`, `{"Threshold":100.0}`},
		"a negative int":            {`a1 "Threshold" 38 63`, `{"Threshold":-100.0}`},
		"the largest int":           {`a1 "Threshold" 1b ffffffffffffffff`, `{"Threshold":18446744073709552000.0}`},
		"the smallest int":          {`a1 "Threshold" 3b ffffffffffffffff`, `{"Threshold":-18446744073709552000.0}`},
		"a half":                    {`a1 "Threshold" f9 c400`, `{"Threshold":-4.0}`},
		"a subnormal half":          {`a1 "Threshold" f9 0001`, `{"Threshold":5.960464477539063e-08}`},
		"the largest half":          {`a1 "Threshold" f9 7bff`, `{"Threshold":65504.0}`},
		"a single":                  {`a1 "Threshold" fa 47c35000`, `{"Threshold":100000.0}`},
		"a double":                  {`a1 "Threshold" fb 3ff199999999999a`, `{"Threshold":1.1}`},
		"infinity in a half":        {`a1 "Threshold" f9 fc00`, `{"Threshold":"-Infinity"}`},
		"infinity in a single":      {`a1 "Threshold" fa 7f800000`, `{"Threshold":"Infinity"}`},
		"not a number, in a half":   {`a1 "Threshold" f9 7e00`, `{"Threshold":"NaN"}`},
		"not a number, in a double": {`a1 "Threshold" fb 7ff8000000000000`, `{"Threshold":"NaN"}`},
		"an int with a long head":   {`a1 "Period" 1b 000000000000003c`, `{"Period":60}`},
		"the smallest integer":      {`a1 "Period" 3a 7fffffff`, `{"Period":-2147483648}`},
		"a boolean":                 {`a1 "ActionsEnabled" f5`, `{"ActionsEnabled":true}`},
		"a text in chunks":          {`a1 "AlarmName" 7f "a" "bc" 60 ff`, `{"AlarmName":"abc"}`},
		"a name in chunks":          {`a1 7f "Alarm" "Name" ff "a"`, `{"AlarmName":"a"}`},
		"a character cut by chunks": {`a1 "AlarmName" 7f 61c3 61a9 ff`, `{"AlarmName":"é"}`},
		"an endless map":            {`bf "AlarmName" "a" ff`, `{"AlarmName":"a"}`},
		"an endless list":           {`a1 "OKActions" 9f "a" "b" ff`, `{"OKActions":["a","b"]}`},
		"an empty list":             {`a1 "OKActions" 80`, `{"OKActions":[]}`},
		"null":                      {`a2 "AlarmName" f6 "OKActions" f6`, `{}`},
		"undefined":                 {`a1 "AlarmName" f7`, `{}`},
		"unknown members": {
			`a4 "x" bf 9f 01 ff 5f 4101 ff "y" f97e00 ff "z" c2 49 010000000000000000 "n" 20 "AlarmName" "a"`,
			`{"AlarmName":"a"}`,
		},
		"unknown members, all kinds": {
			`a5 "a" bf "b" 9f 01 ff ff "b" 5f 4101 ff "c" c2 49 010000000000000000 "d" f8ff "AlarmName" "a"`,
			`{"AlarmName":"a"}`,
		},
		"another case":        {`a1 "alarmname" "a"`, `{}`},
		"tags around a value": {`d9d9f7 a1 "AlarmName" d820 "a"`, `{"AlarmName":"a"}`},
		"a list of structures": {
			`a1 "Dimensions" 82 a2 "Name" "n" "Value" "v" a0`, `{"Dimensions":[{"Name":"n","Value":"v"},{}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var in cloudwatch.PutMetricAlarmInput
			err := cborrpc.Decode(item(t, tt.in), &in)
			got, _ := strings.CutPrefix(string(shape.Append(nil, in)), `{"AlarmName":null,`)
			if err != nil || got != tt.want {
				t.Errorf("%v\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
}

func TestTimesAreSecondsInATag(t *testing.T) {
	for in, want := range map[string]string{
		`a1 "StartDate" c1 1a 6b01f6a1`:           "2026-11-21T19:53:05Z",
		`a1 "StartDate" c1 fb 41dac07da847df3b`:   "2026-11-21T19:53:05.123Z",
		`a1 "StartDate" c1 20`:                    "1969-12-31T23:59:59Z",
		`a1 "StartDate" c1 f9 b800`:               "1969-12-31T23:59:59.5Z",
		`a1 "StartDate" 00`:                       "1970-01-01T00:00:00Z",
		`a1 "StartDate" c1 fb 7ff8000000000000`:   "DECIMAL_VALUE can not be converted to a Timestamp",
		`a1 "StartDate" c1 1b ffffffffffffffff`:   "NUMBER_VALUE can not be converted to a Timestamp",
		`a1 "StartDate" c1 f9 7c00`:               "DECIMAL_VALUE can not be converted to a Timestamp",
		`a1 "StartDate" c0 "2026-11-21T19:53:05"`: "STRING_VALUE can not be converted to a Timestamp",
	} {
		var h cloudwatch.DescribeAlarmHistoryInput
		got := ""
		if err := cborrpc.Decode(item(t, in), &h); err != nil {
			got = err.Error()
		} else {
			got = h.StartDate.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestWhatIsNotTheWantedKindIsRefused(t *testing.T) {
	for in, want := range map[string]string{
		``:                                      "The request body is not valid CBOR",
		`80`:                                    "The request body must be a CBOR map.",
		`a0 00`:                                 "The request body is not valid CBOR",
		`a1 "AlarmName"`:                        "The request body is not valid CBOR",
		`a1 "AlarmName" 7b ffffffffffffffff 61`: "The request body is not valid CBOR",
		`bb ffffffffffffffff "a" 00`:            "The request body is not valid CBOR",
		`9b 7fffffffffffffff`:                   "The request body is not valid CBOR",
		`a1 "AlarmName" 7f 41 61 ff`:            "The request body is not valid CBOR",
		`a2 "AlarmName" "a" "AlarmName" "b"`:    `The member "AlarmName" comes twice.`,
		`a2 "AlarmName" "a" "AlarmName" f6`:     `The member "AlarmName" comes twice.`,
		`a1 "AlarmName" 01`:                     "NUMBER_VALUE can not be converted to a String",
		`a1 "AlarmName" 41 61`:                  "BLOB_VALUE can not be converted to a String",
		`a1 "AlarmName" 61 ff`:                  "The request body is not valid UTF-8.",
		`a1 "AlarmName" 80`:                     "Start of list found where not expected",
		`a1 "AlarmName" a0`:                     "Start of structure or map found where not expected.",
		`a1 "AlarmName" c1 f6`:                  "NULL_VALUE can not be converted to a String",
		`a1 "Period" f9 3c00`:                   "DECIMAL_VALUE can not be converted to an Integer",
		`a1 "Period" 1a 80000000`:               "NUMBER_VALUE can not be converted to an Integer",
		`a1 "Period" 3a 80000000`:               "NUMBER_VALUE can not be converted to an Integer",
		`a1 "Period" 1b 800000000000003c`:       "NUMBER_VALUE can not be converted to an Integer",
		`a1 "Period" 3b ffffffffffffffff`:       "NUMBER_VALUE can not be converted to an Integer",
		`a1 "Period" "60"`:                      "STRING_VALUE can not be converted to an Integer",
		`a1 "ActionsEnabled" 01`:                "NUMBER_VALUE can not be converted to a Boolean",
		`a1 "Threshold" f4`:                     "FALSE_VALUE can not be converted to a Double",
		`a1 "Threshold" e0`:                     "SIMPLE_VALUE can not be converted to a Double",
		`a1 "OKActions" "a"`:                    "STRING_VALUE can not be converted to a List",
		`a1 "OKActions" 81 f6`:                  "Null value found where not expected",
		`a1 "Dimensions" 81 00`:                 "NUMBER_VALUE can not be converted to a Structure",
		`a1 00 00`:                              "The name of a member must be a text string.",
	} {
		err := cborrpc.Decode(item(t, in), &cloudwatch.PutMetricAlarmInput{})
		if _, ok := errors.AsType[*shape.DecodeError](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", in, err, want)
		}
	}
}

func TestHostileDocumentsAreBounded(t *testing.T) {
	many := func(head, elem string, n int) []byte {
		return append(append(item(t, head), bytes.Repeat(item(t, elem), n)...), 0xff)
	}
	for name, tt := range map[string]struct {
		body []byte
		v    shape.Value
		want string
	}{
		"deep lists": {
			append(item(t, `a1 "x"`), bytes.Repeat([]byte{0x81}, 1<<20)...), &cloudwatch.PutMetricDataInput{},
			"nested deeper",
		},
		"deep tags": {
			append(item(t, `a1 "Namespace"`), bytes.Repeat([]byte{0xc6}, 1<<20)...), &cloudwatch.PutMetricDataInput{},
			"nested deeper",
		},
		"many structures": {
			many(`a1 "MetricData" 9f`, `a0`, 60_000), &cloudwatch.PutMetricDataInput{}, "more than 50000 objects",
		},
		"many strings": {
			many(`a1 "TagKeys" 9f`, `60`, 600_000), &cloudwatch.UntagResourceInput{}, "The request body",
		},
		"many lists": {
			append(
				append(item(t, `a1 "MetricData" 82`), many(`a1 "Values" 9f`, `00`, 300_000)...),
				many(`a1 "Values" 9f`, `00`, 300_000)...,
			),
			&cloudwatch.PutMetricDataInput{}, "more than 500000 list elements",
		},
	} {
		if err := cborrpc.Decode(tt.body, tt.v); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersAreCBORThatOthersRead(t *testing.T) {
	at := shape.At(time.UnixMilli(1795290785123))
	out := cloudwatch.GetMetricDataOutput{MetricDataResults: []cloudwatch.MetricDataResult{{
		Id: new("m"), Label: new("bad \xff byte"),
		Timestamps: []shape.Time{*at, {Time: at.Truncate(time.Second)}, {Time: time.Unix(-1, 0)}},
		Values:     []float64{1, math.Inf(-1), 0.1}, Messages: []cloudwatch.MessageData{},
	}}}
	got, err := cbor.Diagnose(cborrpc.Append(nil, out))
	want := `{"MetricDataResults": [{"Id": "m", "Label": "bad \ufffd byte", "Timestamps": [1(1795290785.123), ` +
		`1(1795290785), 1(-1)], "Values": [1.0, -Infinity, 0.1], "Messages": []}]}`
	if err != nil || got != want {
		t.Errorf("%v\n%s\n%s", err, got, want)
	}
	for _, n := range []int{0, 23, 24, 255, 256, 65535, 65536} {
		name := strings.Repeat("a", n)
		b := cborrpc.Append(
			nil, cloudwatch.MetricAlarm{AlarmName: &name, Period: new(int32(n)), EvaluationPeriods: new(int32(-n))},
		)
		var back struct {
			AlarmName                 string
			Period, EvaluationPeriods int32
		}
		if err := cbor.Unmarshal(b, &back); err != nil || back.AlarmName != name || back.Period != int32(n) ||
			back.EvaluationPeriods != int32(-n) {
			t.Errorf("%d: %v %d", n, err, back.Period)
		}
	}
}

// kinds has those kinds of value that CloudWatch does not use.
type kinds struct {
	L *int64
	F *float32
	B []byte
	M map[string]string
}

func (kinds) Shape() *shape.Shape {
	text := &shape.Shape{Name: "S", Kind: shape.String}
	return &shape.Shape{Name: "K", Kind: shape.Structure, Members: []shape.Member{
		{Name: "L", Shape: &shape.Shape{Name: "L", Kind: shape.Long}},
		{Name: "F", Shape: &shape.Shape{Name: "F", Kind: shape.Float}},
		{Name: "B", Shape: &shape.Shape{Name: "B", Kind: shape.Blob}, Required: true},
		{Name: "M", Shape: &shape.Shape{Name: "M", Kind: shape.Map, Key: text, Elem: text}, Required: true},
	}}
}

func TestTheOtherKindsAreReadAndWritten(t *testing.T) {
	for in, want := range map[string]string{
		`a4 "L" 3b 7fffffffffffffff "F" fa 3fc00000 "B" 42 00ff "M" a1 "k" ` +
			`"v"`: `{"B": h'00ff', "F": 1.5, "L": -9223372036854775808, "M": {"k": "v"}}`,
		`a4 "L" 1b 7fffffffffffffff "F" f9 7e00 "B" 5f 4100 40 ff "M" bf "k" 60 ` +
			`ff`: `{"B": h'00', "F": NaN, "L": 9223372036854775807, "M": {"k": ""}}`,
		`a0`:                         `{"B": h'', "M": {}}`,
		`a1 "B" 40`:                  `{"B": h'', "M": {}}`,
		`a1 "L" 1b 8000000000000000`: "NUMBER_VALUE can not be converted to a Long",
		`a1 "F" fb 47f0000000000000`: "DECIMAL_VALUE can not be converted to a Float",
		`a1 "B" "AA=="`:              "STRING_VALUE can not be converted to a Blob",
		`a1 "M" a1 "k" f6`:           "Null value found where not expected",
		`a1 "M" a1 "k" 01`:           "NUMBER_VALUE can not be converted to a String",
		`a1 "M" a1 61ff "v"`:         "The request body is not valid UTF-8.",
		`a1 "M" 80`:                  "Start of list found where not expected",
	} {
		var k kinds
		got := ""
		if err := cborrpc.Decode(item(t, in), &k); err != nil {
			got = err.Error()
		} else if got, err = cbor.Diagnose(sorted(t, cborrpc.Append(nil, k))); err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// sorted is the same CBOR with the keys of maps in order.
func sorted(t *testing.T, b []byte) []byte {
	t.Helper()
	var all map[string]any
	if err := cbor.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	m, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical, NaNConvert: cbor.NaNConvertNone}.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = m.Marshal(all); err != nil {
		t.Fatal(err)
	}
	return b
}

// What is read is CBOR to others too, and is read back from what is written.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`a0`, `a2 "Namespace" "N" "MetricData" 81 a3 "MetricName" "m" "Value" f93c00 "Timestamp" c1 00`,
		`bf "MetricData" 9f a1 "Values" 82 01 fb7ff8000000000000 ff "EntityMetricData" 81 a1 "Entity" a1 ` +
			`"Attributes" a1 "k" "v" ff`,
		`a1 "StrictEntityValidation" f5`, `d9d9f7 a1 "x" 5f 41 00 ff`,
	} {
		f.Add(item(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in, again cloudwatch.PutMetricDataInput
		if err := cborrpc.Decode(b, &in); err != nil {
			if _, ok := errors.AsType[*shape.DecodeError](err); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		if err := cbor.Wellformed(b); err != nil {
			t.Errorf("%x was read: %v", b, err)
		}
		once := cborrpc.Append(nil, in)
		if err := cborrpc.Decode(once, &again); err != nil {
			t.Fatalf("%x: %v", once, err)
		}
		if twice := cborrpc.Append(nil, again); !bytes.Equal(once, twice) {
			t.Errorf("%x\n%x", once, twice)
		}
	})
}

func BenchmarkPutMetricData(b *testing.B) {
	in := cloudwatch.PutMetricDataInput{Namespace: new("N")}
	for i := range 1000 {
		in.MetricData = append(in.MetricData, cloudwatch.MetricDatum{
			MetricName: new(fmt.Sprint("m", i)), Value: new(float64(i)), Timestamp: shape.At(time.Unix(1795290785, 0)),
			Dimensions: []cloudwatch.Dimension{
				{Name: new("EndpointName"), Value: new("e")}, {Name: new("VariantName"), Value: new("v")},
			},
		})
	}
	body := cborrpc.Append(nil, in)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := cborrpc.Decode(body, &cloudwatch.PutMetricDataInput{}); err != nil {
			b.Fatal(err)
		}
	}
}
