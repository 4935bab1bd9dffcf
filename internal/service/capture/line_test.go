package capture_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/capture"
)

// written returns the lines of records, in their order.
func written(t *testing.T, records ...capture.Record) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		for _, r := range records {
			w.service.Take(r)
		}
		w.stop()
		for _, o := range w.objects("kept") {
			text += o.text
		}
		w.lines(text)
	})
	return text
}

func TestALineIsWhatItsReadersExpect(t *testing.T) {
	at := time.Date(2022, 2, 14, 18, 25, 49, 987654321, time.FixedZone("CET", 3600))
	full := record("5.1,3.5\n", `{"a": "<é>"}`)
	full.At, full.Inference, full.Attributes = at, "abc-1", `c1=a, b="é"`
	full.Input.ContentType = "Text/CSV; charset=utf-8"
	input, output, cut := full, full, full
	input.Output, output.Input = capture.Side{}, capture.Side{}
	input.Inference, input.Attributes, output.Inference, output.Attributes = "", "", "", ""
	cut.Output.Truncated = true
	for name, c := range map[string]struct {
		record capture.Record
		want   string
	}{
		"both sides": {
			full,
			`{"captureData":{"endpointInput":{"observedContentType":"Text/CSV; charset=utf-8","mode":"INPUT",` +
				`"data":"5.1,3.5\n","encoding":"CSV"},"endpointOutput":{"observedContentType":"application/json",` +
				`"mode":"OUTPUT","data":"{\"a\": \"<é>\"}","encoding":"JSON"}},"eventMetadata":{"eventId":"UUID",` +
				`"customAttributes":["c1=a, b=\"é\""],"inferenceId":"abc-1","inferenceTime":"2022-02-14T17:25:49Z"},` +
				`"eventVersion":"0"}` + "\n",
		},
		"the input alone": {
			input,
			`{"captureData":{"endpointInput":{"observedContentType":"Text/CSV; charset=utf-8","mode":"INPUT",` +
				`"data":"5.1,3.5\n","encoding":"CSV"}},"eventMetadata":{"eventId":"UUID",` +
				`"inferenceTime":"2022-02-14T17:25:49Z"},"eventVersion":"0"}` + "\n",
		},
		"the output alone": {
			output,
			`{"captureData":{"endpointOutput":{"observedContentType":"application/json",` +
				`"mode":"OUTPUT","data":"{\"a\": \"<é>\"}","encoding":"JSON"}},"eventMetadata":{"eventId":"UUID",` +
				`"inferenceTime":"2022-02-14T17:25:49Z"},"eventVersion":"0"}` + "\n",
		},
		"an output that was cut": {
			cut,
			`{"captureData":{"endpointInput":{"observedContentType":"Text/CSV; charset=utf-8","mode":"INPUT",` +
				`"data":"5.1,3.5\n","encoding":"CSV"},"endpointOutput":{"observedContentType":"application/json",` +
				`"mode":"OUTPUT","data":"{\"a\": \"<é>\"}","encoding":"JSON"}},"eventMetadata":{"eventId":"UUID",` +
				`"customAttributes":["c1=a, b=\"é\""],"inferenceId":"abc-1","inferenceTime":"2022-02-14T17:25:49Z",` +
				`"truncated":true},"eventVersion":"0"}` + "\n",
		},
	} {
		got := regexp.MustCompile(uuid).ReplaceAllString(written(t, c.record), "UUID")
		if got != c.want {
			t.Errorf("%s:\ngot  %swant %s", name, got, c.want)
		}
	}
}

func TestTheContentTypeDecidesHowABodyIsWritten(t *testing.T) {
	listed := &traffic.Capture{
		Destination: "s3://kept", Input: true, CSV: []string{"text/csv", "Application/X-Rows"},
		JSON: []string{"application/json", "application/jsonlines"},
	}
	unlisted := &traffic.Capture{Destination: "s3://kept", Input: true}
	for name, c := range map[string]struct {
		capture        *traffic.Capture
		contentType    string
		data           string
		truncated      bool
		encoding, want string
	}{
		"CSV":                     {listed, "text/csv", "1,2", false, "CSV", "1,2"},
		"in another case":         {listed, "TEXT/csv", "1,2", false, "CSV", "1,2"},
		"listed in another case":  {listed, "application/x-rows", "1,2", false, "CSV", "1,2"},
		"with a parameter":        {listed, "text/csv ; charset=utf-8", "1,2", false, "CSV", "1,2"},
		"JSON":                    {listed, "application/json", `{"a":1}`, false, "JSON", `{"a":1}`},
		"JSON that is none":       {listed, "application/json", `{"a`, false, "JSON", `{"a`},
		"JSON lines":              {listed, "application/jsonlines", "1\n2\n", false, "JSON", "1\n2\n"},
		"control characters":      {listed, "text/csv", "\x00\x1f\t\r\u2028", false, "CSV", "\x00\x1f\t\r\u2028"},
		"an empty body":           {listed, "text/csv", "", false, "CSV", ""},
		"another type":            {listed, "image/png", "1,2", false, "BASE64", "MSwy"},
		"only its beginning":      {listed, "text/csv2", "1,2", false, "BASE64", "MSwy"},
		"no type":                 {listed, "", "1,2", false, "BASE64", "MSwy"},
		"text that is not UTF-8":  {listed, "text/csv", "1,\xff", false, "BASE64", "MSz/"},
		"cut within a letter":     {listed, "text/csv", "é\xe2\x82", true, "CSV", "é"},
		"cut and not UTF-8":       {listed, "text/csv", "\xff\xe2\x82", true, "BASE64", "/+KC"},
		"no CaptureContentTypes…": {unlisted, "text/csv", "1,2", false, "BASE64", "MSwy"},
	} {
		r := record("", "")
		r.Capture, r.Output = c.capture, capture.Side{}
		r.Input = capture.Side{Taken: true, ContentType: c.contentType, Data: []byte(c.data), Truncated: c.truncated}
		l := (&world{t: t}).lines(written(t, r))
		if len(l) != 1 {
			t.Fatalf("%s: %d lines", name, len(l))
		}
		got := l[0].CaptureData["endpointInput"]
		if got.Encoding != c.encoding || got.Data != c.want || got.ObservedContentType != c.contentType {
			t.Errorf("%s: %+v, want %s %q", name, got, c.encoding, c.want)
		}
	}
}

// Whatever a body and its header are, one line of JSON comes out that says them.
func TestWhatIsCapturedCanBeReadAgain(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string {
			return string(b)
		}))
		in, attributes := text.Draw(rt, "body"), text.Draw(rt, "attributes")
		r := record(in, "")
		r.Attributes, r.Output = attributes, capture.Side{}
		r.Input.ContentType = rapid.SampledFrom([]string{"text/csv", "x/y", "application/json;\xff"}).Draw(rt, "type")
		out := written(t, r)
		if strings.Count(out, "\n") != 1 {
			rt.Fatalf("%q", out)
		}
		l := (&world{t: t}).lines(out)[0]
		got := l.CaptureData["endpointInput"]
		data := got.Data
		if got.Encoding == "BASE64" {
			b, err := base64.StdEncoding.DecodeString(data)
			if err != nil {
				rt.Fatal(err)
			}
			data = string(b)
		} else if !utf8.ValidString(in) {
			rt.Fatalf("%q is written as %s", in, got.Encoding)
		}
		if data != in {
			rt.Fatalf("%q came back as %q", in, data)
		}
		want := []string{strings.ToValidUTF8(attributes, "\uFFFD")}
		if attributes != "" && l.EventMetadata.CustomAttributes[0] != want[0] {
			rt.Fatalf("attributes %q came back as %q", want, l.EventMetadata.CustomAttributes)
		}
	})
}
