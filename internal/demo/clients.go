package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"

	"github.com/slipway-ml/slipway/internal/openload"
)

// clients are the AWS SDK's, unmodified, pointed at the demo's server.
type clients struct {
	s3         *s3.Client
	sagemaker  *sagemaker.Client
	cloudwatch *cloudwatch.Client
	runtime    *sagemakerruntime.Client
}

const image = "slipway/onnx"

// configOf names the model and the endpoint configuration of a version.
func configOf(version string) string { return endpoint + "-" + version }

func newClients(ctx context.Context, srv *server) (*clients, error) {
	// Only the server's own credentials file counts: a person's AWS settings
	// must not lead the demo to another place.
	profile, err := awsconfig.LoadSharedConfigProfile(ctx, "default", func(o *awsconfig.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{filepath.Join(srv.dataDir, "credentials")}, []string{os.DevNull}
	})
	if err != nil {
		return nil, err
	}
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &srv.url,
		Credentials:  credentials.StaticCredentialsProvider{Value: profile.Credentials},
		HTTPClient:   openload.NewHTTPClient(inFlight),
	}
	return &clients{
		s3:         s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
		sagemaker:  sagemaker.NewFromConfig(cfg),
		cloudwatch: cloudwatch.NewFromConfig(cfg),
		runtime: sagemakerruntime.NewFromConfig(cfg, func(o *sagemakerruntime.Options) {
			o.RetryMaxAttempts = 1 // a failed request must be seen, not repeated
		}),
	}, nil
}

func (c *clients) makeBucket(ctx context.Context, name string) error {
	_, err := c.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	return err
}

func (c *clients) put(ctx context.Context, bucket, key string, body []byte) error {
	_, err := c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	return err
}

// createModel makes the model of a version. Who answered is told by the model
// server, in a header of its own.
func (c *clients) createModel(ctx context.Context, version string) error {
	_, err := c.sagemaker.CreateModel(ctx, &sagemaker.CreateModelInput{
		ModelName: aws.String(configOf(version)),
		PrimaryContainer: &types.ContainerDefinition{
			Image:        aws.String(image),
			ModelDataUrl: aws.String("s3://" + bucket + "/" + version + "/model.tar.gz"),
			Environment:  map[string]string{"SLIPWAY_ONNX_CUSTOM_ATTRIBUTES": version},
		},
	})
	return err
}

// createConfig makes an endpoint configuration of a version's model, with gates by
// what they look at. The variant is called the same in each, as the guardrails
// demand.
func (c *clients) createConfig(ctx context.Context, name, version string, gates map[string]string) error {
	var tags []types.Tag
	for kind, words := range gates {
		tags = append(tags, types.Tag{Key: aws.String("slipway:gate:" + kind), Value: &words})
	}
	_, err := c.sagemaker.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: aws.String(configOf(name)), Tags: tags,
		ProductionVariants: []types.ProductionVariant{{
			VariantName:          aws.String(variant),
			ModelName:            aws.String(configOf(version)),
			InitialInstanceCount: aws.Int32(instances),
			InstanceType:         types.ProductionVariantInstanceTypeMlM5Large,
		}},
	})
	return err
}

// createEndpoint returns once the endpoint is in service.
func (c *clients) createEndpoint(ctx context.Context, version string) error {
	name := aws.String(endpoint)
	_, err := c.sagemaker.CreateEndpoint(
		ctx, &sagemaker.CreateEndpointInput{EndpointName: name, EndpointConfigName: aws.String(configOf(version))},
	)
	if err != nil {
		return err
	}
	w := sagemaker.NewEndpointInServiceWaiter(c.sagemaker, func(o *sagemaker.EndpointInServiceWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 200*time.Millisecond
	})
	if err := w.Wait(ctx, &sagemaker.DescribeEndpointInput{EndpointName: name}, time.Minute); err != nil {
		return errors.Join(err, c.failureReason(ctx))
	}
	return nil
}

// failureReason is why the endpoint failed, or nil if it does not say.
func (c *clients) failureReason(ctx context.Context) error {
	out, err := c.sagemaker.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String(endpoint)})
	if err != nil || out.FailureReason == nil {
		return nil // the wait's own error is told
	}
	return errors.New(*out.FailureReason)
}

func (c *clients) deleteEndpoint(ctx context.Context) error {
	name := aws.String(endpoint)
	if _, err := c.sagemaker.DeleteEndpoint(ctx, &sagemaker.DeleteEndpointInput{EndpointName: name}); err != nil {
		return err
	}
	w := sagemaker.NewEndpointDeletedWaiter(c.sagemaker, func(o *sagemaker.EndpointDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 200*time.Millisecond
	})
	return w.Wait(ctx, &sagemaker.DescribeEndpointInput{EndpointName: name}, time.Minute)
}

// classify asks the endpoint which digit the image shows. If the model itself
// failed on the image, the answer has its words, and the error is not nil.
func (c *clients) classify(ctx context.Context, pixels []float32) (answer, error) {
	out, err := c.runtime.InvokeEndpoint(ctx, &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String(endpoint),
		ContentType:  aws.String("text/csv"),
		Accept:       aws.String("application/json"),
		Body:         csvRow(pixels),
	})
	if err != nil {
		return answer{failure: ownFailure(err)}, err
	}
	digit, err := parseAnswer(out.Body)
	return answer{digit: digit, version: aws.ToString(out.CustomAttributes)}, err
}

// ownFailure is what a model said that ran and failed on its input, or "" for
// any other error: those are the server's.
func ownFailure(err error) string {
	e, ok := errors.AsType[*runtimetypes.ModelError](err)
	if !ok || aws.ToInt32(e.OriginalStatusCode) != http.StatusInternalServerError {
		return ""
	}
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(aws.ToString(e.OriginalMessage)), &body) != nil {
		return ""
	}
	words, found := strings.CutPrefix(body.Error, "the model failed on this input: ")
	if !found {
		return ""
	}
	return words
}

func csvRow(pixels []float32) []byte {
	fields := make([]string, len(pixels))
	for i, p := range pixels {
		fields[i] = strconv.FormatFloat(float64(p), 'g', -1, 32)
	}
	return []byte(strings.Join(fields, ","))
}

// parseAnswer reads the digit out of what the models answer for one image.
func parseAnswer(body []byte) (int, error) {
	var a struct {
		Predictions []struct {
			Label *int `json:"label"`
		} `json:"predictions"`
	}
	if err := json.Unmarshal(body, &a); err != nil || len(a.Predictions) != 1 || a.Predictions[0].Label == nil {
		return 0, fmt.Errorf("unexpected answer %.200q", body)
	}
	return *a.Predictions[0].Label, nil
}
