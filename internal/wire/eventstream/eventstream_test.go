package eventstream_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/wire/eventstream"
)

// The SDK's decoder checks lengths and both checksums.
func TestTheSDKReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payloads := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "payloads")
		var b []byte
		for _, p := range payloads {
			b = eventstream.AppendEvent(b, "PayloadPart", p)
		}
		b = eventstream.AppendException(b, "ModelStreamError", []byte(`{"Message":"m"}`))
		r := bytes.NewReader(b)
		d := sdk.NewDecoder()
		for i, want := range payloads {
			m, err := d.Decode(r, nil)
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			if !bytes.Equal(m.Payload, want) || m.Headers.Get(":event-type").String() != "PayloadPart" ||
				m.Headers.Get(":message-type").String() != "event" {
				t.Fatalf("frame %d: %v", i, m)
			}
		}
		m, err := d.Decode(r, nil)
		if err != nil || m.Headers.Get(":exception-type").String() != "ModelStreamError" ||
			m.Headers.Get(":message-type").String() != "exception" {
			t.Fatalf("exception: %v, %v", m, err)
		}
		if _, err := d.Decode(r, nil); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last frame: %v", err)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	var buf []byte
	p := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = eventstream.AppendEvent(buf[:0], "PayloadPart", p)
	}
}
