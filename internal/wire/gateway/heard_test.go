package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/gateway"
)

// leaving is an API whose client has closed his sending side by the time it looks.
type leaving struct {
	echo
	leave context.CancelFunc
}

func (l leaving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.leave()
	_, bounded := r.Context().Deadline()
	fmt.Fprintf(w, "%v, bounded: %v", r.Context().Err(), bounded)
}

// Who has sent all he had to say, and closes his sending side, still listens.
func TestARequestThatCameWholeIsCarriedOut(t *testing.T) {
	for service, want := range map[string]string{
		"sagemaker": "<nil>, bounded: true", "sts": "<nil>, bounded: true", "s3": "<nil>, bounded: false",
	} {
		ctx, leave := context.WithCancel(t.Context())
		api := leaving{echo(service), leave}
		c := open(t, func(c *gateway.Config) { c.SageMaker, c.STS, c.S3 = api, api, api })
		a := ask{method: "POST", path: "/", service: service, body: "{}", header: http.Header{}}
		switch service {
		case "sagemaker":
			a.header.Set("X-Amz-Target", "SageMaker.ListModels")
		case "s3":
			a.method, a.path = "GET", "/bucket"
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, c.request(t, a).WithContext(ctx))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
		leave()
	}
}
