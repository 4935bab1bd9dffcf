package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// What CreateModel refuses is refused before each start, too: a record may be
// older than the rule.
func TestAnImageSaysWhatItsModelsMaySet(t *testing.T) {
	cfg, err := config.Parse([]byte(`images:
  py: {command: [python3, x.py]}
  closed: {command: [x], environment: []}
  open: {command: [x], environment: [HF_TASK, PYTHONPATH]}
  slipway/onnx: {command: [/opt/slipway-onnx, --port, "{port}"]}`))
	if err != nil {
		t.Fatal(err)
	}
	a := &App{}
	a.live.Store(&cfg)
	for name, c := range map[string]struct {
		image, set string
		refused    bool
	}{
		"an interpreter's path":                   {"py", "PYTHONPATH", true},
		"an interpreter's path, when it is asked": {"open", "PYTHONPATH", false},
		"the loader's, never":                     {"open", "LD_PRELOAD", true},
		"what SageMaker's SDK sends":              {"py", "SAGEMAKER_PROGRAM", false},
		"what a list leaves out":                  {"open", "SAGEMAKER_PROGRAM", true},
		"anything where nothing is allowed":       {"closed", "MODEL_A", true},
		"the built-in image's tuning":             {"slipway/onnx", "SLIPWAY_ONNX_MAX_BATCH", false},
		"the built-in image's library":            {"slipway/onnx", "SLIPWAY_ONNX_LIB", true},
		"the built-in image's address":            {"slipway/onnx", "SLIPWAY_ONNX_HOST", true},
		"the built-in image's tuning, elsewhere":  {"py", "SLIPWAY_ONNX_MAX_BATCH", true},
	} {
		err := a.checkContainer(hosting.Container{
			Name: "primary", Image: c.image, Environment: map[string]string{c.set: "x"},
		})
		if errors.Is(err, fault.Invalid) != c.refused || c.refused && !strings.Contains(err.Error(), c.set) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
