package e2e

import (
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Clients that ignore every setting of an endpoint work by the proxy that
// `slipway env --all` names.
func TestClientsWithHardCodedHostsAreLedHere(t *testing.T) {
	s := startServer(t)
	cmd := exec.CommandContext(t.Context(), python(t), "testdata/py/hosts.py")
	cmd.Env = s.environment("--all")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	c := s.sdk()
	if _, err := c.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Error("beside the proxy:", err)
	}
	got, err := c.s3.HeadObject(t.Context(), &s3.HeadObjectInput{
		Bucket: aws.String("sagemaker-us-east-1-123456789012"), Key: aws.String("healthz"),
	})
	if err != nil || aws.ToInt64(got.ContentLength) != int64(len("healthz")) {
		t.Error("what was put through the proxy:", err)
	}
}
