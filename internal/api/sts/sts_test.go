package sts_test

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ml/slipway/internal/api/sts"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// apiError is what the SDK makes of an error answer.
type apiError interface {
	error
	ErrorCode() string
	ErrorMessage() string
}

func serve(t *testing.T) (*client.Client, sigv4.Key) {
	t.Helper()
	c, k, _ := serveAt(t)
	return c, k
}

func serveAt(t *testing.T) (*client.Client, sigv4.Key, string) {
	t.Helper()
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), "123456789012")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	srv := httptest.NewServer(gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Account: "123456789012", Region: "us-east-1", Log: log,
		STS: sts.New(log),
	}))
	t.Cleanup(srv.Close)
	k := keys.Default()
	return client.New(client.Options{
		BaseEndpoint: aws.String(srv.URL), Region: "eu-west-1",
		Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, ""),
	}), k, srv.URL
}

func TestTheCommandLineLearnsWhoItIs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real client")
	}
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("SKIPPED: the AWS command line is not installed")
	}
	_, k, url := serveAt(t)
	cmd := exec.CommandContext(t.Context(), "aws", "sts", "get-caller-identity", "--output", "text")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+k.ID, "AWS_SECRET_ACCESS_KEY="+k.Secret, "AWS_SESSION_TOKEN=",
		"AWS_DEFAULT_REGION=eu-west-1",
		"AWS_ENDPOINT_URL="+url, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=")
	out, err := cmd.CombinedOutput()
	if want := "123456789012\tarn:aws:iam::123456789012:user/default\t" + k.UserID; err != nil ||
		strings.TrimSpace(string(out)) != want {
		t.Errorf("%s, %v", out, err)
	}
}

func TestTheSDKLearnsWhoItIs(t *testing.T) {
	c, k := serve(t)
	out, err := c.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *out.Account != "123456789012" || *out.Arn != "arn:aws:iam::123456789012:user/default" ||
		*out.UserId != k.UserID {
		t.Errorf("%s %s %s", *out.Account, *out.Arn, *out.UserId)
	}
}

func TestAnOperationThatIsNotThereIsNamed(t *testing.T) {
	c, _ := serve(t)
	_, err := c.GetSessionToken(t.Context(), nil)
	e, ok := errors.AsType[apiError](err)
	if !ok || e.ErrorCode() != "InvalidAction" ||
		!strings.Contains(e.ErrorMessage(), "GetSessionToken is not implemented by Slipway") {
		t.Error(err)
	}
}

func TestAWrongSecretIsRefusedInTheSDKsWords(t *testing.T) {
	c, k := serve(t)
	_, err := c.GetCallerIdentity(t.Context(), nil, func(o *client.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(k.ID, "wrong", "")
	})
	if e, ok := errors.AsType[apiError](err); !ok || e.ErrorCode() != "SignatureDoesNotMatch" {
		t.Error(err)
	}
}

func TestBadRequestsHearWhatIsWrong(t *testing.T) {
	h := sts.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	for query, want := range map[string]string{
		"": "400 <Code>MissingAction</Code>",
		"Action=GetCallerIdentity&Version=1": "400 <Code>InvalidAction</Code><Message>Could not find operation " +
			"GetCallerIdentity for version 1<",
		"Action=%3Cx%3E&Version=2011-06-15": "400 <Code>InvalidAction</Code><Message>Could not find operation " +
			"&lt;x&gt; for",
		"Action=%zz": "400 <Code>MalformedQueryString</Code>",
		// no caller: the gateway was left out
		"Action=GetCallerIdentity&Version=2011-06-15": "500 <Code>InternalFailure</Code>",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/?"+query, nil))
		status, body, _ := strings.Cut(want, " ")
		if w.Result().Status[:3] != status || !strings.Contains(w.Body.String(), body) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
