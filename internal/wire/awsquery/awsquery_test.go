package awsquery_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsquery"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

var protocol = awsquery.Protocol{Service: cloudwatch.API()}

// decode reads a form, without the action and version, into in.
func decode(t testing.TB, form string, in shape.Value) error {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, read, err := protocol.Open(
		r, func() ([]byte, error) { return []byte("Action=X&Version=2010-08-01&" + form), nil },
	)
	if err != nil {
		return err
	}
	return read(in)
}

func TestFormsAreRead(t *testing.T) {
	for name, tt := range map[string]struct{ form, want string }{
		"nothing":           {"", `{}`},
		"an empty string":   {"AlarmDescription=", `{"AlarmDescription":""}`},
		"no equals sign":    {"AlarmDescription", `{"AlarmDescription":""}`},
		"the last of two":   {"AlarmDescription=b&AlarmDescription=a", `{"AlarmDescription":"a"}`},
		"other names":       {"alarmdescription=a&AlarmDescriptio=b&AlarmDescriptions=c&=d&.=e&X.y=f", `{}`},
		"an empty list":     {"OKActions=", `{"OKActions":[]}`},
		"a list":            {"OKActions.member.1=a&OKActions.member.2=b", `{"OKActions":["a","b"]}`},
		"a list, flattened": {"OKActions.2=b&OKActions.1=a", `{"OKActions":["a","b"]}`},
		"a list out of order": {
			"OKActions.member.10=c&OKActions.member.9=b&OKActions.member.007=a", `{"OKActions":["a","b","c"]}`,
		},
		"a list of empty strings": {"OKActions.member.1=", `{"OKActions":[""]}`},
		"structures": {
			"Dimensions.member.2.Name=b&Dimensions.member.1.Value=v&Dimensions.member.1.Name=a",
			`{"Dimensions":[{"Name":"a","Value":"v"},{"Name":"b"}]}`,
		},
		"an empty structure": {"EvaluationCriteria=", `{"EvaluationCriteria":{}}`},
		"a sibling that sorts between": {
			"OKActions.member.1=a&OKActions-x=b&OKActions=&OKActionsMore=c", `{"OKActions":["a"]}`,
		},
		"numbers": {
			"Period=-60&Threshold=1e3&EvaluationPeriods=%2B3",
			`{"Period":-60,"EvaluationPeriods":3,"Threshold":1000.0}`,
		},
		"what is no number": {
			"Threshold=NaN&Metrics.member.1.ReturnData=false", `{"Threshold":"NaN","Metrics":[{"ReturnData":false}]}`,
		},
		"infinity":        {"Threshold=-Infinity", `{"Threshold":"-Infinity"}`},
		"escapes":         {"AlarmDescription=a%2Eb+%C3%A9%26", `{"AlarmDescription":"a.b é&"}`},
		"an escaped name": {"OKActions%2Emember%2E1=a", `{"OKActions":["a"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var in cloudwatch.PutMetricAlarmInput
			err := decode(t, tt.form, &in)
			got := string(shape.Append(nil, in))
			got = strings.NewReplacer(
				`"AlarmName":null,`, "", `"AlarmName":null`, "", `{"Id":null,`, "{", `"Value":null`, "", `,}`, "}",
			).Replace(got)
			if err != nil || got != tt.want {
				t.Errorf("%v\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
}

func TestTimesAreReadInTheFormsThatClientsWrite(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-21T19:53:05Z":          "2026-11-21T19:53:05Z",
		"2026-11-21T19:53:05.123456Z":   "2026-11-21T19:53:05.123456Z",
		"2026-11-21T20:53:05.123+01:00": "2026-11-21T19:53:05.123Z",
		"2026-11-21T19:53:05":           "2026-11-21T19:53:05Z",
		"2026-11-21T19:53:05.5":         "2026-11-21T19:53:05.5Z",
		"2026-11-21T19:53Z":             "2026-11-21T19:53:00Z",
		"20261121T195305Z":              "2026-11-21T19:53:05Z",
		"2026-11-21":                    "2026-11-21T00:00:00Z",
		"1795290785.123":                "2026-11-21T19:53:05.123Z",
		"":                              "error", "now": "error", "2026-13-01": "error", "1e300": "error",
		"NaN": "error", "0x10": "error", "0000-01-01": "error",
	} {
		var in cloudwatch.DescribeAlarmHistoryInput
		got := "error"
		if err := decode(t, "StartDate="+url.QueryEscape(text), &in); err == nil {
			got = in.StartDate.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestWhatIsNotTheWantedKindIsRefused(t *testing.T) {
	for _, form := range []string{
		"Period=", "Period=1.0", "Period=2147483648", "Period=0x10", "Period=+1_0", "Threshold=", "Threshold=inf",
		"Threshold=0x1p4", "Threshold=1e400",
		"ActionsEnabled=TRUE", "ActionsEnabled=1", "AlarmName.x=a", "OKActions=a", "OKActions.member=a",
		"OKActions.member.0=a", "OKActions.member.-1=a",
		"OKActions.member.99999999999=a", "OKActions.member.1=a&OKActions.1=b", "OKActions.item.1=a", "AlarmName=%C3",
		"EntityX=%",
	} {
		err := decode(t, form, &cloudwatch.PutMetricAlarmInput{})
		_, bad := errors.AsType[*shape.DecodeError](err)
		if e, ok := errors.AsType[*awserr.Error](err); !bad && (!ok || e.Code != "MalformedQueryString") {
			t.Errorf("%s: %v", form, err)
		}
	}
	for _, form := range []string{
		"Attributes.entry.1.key=a", "Attributes.entry.1.value=a", "Attributes.entry.x.value=a", "Attributes.1=a",
	} {
		if err := decode(t, "EntityMetricData.member.1.Entity."+form, &cloudwatch.PutMetricDataInput{}); err == nil {
			t.Errorf("%s was read", form)
		}
	}
}

func TestHostileFormsAreBounded(t *testing.T) {
	for name, form := range map[string]string{
		"many parameters": strings.Repeat("a&", 300_000),
		"a long name":     strings.Repeat("a.", 4096) + "=b",
	} {
		if err := decode(t, form, &cloudwatch.PutMetricDataInput{}); err == nil {
			t.Errorf("%s were read", name)
		}
	}
	var in cloudwatch.PutMetricDataInput
	if err := decode(t, "MetricData.member.2147483647.MetricName=m", &in); err != nil || len(in.MetricData) != 1 {
		t.Errorf("a far index: %v, %d", err, len(in.MetricData))
	}
}

func TestAnswersAreXML(t *testing.T) {
	out := cloudwatch.GetMetricDataOutput{NextToken: new(""), MetricDataResults: []cloudwatch.MetricDataResult{{
		Id: new("<m>"), Label: new("nul \x00 and \xff"),
		Timestamps: []shape.Time{*shape.At(time.UnixMilli(1795290785123).In(time.FixedZone("", 3600)))},
		Values:     []float64{1, math.Inf(-1), math.NaN(), 1e-9}, Messages: []cloudwatch.MessageData{{}},
	}}}
	w := httptest.NewRecorder()
	w.Header().Set(awserr.RequestIDHeader, "ID")
	protocol.Answer(w, "GetMetricData", out)
	want := `<GetMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><GetMetricDataResult>` +
		`<MetricDataResults><member>` +
		`<Id>&lt;m&gt;</Id><Label>nul ` + "\uFFFD and \uFFFD" +
		`</Label><Timestamps><member>2026-11-21T19:53:05.123Z</member></Timestamps>` +
		`<Values><member>1.0</member><member>-Infinity</member><member>NaN</member><member>1e-09</member></Values>` +
		`<Messages><member/></Messages></member></MetricDataResults>` +
		`<NextToken/></GetMetricDataResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata>` +
		`</GetMetricDataResponse>`
	if got := w.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
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
	const none = "<K><B/><M/></K>"
	for form, want := range map[string]string{
		"L=-9223372036854775808&F=1.5&B=AP8%3D&M.entry.1.key=k&M.entry.1.value=v": "<K><L>-9223372036854775808</L><F>" +
			"1.5</F><B>AP8=</B><M><entry><key>k</key><value>v</value></entry></M></K>",
		"":                                   none,
		"B=&M=":                              none,
		"L=9223372036854775808":              "error",
		"F=1e39":                             "error",
		"B=A":                                "error",
		"M=x":                                "error",
		"M.entry.1.key=%FF&M.entry.1.value=": "error",
	} {
		var k kinds
		got := "error"
		if err := decode(t, form, &k); err == nil {
			w := httptest.NewRecorder()
			protocol.Answer(w, "X", k)
			_, got, _ = strings.Cut(w.Body.String(), "<XResult>")
			got, _, _ = strings.Cut("<K>"+got, "</XResult>")
			got += "</K>"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", form, got, want)
		}
	}
}

// Any form is read or refused; what is read can be said in XML.
func FuzzDecode(f *testing.F) {
	f.Add(
		"Namespace=N&MetricData.member.1.MetricName=m&MetricData.member.1.Value=1&" +
			"MetricData.member.1.Timestamp=2026-11-21T19:53:05Z",
	)
	f.Add("MetricData.member.2.Values.member.1=NaN&MetricData.1.Dimensions.member.1.Name=%3C&MetricData=")
	f.Add(
		"EntityMetricData.member.1.Entity.Attributes.entry.1.key=k&" +
			"EntityMetricData.member.1.Entity.Attributes.entry.1.value=v&StrictEntityValidation=true",
	)
	f.Add("MetricData.member.1-x=&MetricData.member.1.x=&MetricData.member.1=&.&..=&a")
	f.Fuzz(func(t *testing.T, form string) {
		var in cloudwatch.PutMetricDataInput
		err := decode(t, form, &in)
		_, bad := errors.AsType[*shape.DecodeError](err)
		if _, ok := errors.AsType[*awserr.Error](err); err != nil && !bad && !ok {
			t.Fatalf("%T: %v", err, err)
		}
		w := httptest.NewRecorder()
		if err == nil {
			protocol.Answer(w, "PutMetricData", in)
		} else {
			protocol.Refuse(w, awserr.Of(awserr.CloudWatch, "PutMetricData", err))
		}
		for d := xml.NewDecoder(bytes.NewReader(w.Body.Bytes())); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
		}
	})
}

func BenchmarkPutMetricData(b *testing.B) {
	var form strings.Builder
	for i := range 1000 {
		fmt.Fprintf(
			&form,
			"&MetricData.member.%d.MetricName=m&MetricData.member.%[1]d.Value=%[1]d&"+
				"MetricData.member.%[1]d.Dimensions.member.1.Name=d&"+
				"MetricData.member.%[1]d.Dimensions.member.1.Value=v",
			i+1,
		)
	}
	b.SetBytes(int64(form.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(b, form.String(), &cloudwatch.PutMetricDataInput{}); err != nil {
			b.Fatal(err)
		}
	}
}
