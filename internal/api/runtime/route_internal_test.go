package runtime

import (
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakerruntime"
)

// InvokeEndpointAsync is among them: its input is read, and then it is refused.
func TestEveryOperationInTheTableIsFoundByItsPath(t *testing.T) {
	for _, op := range sagemakerruntime.API().Operations {
		at := strings.ReplaceAll(op.URI, "{EndpointName}", "e")
		if found, name := route(op.Method, at); found == unknown || name != "e" {
			t.Errorf("%s: %s %s leads to operation %d of %q", op.Name, op.Method, at, found, name)
		}
	}
}
