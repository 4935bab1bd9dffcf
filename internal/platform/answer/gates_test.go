package answer

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// What the tags of a configuration may select can be selected here.
func TestWhatGatesSelectCanBeSelected(t *testing.T) {
	for _, output := range []string{
		"json:predictions.0.label", "json:a", "csv:0", "csv:1048575", "npy", "npy:scores", "raw:FP32", "json:a@label",
		"json:a@embedding", "raw:INT64@number", "csv:3@0.5", "json:a@number@2",
		"json:", "csv:", "csv:-1", "csv:01", "npy:", "json:a..b", "json:a@x", "csv:1048577",
	} {
		gates, err := gate.Read(map[string]string{gate.TagPrefix + "drift": "output=" + output}, nil)
		if err != nil {
			continue
		}
		g, _ := gate.Find(gates, gate.Drift)
		if _, err := ParseSelector(g.Outputs[0].Selector); err != nil {
			t.Errorf("a tag may say output=%s: %v", output, err)
		}
	}
}
