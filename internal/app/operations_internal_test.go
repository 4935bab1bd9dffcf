package app

import (
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/service/instance"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
)

// A table that knows more operations than are served costs every reader of the
// generated packages; one that knows fewer is refused when it is bound.
func TestEveryOperationInTheTablesIsServed(t *testing.T) {
	c := (&App{registry: prometheus.NewRegistry(), manager: new(instance.Manager)}).apis(nil)
	for name, h := range map[string]http.Handler{
		"SageMaker": c.SageMaker, "Slipway": c.Slipway, "STS": c.STS, "CloudWatch": c.CloudWatch, "Edge": c.Edge,
		"IoT": c.IoT,
	} {
		served, ok := h.(*rpc.Handler)
		if !ok {
			t.Errorf("%s is served by a %T", name, h)
			continue
		}
		if left := served.Unserved(); len(left) > 0 {
			t.Errorf("%s: %v are generated and not served", name, left)
		}
	}
}
