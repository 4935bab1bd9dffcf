package s3_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run runs a script of someone else's client against the site.
func (s site) run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(),
		"AWS_ACCESS_KEY_ID="+s.key.ID, "AWS_SECRET_ACCESS_KEY="+s.key.Secret, "AWS_SESSION_TOKEN=",
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ENDPOINT_URL="+
			s.URL, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/"+
			"null", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "all held") {
		t.Errorf("%v\n%s", err, out)
	}
}

// need skips, loudly, where a client is not installed.
func need(t *testing.T, name string, args ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real clients")
	}
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: %s %s does not run here: %v %s", name, strings.Join(args, " "), err, out)
	}
}

func TestBoto3DoesAllItDoesWithS3(t *testing.T) {
	need(t, "python3", "-c", "import boto3")
	start(t, httptest.NewServer).run(t, nil, "python3", "testdata/boto.py", t.TempDir())
}

// Over TLS boto3 sends checksums in trailers, in chunks that are not signed.
func TestBoto3DoesItOverTLS(t *testing.T) {
	need(t, "python3", "-c", "import boto3")
	s := start(t, httptest.NewTLSServer)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(
		ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600,
	); err != nil {
		t.Fatal(err)
	}
	s.run(t, []string{"SITE_CA=" + ca, "SSL_CERT_FILE=" + ca}, "python3", "testdata/boto.py", t.TempDir())
}

func TestTheCommandLineDoesAllItDoesWithS3(t *testing.T) {
	need(t, "aws", "--version")
	need(t, "python3", "--version")
	start(t, httptest.NewServer).run(t, nil, "bash", "testdata/cli.sh", t.TempDir())
}

// The SDK comes from npm: @aws-sdk/client-s3, lib-storage and
// s3-request-presigner where NODE_PATH points.
func TestTheJavaScriptSDKDoesAllItDoesWithS3(t *testing.T) {
	need(
		t, "node", "-e",
		"require('@aws-sdk/client-s3'); require('@aws-sdk/lib-storage'); require('@aws-sdk/s3-request-presigner')",
	)
	start(t, httptest.NewServer).run(t, nil, "node", "testdata/js.cjs")
}
