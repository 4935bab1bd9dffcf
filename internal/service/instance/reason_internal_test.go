package instance

import (
	"strings"
	"testing"
)

func TestTheSentenceThatMattersIsNotBehindRecordsOfNoTrouble(t *testing.T) {
	const info = `{"time":"2026-01-01T00:00:00Z","level":"INFO","msg":"loading","dir":"/data/models/1234567890"}` + "\n"
	for name, c := range map[string]struct{ log, want string }{
		"a record before it": {info + "model.onnx is not an ONNX model\n", "model.onnx is not an ONNX model"},
		"nothing else":       {info, strings.TrimSpace(info)},
		"an error record":    {info + `{"level":"ERROR","msg":"no"}`, `{"level":"ERROR","msg":"no"}`},
		"a long log":         {strings.Repeat("x", 2000) + "\nlast", strings.Repeat("x", maxLastLines-5) + "\nlast"},
	} {
		if got := lastLines(c.log); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
