package hosting_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

func TestTheReasonOfAnEndpointAtRest(t *testing.T) {
	ready := hosting.Instance{Wanted: true, Status: hosting.InstanceReady}
	retried := hosting.Instance{Wanted: true, Status: hosting.InstanceUnhealthy, Attempts: 1, Detail: "it crashed"}
	failed := hosting.Instance{Wanted: true, Status: hosting.InstanceFailed, Attempts: 3, Detail: "no image"}
	slow := hosting.Instance{Wanted: true, Status: hosting.InstanceUnhealthy, Detail: "/ping answered 503"}
	for name, c := range map[string]struct {
		status    hosting.Status
		instances []hosting.Instance
		want      string
	}{
		"all is well":                   {hosting.InService, []hosting.Instance{ready}, "rolled back"},
		"one crashed":                   {hosting.InService, []hosting.Instance{ready, retried}, "rolled back"},
		"one was given up":              {hosting.InService, []hosting.Instance{ready, failed}, "no image"},
		"all crashed":                   {hosting.OutOfService, []hosting.Instance{retried}, "it crashed"},
		"one was given up, one crashed": {hosting.OutOfService, []hosting.Instance{failed, retried}, "no image"},
		"all are slow":                  {hosting.OutOfService, []hosting.Instance{slow}, "rolled back"},
	} {
		e := &hosting.Endpoint{Status: c.status, FailureReason: "rolled back"}
		if got := e.View(c.instances).FailureReason; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	deploying := &hosting.Endpoint{Status: hosting.Updating, Deployment: &hosting.Deployment{}}
	if got := deploying.Reason([]hosting.Instance{failed}); got != "" {
		t.Errorf("while it is updated: %q", got)
	}
}
