package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// bakingBadly returns a server with an endpoint whose canary of a model that
// only fails has just begun to bake, for so long and without a request yet.
func bakingBadly(t *testing.T, seconds int32) (*server, *sdk) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.deployable("bad", 2, broken(100))
	c.createEndpoint("live", "good")
	d := canaryFor(seconds)
	d.AutoRollbackConfiguration = c.guard("live", "bad")
	c.update("bad", d)
	eventually(t, 30*time.Second, "the canary bakes", func() bool {
		p := c.describe("live").PendingDeploymentSummary
		return p != nil && len(p.ProductionVariants[0].VariantStatus) > 0 &&
			p.ProductionVariants[0].VariantStatus[0].Status == types.VariantStatusBaking
	})
	return s, c
}

// wantCaught sends requests and checks that the bad model is found out, and that
// the record says why its bake took longer.
func wantCaught(s *server, c *sdk, missed string) {
	t := s.t
	t.Helper()
	l := startCensus(c, "live", guardedRate)
	got := c.awaitInService("live")
	l.finish()
	if reason := aws.ToString(c.describe("live").FailureReason); got != "good" || reason != rejected {
		t.Errorf("%s is in service: %s", got, reason)
	}
	out := s.wantSlipway(0, "RolledBack", "deployments", "live")
	if at := strings.Index(out, "d-"); at < 0 {
		t.Errorf("no deployment in\n%s", out)
	} else if id, _, _ := strings.Cut(out[at:], " "); id != "" {
		s.wantSlipway(0, missed, "deployment", id)
	}
}

// The server dies as the bake of a bad model begins, and comes back when its
// wait is over: it bakes in full, and finds the model out.
func TestABakeInWhichTheServerWasDeadStartsOver(t *testing.T) {
	s, c := bakingBadly(t, 6)
	s.kill()
	time.Sleep(7 * time.Second) // longer than the wait
	s.restart()
	wantCaught(s, c, "the server was started meanwhile")
	s.stop()
}

// The same with a server that stands still.
func TestABakeInWhichTheServerStoodStillStartsOver(t *testing.T) {
	s, c := bakingBadly(t, 6)
	if err := syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(7 * time.Second) // longer than the wait
	if err := syscall.Kill(s.cmd.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wantCaught(s, c, "the server stood still")
	s.stop()
}
