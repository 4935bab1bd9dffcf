package rpc_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/slipway-ml/slipway/internal/wire/awsquery"
	"github.com/slipway-ml/slipway/internal/wire/cborrpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

// What a client says in one protocol means the same in another.
func FuzzTheProtocolsAgree(f *testing.F) {
	f.Add([]byte(
		`{"Namespace":"N","MetricData":[{"MetricName":"m","Value":1.5,"Timestamp":1795290785.123,` +
			`"Dimensions":[{"Name":"a","Value":"b"}]},{}]}`,
	))
	f.Add([]byte(
		`{"MetricData":[{"Values":["NaN",-1e300,0],"Counts":[]},{"StatisticValues":{"Sum":-0.0}}],` +
			`"StrictEntityValidation":false}`,
	))
	f.Add([]byte(`{"EntityMetricData":[{"Entity":{"Attributes":{"k.1":"=&é","":""},"KeyAttributes":{}}}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var in, fromCBOR, fromForm cloudwatch.PutMetricDataInput
		if shape.Decode(doc, &in) != nil || !millis(&in) {
			return
		}
		want := string(shape.Append(nil, in))
		if err := cborrpc.Decode(cborrpc.Append(nil, in), &fromCBOR); err != nil {
			t.Fatal(err)
		}
		if got := string(shape.Append(nil, fromCBOR)); got != want {
			t.Errorf("CBOR:\n%s\nwant\n%s", got, want)
		}
		form := url.Values{"Action": {"PutMetricData"}, "Version": {"2010-08-01"}}
		spell(form, "", in.Shape(), reflect.ValueOf(in))
		for name := range form {
			if len(name) > 1000 {
				return
			}
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, decode, err := awsquery.Protocol{
			Service: cloudwatch.API(),
		}.Open(r, func() ([]byte, error) { return io.ReadAll(r.Body) })
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(&fromForm); err != nil {
			t.Fatalf("%v: %s", err, form.Encode())
		}
		if got := string(shape.Append(nil, fromForm)); got != want {
			t.Errorf("Query: %s\n%s\nwant\n%s", form.Encode(), got, want)
		}
	})
}

// millis rounds times to what all protocols carry, and refuses those that only
// some can.
func millis(in *cloudwatch.PutMetricDataInput) bool {
	ok := true
	round := func(data []cloudwatch.MetricDatum) {
		for i := range data {
			if d := data[i].Timestamp; d != nil {
				d.Time = d.Truncate(time.Millisecond)
				ok = ok && d.Year() >= 1900 && d.Year() < 2100
			}
		}
	}
	round(in.MetricData)
	for _, e := range in.EntityMetricData {
		round(e.MetricData)
	}
	return ok
}

// spell writes v as the parameters that clients make of it.
func spell(form url.Values, name string, s *shape.Shape, v reflect.Value) {
	v = reflect.Indirect(v)
	switch s.Kind {
	case shape.Structure:
		if name != "" {
			form.Set(name, "")
			name += "."
		}
		for i := range s.Members {
			if !v.Field(i).IsNil() {
				spell(form, name+s.Members[i].Name, s.Members[i].Shape, v.Field(i))
			}
		}
	case shape.List:
		form.Set(name, "")
		for i := range v.Len() {
			spell(form, name+".member."+strconv.Itoa(i+1), s.Elem, v.Index(i))
		}
	case shape.Map:
		form.Set(name, "")
		for i, k := range shape.SortedKeys(v) {
			spell(form, fmt.Sprintf("%s.entry.%d.key", name, i+1), s.Key, k)
			spell(form, fmt.Sprintf("%s.entry.%d.value", name, i+1), s.Elem, v.MapIndex(k))
		}
	case shape.Double:
		form.Set(name, string(shape.AppendFloat(nil, v.Float(), 64)))
	case shape.Timestamp:
		t, _ := reflect.TypeAssert[shape.Time](v)
		form.Set(name, t.Format("2006-01-02T15:04:05.999Z"))
	default:
		form.Set(name, fmt.Sprint(v.Interface()))
	}
}

// Whatever comes in, one well-formed answer goes out, in the protocol of the
// question.
func FuzzHandler(f *testing.F) {
	const root = "/service/GraniteServiceVersion20100801/operation/"
	f.Add("json", "PutMetricData", []byte(`{"Namespace":"N","MetricData":[{"MetricName":"m","Value":1}]}`), false)
	f.Add("cbor", "DescribeAlarms", []byte{0xa0}, true)
	f.Add("query", "Action=DescribeAlarmHistory", []byte(`Version=2010-08-01&AlarmName=a`), false)
	f.Add(
		"query", "Action=SetAlarmState&Version=2010-08-01", []byte(`AlarmName=a&StateReason=%3C%00&StateValue=OK`),
		true,
	)
	h := newHandler(slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, protocol, op string, body []byte, zipped bool) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		if zipped {
			r.Header.Set("Content-Encoding", "gzip")
		}
		switch protocol {
		case "json":
			r.Header.Set("X-Amz-Target", "GraniteServiceVersion20100801."+op)
		case "cbor":
			r.URL.Path = root + op
		default:
			r.URL.RawQuery = op
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) || w.Header().Get("X-Amzn-Requestid") == "" {
			t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
		}
		if w.Code >= 500 && !strings.Contains(w.Body.String(), "internal error") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if err := wellFormed(w.Header().Get("Content-Type"), w.Body.Bytes()); err != nil {
			t.Errorf("%v: %q", err, w.Body)
		}
	})
}

func wellFormed(contentType string, b []byte) error {
	switch contentType {
	case "application/cbor":
		return cbor.Wellformed(b)
	case "text/xml":
		for d := xml.NewDecoder(bytes.NewReader(b)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	if len(b) > 0 && !json.Valid(b) {
		return errors.New("not JSON")
	}
	return nil
}
