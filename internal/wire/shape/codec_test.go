package shape_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
)

func TestABodyOfTheWrongTypesIsRefusedWithTheReason(t *testing.T) {
	variants := func(v string) string { return `{"ProductionVariants":[{` + v + `}]}` }
	tests := map[string]struct{ body, want string }{
		"a string for an integer": {
			variants(`"InitialInstanceCount":"1"`), "STRING_VALUE can not be converted to an Integer",
		},
		"a fraction for an integer": {
			variants(`"InitialInstanceCount":1.5`), "DECIMAL_VALUE can not be converted to an Integer",
		},
		"an integer of 33 bits": {
			variants(`"InitialInstanceCount":4294967296`), "NUMBER_VALUE can not be converted to an Integer",
		},
		"a string for a float": {
			variants(`"InitialVariantWeight":"x"`), "STRING_VALUE can not be converted to a Float",
		},
		"a float beyond 32 bits": {
			variants(`"InitialVariantWeight":1e300`), "DECIMAL_VALUE can not be converted to a Float",
		},
		"a number for a string": {variants(`"VariantName":1`), "NUMBER_VALUE can not be converted to a String"},
		"true for a string":     {variants(`"VariantName":true`), "TRUE_VALUE can not be converted to a String"},
		"a list for a string":   {variants(`"VariantName":[{}]`), "Start of list found where not expected"},
		"an object for a string": {
			variants(`"VariantName":{"a":1}`), "Start of structure or map found where not expected.",
		},
		"a number for a boolean": {
			`{"EnableNetworkIsolation":1}`, "NUMBER_VALUE can not be converted to a Boolean",
		},
		"a member twice": {`{"KmsKeyId":"a","KmsKeyId":"a"}`, `The member "KmsKeyId" comes twice.`},
		"a guard, and then none": {
			`{"DataCaptureConfig":{"EnableCapture":true},"DataCaptureConfig":null}`,
			`The member "DataCaptureConfig" comes twice.`,
		},
		"a string for a list":        {`{"ProductionVariants":"x"}`, "Expected list or null"},
		"an object for a list":       {`{"ProductionVariants":{}}`, "Expected list or null"},
		"a list for a structure":     {`{"DataCaptureConfig":[]}`, "Expected structure or null"},
		"null in a list":             {`{"ProductionVariants":[null]}`, "Null value found where not expected"},
		"a list at the top":          {`[]`, "The request body must be a JSON object."},
		"a string at the top":        {`"x"`, "The request body must be a JSON object."},
		"nothing":                    {``, "The request body is not valid JSON (byte 0)."},
		"half an object":             {`{"KmsKeyId":`, "The request body is not valid JSON (byte 12)."},
		"half a string":              {`{"KmsKeyId":"a`, "The request body is not valid JSON (byte 14)."},
		"a half escape":              {`{"KmsKeyId":"a\`, "The request body is not valid JSON (byte 15)."},
		"an unknown escape":          {`{"KmsKeyId":"\x"}`, "The request body is not valid JSON (byte 16)."},
		"a line break in a string":   {"{\"KmsKeyId\":\"a\n\"}", "The request body is not valid JSON (byte 14)."},
		"a comma too many":           {`{"KmsKeyId":"a",}`, "The request body is not valid JSON (byte 16)."},
		"something behind it":        {`{} {}`, "The request body is not valid JSON (byte 3)."},
		"a bare word":                {`{"KmsKeyId":nul}`, "The request body is not valid JSON (byte 12)."},
		"a bare word to skip":        {`{"Foo":nul}`, "The request body is not valid JSON (byte 7)."},
		"a number with a zero first": {`{"Foo":01}`, "The request body is not valid JSON (byte 8)."},
		"a number without digits":    {`{"Foo":-}`, "The request body is not valid JSON (byte 8)."},
		"no UTF-8":                   {"{\"KmsKeyId\":\"\xff\"}", "The request body is not valid UTF-8."},
		"an abyss of lists": {
			`{"Foo":` + strings.Repeat("[", 1e6), "The request body is nested deeper than 64 levels.",
		},
		"an abyss of objects": {
			strings.Repeat(`{"Foo":`, 1e5), "The request body is nested deeper than 64 levels.",
		},
		"a flood of objects": {
			`{"ProductionVariants":[` + strings.Repeat("{},", 1e5) + `{}]}`,
			"The request body has more than 50000 objects.",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := shape.Decode([]byte(tt.body), &sagemaker.CreateEndpointConfigInput{})
			if _, ok := errors.AsType[*shape.DecodeError](err); !ok || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestMapsRefuseWhatIsNotAString(t *testing.T) {
	for body, want := range map[string]string{
		`{"PrimaryContainer":{"Environment":[]}}`:         "Expected map or null",
		`{"PrimaryContainer":{"Environment":{"A":1}}}`:    "NUMBER_VALUE can not be converted to a String",
		`{"PrimaryContainer":{"Environment":{"A":null}}}`: "Null value found where not expected",
	} {
		if err := shape.Decode([]byte(body), &sagemaker.CreateModelInput{}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

func TestAbsentIsNotZeroAndUnknownIsNothing(t *testing.T) {
	var in sagemaker.UpdateEndpointInput
	body := ` { "EndpointName" : "" , "RetainAllVariantProperties":false, "RetainDeploymentConfig":null, ` +
		`"endpointConfigName":"c", "Foo":[{"a":[1.5e+3,-0,true,false,null,"\u00e9"]}], ` +
		`"ExcludeRetainedVariantProperties":[] }` +
		"\n"
	if err := shape.Decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	want := sagemaker.UpdateEndpointInput{
		EndpointName: new(""), RetainAllVariantProperties: new(false),
		ExcludeRetainedVariantProperties: []sagemaker.VariantProperty{},
	}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got %s", shape.Append(nil, in))
	}
}

func TestTimesAreSecondsWithAndWithoutAFraction(t *testing.T) {
	tests := map[string]struct {
		in   string
		want time.Time // zero: refused
		out  string
	}{
		"whole":               {"1704110400", time.UnixMilli(1704110400000), "1704110400"},
		"with milliseconds":   {"1529870369.986", time.UnixMilli(1529870369986), "1529870369.986"},
		"with an exponent":    {"1.529870369986E9", time.UnixMilli(1529870369986), "1529870369.986"},
		"before the epoch":    {"-0.25", time.UnixMilli(-250), "-0.25"},
		"beyond all calendar": {"1e300", time.Time{}, ""},
		"a word":              {`"now"`, time.Time{}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var in sagemaker.ListModelsInput
			err := shape.Decode([]byte(`{"CreationTimeAfter":`+tt.in+`}`), &in)
			if tt.want.IsZero() {
				if err == nil {
					t.Error("it was accepted")
				}
				return
			}
			if err != nil || !in.CreationTimeAfter.Equal(tt.want) {
				t.Fatalf("got %v, %v", in.CreationTimeAfter, err)
			}
			if got, want := string(shape.Append(nil, in)), `{"CreationTimeAfter":`+tt.out+`}`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if b, err := json.Marshal(in); err != nil || string(b) != `{"CreationTimeAfter":`+tt.out+`}` {
				t.Errorf("encoding/json writes %s, %v", b, err)
			}
			var again sagemaker.ListModelsInput
			if err := json.Unmarshal([]byte(`{"CreationTimeAfter":`+tt.in+`}`), &again); err != nil ||
				!again.CreationTimeAfter.Equal(tt.want) {
				t.Errorf("encoding/json reads %v, %v", again.CreationTimeAfter, err)
			}
		})
	}
}

func TestAnswersLookLikeTheOnesOfTheAPI(t *testing.T) {
	at := shape.At(time.UnixMilli(1529870369986))
	tests := map[string]struct {
		out  shape.Value
		want string
	}{
		"a required list is there when empty": {sagemaker.ListEndpointsOutput{}, `{"Endpoints":[]}`},
		"an optional list is not":             {sagemaker.ListTagsOutput{}, `{}`},
		"an empty structure":                  {sagemaker.DeleteTagsOutput{}, `{}`},
		"floats have a point": {
			&sagemaker.ProductionVariantSummary{
				VariantName: new("v"), CurrentWeight: new(float32(1)), DesiredWeight: new(float32(0.1)),
				CurrentInstanceCount: new(int32(0)),
			},
			`{"VariantName":"v","CurrentWeight":1.0,"DesiredWeight":0.1,"CurrentInstanceCount":0}`,
		},
		"text is not escaped for HTML": {
			sagemaker.AddTagsOutput{Tags: []sagemaker.Tag{{Key: new(`<a&"\>`), Value: new("é\u2028\n\t\x01\xff")}}},
			`{"Tags":[{"Key":"<a&\"\\>","Value":"é` + "\u2028" + `\n\u0009\u0001` + "\ufffd" + `"}]}`,
		},
		"maps are sorted, times in seconds": {
			sagemaker.DescribeModelOutput{
				ModelName: new("m"), CreationTime: at, EnableNetworkIsolation: new(false),
				PrimaryContainer: &sagemaker.ContainerDefinition{Environment: map[string]string{"B": "2", "A": "1"}},
			},
			`{"ModelName":"m","PrimaryContainer":{"Environment":{"A":"1","B":"2"}},"CreationTime":1529870369.986,` +
				`"EnableNetworkIsolation":false}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(shape.Append(nil, tt.out)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// Whatever Decode accepts is JSON for encoding/json, too, and is written and
// read back as the same; what it refuses it refuses without a panic.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(
		`{"ModelName":"m","PrimaryContainer":{"Image":"\ud83d\ude00","Environment":{"A":"1"}},"Tags":[{"Key":"k",` +
			`"Value":"v"}]}`,
	))
	f.Add([]byte(`{"Foo":[1,-2.5e-3,{"a":null}],"EnableNetworkIsolation":true,"ModelName":null}`))
	f.Add([]byte(`{"Containers":[{"Environment":{"":""}},{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var in, again sagemaker.CreateModelInput
		if err := shape.Decode(data, &in); err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		_ = shape.Validate(in, nil) // any answer, but an answer
		once := shape.Append(nil, in)
		if err := shape.Decode(once, &again); err != nil {
			t.Fatalf("%v in %s", err, once)
		}
		if !reflect.DeepEqual(in, again) {
			t.Fatalf("%s became %s", once, shape.Append(nil, again))
		}
	})
}

const createConfig = `{"EndpointConfigName":"canary-2026-11-21","ProductionVariants":[
{"VariantName":"AllTraffic","ModelName":"fraud-v1","InitialInstanceCount":2,"InstanceType":"ml.m5.large",
"InitialVariantWeight":1.0,"RoutingConfig":{"RoutingStrategy":"RANDOM"}},
{"VariantName":"Challenger","ModelName":"fraud-v2","InitialInstanceCount":1,"InstanceType":"ml.c5.xlarge",
"InitialVariantWeight":0.25,"ContainerStartupHealthCheckTimeoutInSeconds":120}],
"Tags":[{"Key":"team","Value":"risk"},{"Key":"stage","Value":"prod"}]}`

func BenchmarkDecodeAndValidateCreateEndpointConfig(b *testing.B) {
	b.SetBytes(int64(len(createConfig)))
	b.ReportAllocs()
	for b.Loop() {
		var in sagemaker.CreateEndpointConfigInput
		if err := shape.Decode([]byte(createConfig), &in); err != nil {
			b.Fatal(err)
		}
		if err := shape.Validate(in, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// The standard library, for comparison: no constraints, no types' errors.
func BenchmarkEncodingJSONOfTheSame(b *testing.B) {
	b.SetBytes(int64(len(createConfig)))
	b.ReportAllocs()
	for b.Loop() {
		var in sagemaker.CreateEndpointConfigInput
		if err := json.Unmarshal([]byte(createConfig), &in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDescribeEndpoint(b *testing.B) {
	at := shape.At(time.UnixMilli(1529870369986))
	out := sagemaker.DescribeEndpointOutput{
		EndpointName: new("e"), EndpointArn: new("arn:aws:sagemaker:us-east-1:000000000000:endpoint/e"),
		EndpointConfigName: new("c"),
		EndpointStatus:     new(sagemaker.EndpointStatusInService), CreationTime: at, LastModifiedTime: at,
		ProductionVariants: []sagemaker.ProductionVariantSummary{
			{VariantName: new("v"), CurrentWeight: new(float32(1)), DesiredWeight: new(float32(1))},
		},
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = shape.Append(buf[:0], &out)
	}
}

func TestDoublesHaveWordsForWhatIsNoNumber(t *testing.T) {
	const doc = `{"Namespace":"N","MetricData":[{"MetricName":"m","Values":["NaN","Infinity","-Infinity",1e+300]}]}`
	var in cloudwatch.PutMetricDataInput
	if err := shape.Decode([]byte(doc), &in); err != nil {
		t.Fatal(err)
	}
	v := in.MetricData[0].Values
	if !math.IsNaN(v[0]) || !math.IsInf(v[1], 1) || !math.IsInf(v[2], -1) {
		t.Errorf("%v", v)
	}
	if got := string(shape.Append(nil, in)); got != doc {
		t.Errorf("%s", got)
	}
	for _, word := range []string{"nan", "1", "inf", "+Infinity", ""} {
		if err := shape.Decode([]byte(`{"MetricData":[{"Value":"`+word+`"}]}`), &in); err == nil {
			t.Errorf("%q was read", word)
		}
	}
	if err := shape.Decode(
		[]byte(`{"ProductionVariants":[{"InitialVariantWeight":"NaN"}]}`), &sagemaker.CreateEndpointConfigInput{},
	); err == nil {
		t.Error("a weight that is no number was read")
	}
}

func TestATimeMayBeWrittenInISO8601(t *testing.T) {
	want := time.UnixMilli(1795290785123).UTC()
	for text, at := range map[string]time.Time{
		`1795290785.123`: want, `"2026-11-21T19:53:05.123Z"`: want, `"2026-11-21T20:53:05.123+01:00"`: want,
		`"Sat, 21 Nov 2026 19:53:05 GMT"`: want.Truncate(time.Second),
	} {
		var in sagemakeredge.SendHeartbeatRequest
		if err := shape.Decode([]byte(`{"DeploymentResult":{"DeploymentEndTime":`+text+`}}`), &in); err != nil ||
			!in.DeploymentResult.DeploymentEndTime.Equal(at) {
			t.Errorf("%s: %v %v", text, in.DeploymentResult, err)
		}
	}
	for _, text := range []string{`"yesterday"`, `"0000-01-01T00:00:00Z"`, `""`, `"1795290785.123"`, `true`} {
		if err := shape.Decode(
			[]byte(`{"DeploymentResult":{"DeploymentEndTime":`+text+`}}`), &sagemakeredge.SendHeartbeatRequest{},
		); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestAFreeMemberIsKeptAsItWasSent(t *testing.T) {
	const doc = `{"AgentMetrics":[ 1, {"a":[null]}, "x" ],"AgentVersion":"1","DeviceName":"d","DeviceFleetName":"f"}`
	var in sagemakeredge.SendHeartbeatRequest
	if err := shape.Decode([]byte(doc), &in); err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(in.AgentMetrics.Elements)
	if len(all) != 3 || string(all[1]) != `{"a":[null]}` || string(shape.Append(nil, in)) != doc {
		t.Errorf("%q", all)
	}
	for e := range in.AgentMetrics.Elements {
		if string(e) != "1" {
			t.Errorf("%q came after enough", e)
		}
		break
	}
	for text, isList := range map[string]bool{
		`null`: false, `[]`: true, `{}`: false, `7`: false, `"[]"`: false, `false`: false,
	} {
		var in sagemakeredge.SendHeartbeatRequest
		if err := shape.Decode([]byte(`{"AgentMetrics":`+text+`}`), &in); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if all := slices.Collect(in.AgentMetrics.Elements); in.AgentMetrics.IsList() != isList || len(all) != 0 {
			t.Errorf("%s has %q", text, all)
		}
	}
	for _, text := range []string{`[`, `[1,]`, `{"a"}`, `nul`, ``} {
		if err := shape.Decode([]byte(`{"AgentMetrics":`+text+`}`), &in); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}
