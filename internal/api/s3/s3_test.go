package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/slipway-ml/slipway/internal/api/s3"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// site is a whole S3 on a loopback port: the gateway, the API, a store on disk.
type site struct {
	*httptest.Server
	key   sigv4.Key
	store *objects.Store
	dir   string
}

func start(t testing.TB, listen func(http.Handler) *httptest.Server) site {
	t.Helper()
	dir := t.TempDir()
	keys, err := access.OpenFile(filepath.Join(dir, "credentials"), "000000000000")
	if err != nil {
		t.Fatal(err)
	}
	store, err := objects.Open(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	srv := listen(gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Account: "000000000000", Region: "us-east-1", Log: log,
		S3: s3.New(store, log),
	}))
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return site{srv, keys.Default(), store, dir}
}

func (s site) client(change ...func(*client.Options)) *client.Client {
	o := client.Options{
		BaseEndpoint: aws.String(s.URL), Region: "us-east-1", HTTPClient: s.Client(), UsePathStyle: true,
		RetryMaxAttempts:           1,
		Credentials:                credentials.NewStaticCredentialsProvider(s.key.ID, s.key.Secret, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}
	return client.New(o, change...)
}

// newSite starts one with the bucket "bucket".
func newSite(t testing.TB) (site, *client.Client) {
	t.Helper()
	s := start(t, httptest.NewServer)
	c := s.client()
	if _, err := c.CreateBucket(context.Background(), &client.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	return s, c
}

var bucket = aws.String("bucket")

type apiError interface {
	error
	ErrorCode() string
}

// wantCode checks that err is the API's error of that code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[apiError](err); !ok || e.ErrorCode() != code {
		t.Errorf("%v; want %s", err, code)
	}
}

func put(t *testing.T, c *client.Client, key, data string) *client.PutObjectOutput {
	t.Helper()
	out, err := c.PutObject(
		t.Context(), &client.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(data)},
	)
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return out
}

func get(t *testing.T, c *client.Client, in client.GetObjectInput) (string, *client.GetObjectOutput, error) {
	t.Helper()
	in.Bucket = bucket
	out, err := c.GetObject(t.Context(), &in)
	if err != nil {
		return "", nil, err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	return string(b), out, err
}

func TestAnObjectGoesUpAndComesDown(t *testing.T) {
	_, c := newSite(t)
	_, err := c.PutObject(t.Context(), &client.PutObjectInput{
		Bucket: bucket, Key: aws.String("models/v1/a b+c~é.tar.gz"), Body: strings.NewReader("data"),
		ContentType:  aws.String("application/gzip"),
		CacheControl: aws.String("no-cache"), Metadata: map[string]string{"Owner": "me"},
		Tagging: aws.String("a=1&b=2"), ContentEncoding: aws.String("gzip"),
	})
	if err != nil {
		t.Fatal(err)
	}
	key := aws.String("models/v1/a b+c~é.tar.gz")
	got, out, err := get(t, c, client.GetObjectInput{Key: key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil || got != "data" || *out.ContentType != "application/gzip" || out.Metadata["owner"] != "me" ||
		*out.CacheControl != "no-cache" ||
		*out.ContentEncoding != "gzip" || *out.ETag != `"8d777f385d3dfec8815d20f7496026dc"` || *out.TagCount != 2 {
		t.Errorf("%q, %+v, %v", got, out, err)
	}
	head, err := c.HeadObject(
		t.Context(), &client.HeadObjectInput{Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled},
	)
	if err != nil || *head.ContentLength != 4 || head.ChecksumCRC32 == nil ||
		head.ChecksumType != types.ChecksumTypeFullObject || head.LastModified.IsZero() {
		t.Errorf("%+v, %v", head, err)
	}
	if _, err := c.DeleteObject(t.Context(), &client.DeleteObjectInput{Bucket: bucket, Key: key}); err != nil {
		t.Error(err)
	}
	_, _, err = get(t, c, client.GetObjectInput{Key: key})
	wantCode(t, err, "NoSuchKey")
	_, err = c.HeadObject(t.Context(), &client.HeadObjectInput{Bucket: bucket, Key: key})
	if _, ok := errors.AsType[*types.NotFound](err); !ok {
		t.Errorf("head: %v", err)
	}
}

func TestEveryChecksumAlgorithmIsTakenAndGivenBack(t *testing.T) {
	plain, _ := newSite(t)
	secure := start(t, httptest.NewTLSServer) // over TLS the SDK sends checksums in a trailer
	if _, err := secure.client().CreateBucket(t.Context(), &client.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*client.Client{"header": plain.client(), "trailer": secure.client()} {
		for _, a := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
			var body io.Reader = strings.NewReader("data of " + string(a))
			if name == "trailer" {
				body = io.MultiReader(body) // that cannot be rewound
			}
			_, err := c.PutObject(t.Context(), &client.PutObjectInput{
				Bucket: bucket, Key: aws.String(string(a)), Body: body, ChecksumAlgorithm: a,
				ContentLength: aws.Int64(int64(len("data of " + a))),
			})
			if err != nil {
				t.Errorf("%s %s: %v", name, a, err)
				continue
			}
			// The SDK compares what it reads with the checksum that it is told.
			got, out, err := get(
				t, c, client.GetObjectInput{Key: aws.String(string(a)), ChecksumMode: types.ChecksumModeEnabled},
			)
			if err != nil || got != "data of "+string(a) || out.ChecksumType != types.ChecksumTypeFullObject {
				t.Errorf("%s %s: %q, %v", name, a, got, err)
			}
		}
	}
}

func TestRangesAndConditionsOnReading(t *testing.T) {
	_, c := newSite(t)
	tag := put(t, c, "k", "0123456789").ETag
	for r, want := range map[string]string{
		"bytes=0-0": "0", "bytes=3-5": "345", "bytes=7-": "789", "bytes=-3": "789", "bytes=5-99": "56789",
		"bytes=-9":      "123456789",
		"bytes=1-2,4-5": "0123456789", "lines=1-2": "0123456789", "bytes=5-4": "0123456789",
	} {
		got, out, err := get(t, c, client.GetObjectInput{Key: aws.String("k"), Range: &r})
		if err != nil || got != want || (len(want) < 10) != (out.ContentRange != nil) {
			t.Errorf("%s: %q, %v", r, got, err)
		}
	}
	for _, r := range []string{"bytes=10-", "bytes=-0", "bytes=99-100"} {
		_, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k"), Range: &r})
		wantCode(t, err, "InvalidRange")
	}
	_, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k"), IfMatch: aws.String("x")})
	wantCode(t, err, "PreconditionFailed")
	_, _, err = get(t, c, client.GetObjectInput{Key: aws.String("k"), IfNoneMatch: tag})
	wantCode(t, err, "NotModified")
	if _, _, err := get(
		t, c, client.GetObjectInput{Key: aws.String("k"), IfMatch: tag, IfNoneMatch: aws.String("x")},
	); err != nil {
		t.Error(err)
	}
	_, out, err := get(t, c, client.GetObjectInput{
		Key: aws.String("k"), ResponseContentType: aws.String("x/y"), ResponseContentDisposition: aws.String("inline"),
	})
	if err != nil || *out.ContentType != "x/y" || *out.ContentDisposition != "inline" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestConditionsOnWriting(t *testing.T) {
	_, c := newSite(t)
	tag := put(t, c, "k", "old").ETag
	try := func(key string, change func(*client.PutObjectInput)) error {
		in := &client.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader("new")}
		change(in)
		_, err := c.PutObject(t.Context(), in)
		return err
	}
	wantCode(t, try("k", func(in *client.PutObjectInput) { in.IfNoneMatch = aws.String("*") }), "PreconditionFailed")
	wantCode(t, try("k", func(in *client.PutObjectInput) { in.IfMatch = aws.String(`"x"`) }), "PreconditionFailed")
	wantCode(t, try("nothing", func(in *client.PutObjectInput) { in.IfMatch = tag }), "NoSuchKey")
	wantCode(
		t, try("k", func(in *client.PutObjectInput) { in.ServerSideEncryption = "ROT13" }), "InvalidArgument",
	)
	wantCode(
		t, try("k", func(in *client.PutObjectInput) { in.ACL = types.ObjectCannedACLPublicRead }),
		"AccessControlListNotSupported",
	)
	wantCode(
		t,
		try("k", func(in *client.PutObjectInput) { in.Metadata = map[string]string{"a": strings.Repeat("x", 2048)} }),
		"MetadataTooLarge",
	)
	wantCode(
		t, try("k", func(in *client.PutObjectInput) { in.ContentMD5 = aws.String("XrY7u+Ae7tCTyyK7j1rNww==") }),
		"BadDigest",
	)
	wantCode(t, try("k", func(in *client.PutObjectInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") }), "BadDigest")
	wantCode(t, try(strings.Repeat("k", 1025), func(*client.PutObjectInput) {}), "KeyTooLongError")
	if got, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k")}); got != "old" || err != nil {
		t.Errorf("after all that: %q, %v", got, err)
	}
	if err := errors.Join(
		try("k", func(in *client.PutObjectInput) { in.IfMatch = tag }),
		try("new", func(in *client.PutObjectInput) { in.IfNoneMatch = aws.String("*") }),
	); err != nil {
		t.Error(err)
	}
}

func TestBucketsComeAndGo(t *testing.T) {
	s, c := newSite(t)
	if _, err := c.CreateBucket(t.Context(), &client.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Errorf("again in us-east-1: %v", err)
	}
	west := s.client(func(o *client.Options) { o.Region = "eu-west-1" })
	_, err := west.CreateBucket(t.Context(), &client.CreateBucketInput{
		Bucket: bucket, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"},
	})
	wantCode(t, err, "BucketAlreadyOwnedByYou")
	for _, name := range []string{"UPPER", "endpoints", "console"} {
		_, err = c.CreateBucket(t.Context(), &client.CreateBucketInput{Bucket: &name})
		wantCode(t, err, "InvalidBucketName")
	}
	if out, err := west.HeadBucket(t.Context(), &client.HeadBucketInput{Bucket: bucket}); err != nil ||
		*out.BucketRegion != "eu-west-1" {
		t.Errorf("%v", err)
	}
	if out, err := c.GetBucketLocation(t.Context(), &client.GetBucketLocationInput{Bucket: bucket}); err != nil ||
		out.LocationConstraint != "" {
		t.Errorf("%v", err)
	}
	if out, err := c.GetBucketVersioning(t.Context(), &client.GetBucketVersioningInput{Bucket: bucket}); err != nil ||
		out.Status != "" {
		t.Errorf("%v", err)
	}
	if out, err := c.ListBuckets(t.Context(), &client.ListBucketsInput{}); err != nil || len(out.Buckets) != 1 ||
		*out.Buckets[0].Name != "bucket" || out.Buckets[0].CreationDate.IsZero() {
		t.Errorf("%+v, %v", out, err)
	}
	put(t, c, "k", "")
	_, err = c.DeleteBucket(t.Context(), &client.DeleteBucketInput{Bucket: bucket})
	wantCode(t, err, "BucketNotEmpty")
	if _, err := c.DeleteObject(
		t.Context(), &client.DeleteObjectInput{Bucket: bucket, Key: aws.String("k")},
	); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteBucket(t.Context(), &client.DeleteBucketInput{Bucket: bucket}); err != nil {
		t.Error(err)
	}
	_, err = c.HeadBucket(t.Context(), &client.HeadBucketInput{Bucket: bucket})
	if _, ok := errors.AsType[*types.NotFound](err); !ok {
		t.Error(err)
	}
	_, err = c.ListObjectsV2(t.Context(), &client.ListObjectsV2Input{Bucket: bucket})
	wantCode(t, err, "NoSuchBucket")
}

func TestAnOperationThatIsNotHereIsNamed(t *testing.T) {
	_, c := newSite(t)
	put(t, c, "k", "data")
	_, err := c.PutBucketPolicy(t.Context(), &client.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String("{}")})
	wantNamed(t, err, "PutBucketPolicy")
	_, err = c.PutObjectAcl(
		t.Context(), &client.PutObjectAclInput{Bucket: bucket, Key: aws.String("k"), ACL: "private"},
	)
	wantNamed(t, err, "PutObjectAcl")
	_, err = c.DeletePublicAccessBlock(t.Context(), &client.DeletePublicAccessBlockInput{Bucket: bucket})
	wantNamed(t, err, "DeletePublicAccessBlock")
	if got, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k")}); got != "data" || err != nil {
		t.Errorf("the object became %q, %v", got, err)
	}
	_, _, err = get(t, c, client.GetObjectInput{Key: aws.String("k"), VersionId: aws.String("x")})
	wantCode(t, err, "InvalidArgument")
}

func wantNamed(t *testing.T, err error, op string) {
	t.Helper()
	wantCode(t, err, "NotImplemented")
	if err != nil && !strings.Contains(err.Error(), "The operation "+op+" is not implemented by Slipway") {
		t.Error(err)
	}
}

func TestABodyThatIsNotWhatWasSignedLeavesNothing(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "old")
	// A proxy on the way changes one byte.
	tamper := s.client(func(o *client.Options) {
		inner := s.Client().Transport
		o.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			r.Body = io.NopCloser(bytes.NewReader(append([]byte("X"), b[1:]...)))
			return inner.RoundTrip(r)
		})}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	_, err := tamper.PutObject(
		t.Context(), &client.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("new")},
	)
	wantCode(t, err, "XAmzContentSHA256Mismatch")
	if got, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k")}); got != "old" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	wrong := s.client(func(o *client.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(s.key.ID, "wrong", "")
	})
	_, err = wrong.PutObject(
		t.Context(), &client.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("new")},
	)
	wantCode(t, err, "SignatureDoesNotMatch")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
