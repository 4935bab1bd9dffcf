package simdevices_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/simdevices"
)

// What a call costs this process, with a server that costs little.
func BenchmarkACall(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/GetDeployments" {
			_, _ = w.Write([]byte(`{"Deployments":[]}`))
		}
	}))
	defer s.Close()
	r := simdevices.NewRemote(s.URL,
		"us-east-1", aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "0123456789"}, 64)
	defer r.Close()
	b.Run("heartbeat", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Heartbeat(b.Context(),
				edge.Heartbeat{Fleet: "plant", Device: "sim-000001", AgentVersion: simdevices.Version}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("poll", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := r.Deployments(b.Context(), "plant", "sim-000001"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
