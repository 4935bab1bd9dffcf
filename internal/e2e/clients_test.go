package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ml/slipway/internal/openload"
)

// sdk is the AWS SDK for Go, pointed at a server.
type sdk struct {
	t         testing.TB
	s3        *s3.Client
	sagemaker *sagemaker.Client
	runtime   *sagemakerruntime.Client
	once      *sagemakerruntime.Client // as runtime, but without retries: failures are seen
	sts       *sts.Client
}

// awsConfig is the configuration of an SDK that speaks to this server alone.
func (s *server) awsConfig() aws.Config {
	s.t.Helper()
	// Nothing of the machine's own AWS settings may play a part.
	profile, err := awsconfig.LoadSharedConfigProfile(s.t.Context(), "default", func(
		o *awsconfig.LoadSharedConfigOptions,
	) {
		o.CredentialsFiles, o.ConfigFiles = []string{filepath.Join(s.dataDir, "credentials")}, []string{os.DevNull}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(s.url),
		Credentials:  credentials.StaticCredentialsProvider{Value: profile.Credentials},
		HTTPClient:   openload.NewHTTPClient(512),
	}
}

func (s *server) sdk() *sdk {
	s.t.Helper()
	cfg := s.awsConfig()
	return &sdk{
		t:         s.t,
		s3:        s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
		sagemaker: sagemaker.NewFromConfig(cfg),
		runtime:   sagemakerruntime.NewFromConfig(cfg),
		once:      sagemakerruntime.NewFromConfig(cfg, func(o *sagemakerruntime.Options) { o.RetryMaxAttempts = 1 }),
		sts:       sts.NewFromConfig(cfg),
	}
}

// archive packs files as model data.
func archive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// upload makes the bucket "models", if need be, and stores an object in it.
func (c *sdk) upload(key string, body []byte) {
	c.t.Helper()
	bucket := aws.String("models")
	if _, err := c.s3.HeadBucket(c.t.Context(), &s3.HeadBucketInput{Bucket: bucket}); err != nil {
		if _, err := c.s3.CreateBucket(c.t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
			c.t.Fatal(err)
		}
	}
	_, err := c.s3.PutObject(c.t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		c.t.Fatal(err)
	}
}

// deployable makes a model whose testmodel answers with its name, and a
// configuration of the same name with one variant, "main".
func (c *sdk) deployable(name string, instances int32, env map[string]string) {
	c.t.Helper()
	c.upload(name+"/model.tar.gz", archive(c.t, map[string]string{"name": name}))
	_, err := c.sagemaker.CreateModel(c.t.Context(), &sagemaker.CreateModelInput{
		ModelName: &name,
		PrimaryContainer: &types.ContainerDefinition{
			Image: aws.String(testImage), ModelDataUrl: aws.String("s3://models/" + name + "/model.tar.gz"),
			Environment: env,
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.config(name, variant("main", name, instances))
}

func (c *sdk) config(name string, variants ...types.ProductionVariant) {
	c.t.Helper()
	_, err := c.sagemaker.CreateEndpointConfig(
		c.t.Context(), &sagemaker.CreateEndpointConfigInput{EndpointConfigName: &name, ProductionVariants: variants},
	)
	if err != nil {
		c.t.Fatal(err)
	}
}

func variant(name, model string, instances int32) types.ProductionVariant {
	return types.ProductionVariant{
		VariantName: &name, ModelName: &model, InitialInstanceCount: &instances,
		InstanceType: types.ProductionVariantInstanceTypeMlM5Large,
		RoutingConfig: &types.ProductionVariantRoutingConfig{
			RoutingStrategy: types.RoutingStrategyLeastOutstandingRequests,
		},
	}
}

func (c *sdk) createEndpoint(name, config string) {
	c.t.Helper()
	_, err := c.sagemaker.CreateEndpoint(
		c.t.Context(), &sagemaker.CreateEndpointInput{EndpointName: &name, EndpointConfigName: &config},
	)
	if err != nil {
		c.t.Fatal(err)
	}
	if got := c.awaitInService(name); got != config {
		c.t.Fatalf("the endpoint serves %q, want %q", got, config)
	}
}

// awaitInService waits with the SDK's own waiter and returns the configuration
// in service.
func (c *sdk) awaitInService(name string) string {
	c.t.Helper()
	w := sagemaker.NewEndpointInServiceWaiter(c.sagemaker, func(o *sagemaker.EndpointInServiceWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	})
	out, err := w.WaitForOutput(c.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &name}, 2*time.Minute)
	if err != nil {
		// for the message below
		d, _ := c.sagemaker.DescribeEndpoint(c.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &name})
		if d != nil {
			c.t.Fatalf("%v: %s: %s", err, d.EndpointStatus, aws.ToString(d.FailureReason))
		}
		c.t.Fatal(err)
	}
	return aws.ToString(out.EndpointConfigName)
}

func (c *sdk) deleteEndpoint(name string) {
	c.t.Helper()
	if _, err := c.sagemaker.DeleteEndpoint(
		c.t.Context(), &sagemaker.DeleteEndpointInput{EndpointName: &name},
	); err != nil {
		c.t.Fatal(err)
	}
	w := sagemaker.NewEndpointDeletedWaiter(c.sagemaker, func(o *sagemaker.EndpointDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	})
	if err := w.Wait(c.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &name}, 2*time.Minute); err != nil {
		c.t.Fatal(err)
	}
}
