package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/slipway-ml/slipway/internal/config"
)

func TestTheGoSDKRunsTheWholeLifeOfAnEndpoint(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	ctx := t.Context()

	who, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(who.Account) != "123456789012" {
		t.Errorf("the account is %s", aws.ToString(who.Account))
	}
	c.deployable("v1", 2, nil)
	c.deployable("v2", 1, nil)
	c.createEndpoint("live", "v1")
	c.wantAnswer("live", "v1")
	if n := len(s.instances()); n != 2 {
		t.Errorf("%d instances run, want 2", n)
	}

	_, err = c.sagemaker.UpdateEndpoint(
		ctx, &sagemaker.UpdateEndpointInput{EndpointName: aws.String("live"), EndpointConfigName: aws.String("v2")},
	)
	if err != nil {
		t.Fatal(err)
	}
	d := c.describe("live")
	if d.EndpointStatus != types.EndpointStatusUpdating || aws.ToString(d.EndpointConfigName) != "v1" {
		t.Errorf("during the update: %s, %s", d.EndpointStatus, aws.ToString(d.EndpointConfigName))
	}
	if d.PendingDeploymentSummary == nil || aws.ToString(d.PendingDeploymentSummary.EndpointConfigName) != "v2" {
		t.Errorf("during the update: pending %+v", d.PendingDeploymentSummary)
	}
	if got := c.awaitInService("live"); got != "v2" {
		t.Errorf("in service is %s", got)
	}
	c.wantAnswer("live", "v2")
	eventually(t, 10*time.Second, "one instance runs", func() bool { return len(s.instances()) == 1 })
	c.deleteEndpoint("live")
	eventually(t, 10*time.Second, "no instance runs", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

func TestTheGoSDKPagesThroughEverything(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 1, nil)
	var want []string
	for _, name := range []string{"p-1", "p-2", "p-3", "p-4", "p-5"} {
		c.config(name, variant("main", "m", 1))
		want = append(want, name)
	}
	pages := sagemaker.NewListEndpointConfigsPaginator(c.sagemaker, &sagemaker.ListEndpointConfigsInput{
		NameContains: aws.String("P-"), SortBy: types.EndpointConfigSortKeyName, SortOrder: types.OrderKeyAscending,
		MaxResults: aws.Int32(2),
	})
	var got []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.EndpointConfigs) > 2 {
			t.Errorf("a page has %d", len(page.EndpointConfigs))
		}
		for _, e := range page.EndpointConfigs {
			got = append(got, aws.ToString(e.EndpointConfigName))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheGoSDKMovesObjectsInPartsAndByPresignedURL(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	ctx := t.Context()
	if _, err := c.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("b")}); err == nil {
		t.Error("a bucket name of one letter was accepted")
	}
	c.upload("small", []byte("small"))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	manager := transfermanager.New(c.s3)
	_, err := manager.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: aws.String("models"), Key: aws.String("big"), Body: bytes.NewReader(big),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("models"), Key: aws.String("big")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(body, big) {
		t.Errorf("the parts do not make the object: %d bytes, %v", len(body), err)
	}

	signer := s3.NewPresignClient(c.s3)
	put, err := signer.PresignPutObject(
		ctx, &s3.PutObjectInput{Bucket: aws.String("models"), Key: aws.String("signed key")},
	)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := plainHTTP(t, put.Method, put.URL, "by anyone"); status != http.StatusOK {
		t.Errorf("the presigned upload got %d", status)
	}
	get, err := signer.PresignGetObject(
		ctx, &s3.GetObjectInput{Bucket: aws.String("models"), Key: aws.String("signed key")},
	)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := plainHTTP(t, get.Method, get.URL, ""); status != http.StatusOK || body != "by anyone" {
		t.Errorf("the presigned download got %d, %q", status, body)
	}
	if status, _ := plainHTTP(
		t, get.Method, strings.Replace(get.URL, "signed%20key", "big", 1), "",
	); status != http.StatusForbidden {
		t.Errorf("a URL signed for another object got %d", status)
	}
	_, err = c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("models"), Key: aws.String("nope")})
	if _, ok := errors.AsType[*s3types.NoSuchKey](err); !ok {
		t.Errorf("a missing object: %v", err)
	}
}

func TestTheGoSDKSeesTypedErrors(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 1, nil)
	c.createEndpoint("live", "m")

	_, err := c.once.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String("live"), CustomAttributes: aws.String("status=418"), Body: []byte("x"),
	})
	if e, ok := errors.AsType[*runtimetypes.ModelError](err); !ok || aws.ToInt32(e.OriginalStatusCode) != 418 ||
		aws.ToString(e.LogStreamArn) == "" {
		t.Errorf("a model's error: %v", err)
	}
	_, err = c.sagemaker.DescribeEndpoint(
		t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: aws.String("nope")},
	)
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "ValidationException" ||
		e.ErrorMessage() != `Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/nope".` {
		t.Errorf("a missing endpoint: %v", err)
	}
	// Guardrails that do not fit the fleet are refused: one instance of one is
	// more than half of it (spec §4.2).
	c.deployable("n", 1, nil)
	_, err = c.sagemaker.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("live"), EndpointConfigName: aws.String("n"),
		DeploymentConfig: canaryFor(60),
	})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "ValidationException" {
		t.Errorf("a canary: %v", err)
	}
	c.wantAnswer("live", "m")
}

func TestABrokenStreamIsAnErrorToTheClient(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 1, nil)
	c.createEndpoint("live", "m")
	in := &sagemakerruntime.InvokeEndpointWithResponseStreamInput{
		EndpointName: aws.String("live"), CustomAttributes: aws.String("chunks=5,abort_after=2"), Body: []byte("x"),
	}
	out, err := c.once.InvokeEndpointWithResponseStream(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	stream := out.GetStream()
	defer stream.Close()
	parts := 0
	for range stream.Events() {
		parts++
	}
	if e, ok := errors.AsType[*runtimetypes.ModelStreamError](stream.Err()); !ok || parts == 0 {
		t.Errorf("after %d parts the stream ended with %v (%v)", parts, stream.Err(), e)
	}
}

func TestAModelThatNeverAnswersTimesOut(t *testing.T) {
	s := startServer(t, func(c *config.Config) { c.Limits.ModelTimeout = config.Duration(time.Second) })
	c := s.sdk()
	c.deployable("m", 1, nil)
	c.createEndpoint("live", "m")
	began := time.Now()
	_, err := c.once.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String("live"), CustomAttributes: aws.String("sleep_ms=30000"), Body: []byte("x"),
	})
	e, ok := errors.AsType[*runtimetypes.ModelError](err)
	if !ok || aws.ToInt32(e.OriginalStatusCode) != 0 || !strings.Contains(
		aws.ToString(e.OriginalMessage),
		"Your invocation timed out while waiting for a response from container primary.",
	) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func (c *sdk) describe(endpoint string) *sagemaker.DescribeEndpointOutput {
	c.t.Helper()
	d, err := c.sagemaker.DescribeEndpoint(c.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &endpoint})
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// wantAnswer invokes the endpoint, and its testmodel must answer by that name.
func (c *sdk) wantAnswer(endpoint, name string) {
	c.t.Helper()
	out, err := c.once.InvokeEndpoint(
		c.t.Context(), &sagemakerruntime.InvokeEndpointInput{EndpointName: &endpoint, Body: []byte("x")},
	)
	if err != nil {
		c.t.Fatal(err)
	}
	if !strings.Contains(string(out.Body), `"name":"`+name+`"`) ||
		aws.ToString(out.InvokedProductionVariant) != "main" {
		c.t.Fatalf("%s answered %s, want %s", aws.ToString(out.InvokedProductionVariant), out.Body, name)
	}
}

// plainHTTP sends a request that carries nothing but its URL.
func plainHTTP(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
