package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// weighed is what slipway gate tells of a gate.
type weighed struct {
	Since                      float64
	Requests, PreviousRequests int64
	Proof, Threshold           float64
	GateName                   string
	Statements                 []string
}

// weighs returns what the first gate of the endpoint's deployment has seen.
func (s *server) weighs(endpoint string) (g weighed) {
	s.t.Helper()
	var all struct{ Gates []weighed }
	out, stderr, code := s.slipway("gate", endpoint, "--json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 {
		s.t.Fatal(err, code, stderr)
	}
	if len(all.Gates) == 0 {
		return g
	}
	return all.Gates[0]
}

// A server is killed while a canary that is held has a part of its proof. The next
// one goes on with it: it counts nothing twice, says for how long nobody counted, and
// ends the bake by requests of before and after.
func TestEvidenceSurvivesAServerThatIsKilled(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.createEndpoint("live", "good")
	_, err := c.sagemaker.CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: aws.String("held"),
		ProductionVariants: []types.ProductionVariant{variant("main", "good", 2)},
		Tags: []types.Tag{
			{Key: aws.String("slipway:gate:errors"), Value: aws.String("action=hold proven=0.05")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.update("held", canaryFor(1))
	l := startCensus(c, "live", 20)
	var before weighed
	eventually(t, 2*time.Minute, "a part of the proof is there", func() bool {
		before = s.weighs("live")
		return before.Proof > 0.5
	})
	time.Sleep(6 * time.Second) // evidence is saved every five: this much may be lost
	before = s.weighs("live")
	s.kill()
	l.finish()
	sent := int64(len(l.outcomes))
	s.restart()
	l = startCensus(c, "live", 20)
	var after weighed
	eventually(t, time.Minute, "it goes on", func() bool {
		after = s.weighs("live")
		return after.Requests > 0
	})
	l.mu.Lock()
	all := sent + int64(len(l.outcomes))
	l.mu.Unlock()
	if n := after.Requests + after.PreviousRequests; n > all+5 || after.Requests < before.Requests-100 {
		t.Errorf("%d requests were compared, of %d that were sent; before the kill %d", n, all,
			before.Requests+before.PreviousRequests)
	}
	if after.Since != before.Since {
		t.Errorf("it counts since %v, before since %v", after.Since, before.Since)
	}
	got := c.awaitInService("live")
	l.finish()
	if got != "held" {
		t.Errorf("%s is in service: %s", got, aws.ToString(c.describe("live").FailureReason))
	}
	out := s.wantSlipway(0, "Succeeded", "deployments", "live")
	id, _, _ := strings.Cut(out[strings.Index(out, "d-"):], " ")
	s.wantSlipway(0, " s nobody counted: the server was started meanwhile.", "deployment", id)
	s.wantSlipway(0, "Proven in step 1, for some time of it: held fails at most 5 points", "deployment", id)
	s.stop()
}
