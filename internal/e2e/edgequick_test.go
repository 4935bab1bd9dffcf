package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"
)

// quickSetup provisions a device as the quick device setup did, call by call
// (edge spec §5.3, §9 flow 6), but for IAM, which is not served.
type quickSetup struct {
	t     *testing.T
	dir   string // what the device gets
	iot   *iot.Client
	s3    *s3.Client
	maker *sagemaker.Client
	tap   *wiretap
}

// patiently tries again on the codes that it takes for passing, five times.
func patiently[T any](f func() (T, error)) (out T, err error) {
	for range 5 {
		out, err = f()
		e, ok := errors.AsType[smithy.APIError](err)
		if !ok || e.ErrorCode() != "ValidationException" && e.ErrorCode() != "ThrottlingException" {
			return out, err
		}
		time.Sleep(10 * time.Millisecond) // as the tool waits between tries
	}
	return out, err
}

func (q *quickSetup) file(name string) string { return filepath.Join(q.dir, name) }

func (q *quickSetup) write(name, text string) {
	q.t.Helper()
	if err := os.WriteFile(q.file(name), []byte(text), 0o400); err != nil {
		q.t.Fatal(err)
	}
}

// run takes the thirteen steps.
func (q *quickSetup) run() {
	q.t.Helper()
	q.bucket()                           // 1
	q.thing()                            // 2, 3
	alias := q.fleet()                   // 4 (after the role), 5
	q.device()                           // 6
	host := q.endpoint()                 // 7
	q.certificate(alias)                 // 8 to 11
	q.config("agent.json", host, alias)  // 12
	q.root("certificates/us-east-1.pem") // 13
}

func (q *quickSetup) bucket() {
	q.t.Helper()
	_, err := patiently(func() (*s3.CreateBucketOutput, error) {
		return q.s3.CreateBucket(
			q.t.Context(), &s3.CreateBucketInput{Bucket: aws.String("sagemaker-edgemanager-123456789012")},
		)
	})
	if _, mine := errors.AsType[*s3types.BucketAlreadyOwnedByYou](err); err != nil && !mine {
		q.t.Fatal(err)
	}
}

// thing makes the type and the thing unless the errors' own types say that they
// are there.
func (q *quickSetup) thing() {
	q.t.Helper()
	ctx := q.t.Context()
	_, err := q.iot.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: aws.String("edge-device")})
	if _, missing := errors.AsType[*iottypes.ResourceNotFoundException](err); missing {
		must(q.iot.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("edge-device")}))(q.t)
	} else if err != nil {
		q.t.Fatal(err)
	}
	_, err = q.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("cam-1")})
	if _, missing := errors.AsType[*iottypes.ResourceNotFoundException](err); missing {
		must(
			q.iot.CreateThing(
				ctx, &iot.CreateThingInput{ThingName: aws.String("cam-1"), ThingTypeName: aws.String("edge-device")},
			),
		)(q.t)
	} else if err != nil {
		q.t.Fatal(err)
	}
}

// fleet returns the alias as the tool reads it out of its ARN.
func (q *quickSetup) fleet() string {
	q.t.Helper()
	describe := func() (*sagemaker.DescribeDeviceFleetOutput, error) {
		return patiently(func() (*sagemaker.DescribeDeviceFleetOutput, error) {
			return q.maker.DescribeDeviceFleet(
				q.t.Context(), &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: aws.String("plant")},
			)
		})
	}
	out, err := describe()
	if err != nil {
		in := fleetInput("plant")
		in.RoleArn = aws.String("arn:aws:iam::123456789012:role/Sagemaker_plant_role")
		must(patiently(func() (*sagemaker.CreateDeviceFleetOutput, error) {
			return q.maker.CreateDeviceFleet(q.t.Context(), in)
		}))(q.t)
		out = must(describe())(q.t)
	}
	return strings.Split(*out.IotRoleAlias, "/")[1]
}

func (q *quickSetup) device() {
	q.t.Helper()
	_, err := patiently(func() (*sagemaker.DescribeDeviceOutput, error) {
		return q.maker.DescribeDevice(q.t.Context(), &sagemaker.DescribeDeviceInput{
			DeviceFleetName: aws.String("plant"), DeviceName: aws.String("cam-1"),
		})
	})
	if err == nil {
		return
	}
	must(patiently(func() (*sagemaker.RegisterDevicesOutput, error) {
		return q.maker.RegisterDevices(q.t.Context(), &sagemaker.RegisterDevicesInput{
			DeviceFleetName: aws.String("plant"),
			Devices:         []types.Device{{DeviceName: aws.String("cam-1"), IotThingName: aws.String("cam-1")}},
			Tags: []types.Tag{
				{Key: aws.String("os"), Value: aws.String("linux")},
				{Key: aws.String("arch"), Value: aws.String("x64")},
				{Key: aws.String("accelerator"), Value: aws.String("")},
			},
		})
	}))(q.t)
}

func (q *quickSetup) endpoint() string {
	q.t.Helper()
	return *must(
		q.iot.DescribeEndpoint(
			q.t.Context(), &iot.DescribeEndpointInput{EndpointType: aws.String("iot:CredentialProvider")},
		),
	)(q.t).EndpointAddress
}

// certificate is made once: the device keeps it.
func (q *quickSetup) certificate(alias string) {
	q.t.Helper()
	if _, err := os.Stat(q.file("device.pem.crt")); err == nil {
		return
	}
	ctx := q.t.Context()
	keys := must(q.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true}))(q.t)
	q.write("device.pem.crt", *keys.CertificatePem)
	q.write("private.pem.key", *keys.KeyPair.PrivateKey)
	q.write("public.pem.key", *keys.KeyPair.PublicKey)
	described := must(q.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: &alias}))(q.t)
	policy := "aliaspolicy-1700000000"
	must(q.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &policy, PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"` +
			*described.RoleAliasDescription.RoleAliasArn + `"}}`,
	)}))(q.t)
	must(q.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &policy, Target: keys.CertificateArn}))(q.t)
	must(
		q.iot.AttachThingPrincipal(
			ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("cam-1"), Principal: keys.CertificateArn},
		),
	)(q.t)
}

func (q *quickSetup) config(name, host, alias string) {
	q.t.Helper()
	_ = os.Remove(q.file(name)) // it is written anew each time
	q.write(
		name, `{"sagemaker_edge_provider_aws_iot_cred_endpoint":"https://`+host+`/role-aliases/`+alias+`/credentials"}`,
	)
}

// root fetches what the agent needs from a bucket.
func (q *quickSetup) root(key string) {
	q.t.Helper()
	bucket := aws.String("sagemaker-edgemanager-123456789012")
	list := must(
		q.s3.ListObjects(q.t.Context(), &s3.ListObjectsInput{Bucket: bucket, Prefix: aws.String("certificates/")}),
	)(q.t)
	if len(list.Contents) != 1 || *list.Contents[0].Key != key {
		q.t.Errorf("the bucket has %+v", list.Contents)
	}
	out := must(q.s3.GetObject(q.t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: &key}))(q.t)
	_ = out.Body.Close() // what is in it does not matter here
}

func TestTheQuickSetupProvisionsADeviceOnce(t *testing.T) {
	s := startServer(t)
	cfg, tap := s.tapped()
	q := &quickSetup{
		t: t, dir: t.TempDir(), iot: iot.NewFromConfig(cfg), maker: sagemaker.NewFromConfig(cfg), tap: tap,
		s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
	}
	q.bucket()
	must(
		q.s3.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("sagemaker-edgemanager-123456789012"), Key: aws.String("certificates/us-east-1.pem"),
			Body: strings.NewReader("x"),
		}),
	)(t)
	q.run()
	certificate := must(os.ReadFile(q.file("device.pem.crt")))(t)
	first := len(tap.since(0))
	q.run()
	for _, call := range tap.operations(first) {
		if strings.HasPrefix(call, "Create") || strings.HasPrefix(call, "Register") ||
			strings.HasPrefix(call, "POST") || strings.HasPrefix(call, "PUT /policies") ||
			strings.HasPrefix(call, "PUT /things") {
			t.Errorf("the second run calls %s", call)
		}
	}
	if !slices.Equal(certificate, must(os.ReadFile(q.file("device.pem.crt")))(t)) {
		t.Error("the second run made another certificate")
	}
	d := must(
		q.maker.DescribeDevice(t.Context(), &sagemaker.DescribeDeviceInput{
			DeviceFleetName: aws.String("plant"), DeviceName: aws.String("cam-1"),
		}),
	)(t)
	tags := must(q.maker.ListTags(t.Context(), &sagemaker.ListTagsInput{ResourceArn: d.DeviceArn}))(t)
	if len(tags.Tags) != 3 {
		t.Errorf("the device's tags are %+v", tags.Tags)
	}
	// What it was given works, with the header and without.
	for _, thing := range []string{"", "cam-1"} {
		args := []string{
			"-sS", "--fail-with-body", "--cacert", filepath.Join(s.dataDir, "devices-ca.pem"), "--cert",
			q.file("device.pem.crt"), "--key", q.file("private.pem.key"),
		}
		if thing != "" {
			args = append(args, "-H", "x-amzn-iot-thingname: "+thing)
		}
		out := s.client(
			"curl", append(args, "https://"+q.endpoint()+"/role-aliases/SageMakerEdge-plant/credentials")...,
		)
		if !strings.HasPrefix(out, `{"credentials":{"accessKeyId":"ASIA`) {
			t.Errorf("the credentials are %q", out)
		}
	}
	s.stop()
}
