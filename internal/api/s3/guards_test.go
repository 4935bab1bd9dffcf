package s3_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	client "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// has checks the status, and that each text is in the body.
func (a answer) has(t *testing.T, what string, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: status %d, want %d: %s", what, a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s: no %s in %s", what, text, a.body)
		}
	}
}

// ask makes a signed request with headers of "name: value".
func (s site) ask(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	key := aws.Credentials{AccessKeyID: s.key.ID, SecretAccessKey: s.key.Secret}
	err = v4.NewSigner().SignHTTP(context.Background(), key, r, hash, "s3", "us-east-1", time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// every is a request for each operation: method and path.
var every = []string{
	"GET /", "GET /bucket", "GET /bucket?list-type=2", "GET /bucket?location", "GET /bucket?versioning",
	"GET /bucket?uploads", "POST /bucket?delete", "GET /bucket/k", "HEAD /bucket/k", "HEAD /bucket", "PUT /bucket/k",
	"GET /bucket/k?tagging", "PUT /bucket/k?tagging", "DELETE /bucket/k?tagging", "POST /bucket/k?uploads",
	"PUT /bucket/k?uploadId=00000000000000000000000000000000&partNumber=1",
	"GET /bucket/k?uploadId=00000000000000000000000000000000",
	"POST /bucket/k?uploadId=00000000000000000000000000000000",
	"DELETE /bucket/k?uploadId=00000000000000000000000000000000", "DELETE /bucket/k", "DELETE /bucket", "PUT /other",
}

func TestTheOwnerThatACallerExpectsIsCheckedByEveryOperation(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	for _, request := range every {
		method, path, _ := strings.Cut(request, " ")
		wrong, malformed := []string{"<Code>AccessDenied</Code>"}, []string{"InvalidBucketOwnerAWSAccountID"}
		if method == "HEAD" {
			wrong, malformed = nil, nil
		}
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		const name = "x-amz-expected-bucket-owner"
		s.ask(t, method, path, "", name+": 111111111111").has(t, request, 403, wrong...)
		s.ask(t, method, path+sep+name+"=111111111111", "").has(t, request+" by query", 403, wrong...)
		s.ask(t, method, path, "", name+": me").has(t, request, 400, malformed...)
		s.ask(t, method, path, "", name+": ").has(t, request+", empty", 400, malformed...)
		s.ask(t, method, path, "", name+": 000000000000", name+": 111111111111").
			has(t, request+", twice", 400, malformed...)
	}
	for _, path := range []string{"/bucket/l", "/bucket/l?uploadId=00000000000000000000000000000000&partNumber=1"} {
		s.ask(t, "PUT", path, "", "x-amz-copy-source: bucket/k", "x-amz-source-expected-bucket-owner: 111111111111").
			has(t, "copy", 403, "AccessDenied")
	}
	if got, _, err := get(t, c, client.GetObjectInput{
		Key: aws.String("k"), ExpectedBucketOwner: aws.String("000000000000"),
	}); got != "data" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAHeaderThatAnOperationDoesNotActOnIsRefusedByName(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	for _, h := range []string{
		"x-amz-server-side-encryption-customer-algorithm: AES256", "x-amz-object-lock-mode: GOVERNANCE",
		"x-amz-object-lock-legal-hold: ON", "x-amz-write-offset-bytes: 4", "x-amz-copy-source-if-match: x",
		"x-amz-if-match-size: 4", "x-amz-mfa: 1 2", "x-amz-a-guard-of-tomorrow: on", "If-Unmodified-Since: x",
		"Content-Range: bytes 0-3/9", "x-amz-mp-object-size: 1", "x-amz-copy-source-range: bytes=0-1",
	} {
		name, _, _ := strings.Cut(h, ":")
		s.ask(t, "PUT", "/bucket/k", "new", h).
			has(t, h, 501, "<Code>NotImplemented</Code>", "<Header>"+http.CanonicalHeaderKey(name)+"</Header>")
	}
	for _, request := range every {
		method, path, _ := strings.Cut(request, " ")
		completes := strings.HasPrefix(request, "POST /bucket/k?uploadId")
		if method != "HEAD" && path != "/bucket/k" && !completes { // the others act on it
			s.ask(t, method, path, "", "If-Match: x").has(t, request, 501, "<Header>If-Match</Header>")
		}
	}
	for _, request := range []string{
		"PUT /bucket/k?partNumber=1", "PUT /bucket/k?versionId=null", "GET /bucket/k?versionId=",
		"GET /bucket/k?partNumber=1&partNumber=2", "DELETE /bucket?versionId=null",
	} {
		method, path, _ := strings.Cut(request, " ")
		s.ask(t, method, path, "new").has(t, request, 400, "<Code>InvalidArgument</Code>", "<ArgumentName>")
	}
	for _, request := range []string{ // of a bucket on a key, of a key on a bucket, and two at once
		"PUT /bucket/k?policy", "DELETE /bucket?uploadId=x", "GET /bucket?attributes", "GET /bucket/k?acl&tagging",
	} {
		method, path, _ := strings.Cut(request, " ")
		s.ask(t, method, path, "new").has(t, request, 501, "<Code>NotImplemented</Code>")
	}
	if got, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k")}); got != "data" || err != nil {
		t.Errorf("after all that: %q, %v", got, err)
	}
}

func TestConditionsOnDeletingAndAborting(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	head, err := c.HeadObject(t.Context(), &client.HeadObjectInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	for name, in := range map[string]client.DeleteObjectInput{
		"another size": {IfMatchSize: aws.Int64(5)}, "another time": {IfMatchLastModifiedTime: &long},
		"another ETag": {IfMatch: aws.String("x"), IfMatchSize: aws.Int64(4)},
	} {
		in.Bucket, in.Key = bucket, aws.String("k")
		_, err := c.DeleteObject(t.Context(), &in)
		t.Log(name)
		wantCode(t, err, "PreconditionFailed")
	}
	_, err = c.DeleteObject(t.Context(), &client.DeleteObjectInput{
		Bucket: bucket, Key: aws.String("no"), IfMatch: aws.String("x"),
	})
	wantCode(t, err, "NoSuchKey")
	out, err := c.DeleteObjects(t.Context(), &client.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{
			{Key: aws.String("k"), Size: aws.Int64(5)}, {Key: aws.String("k"), LastModifiedTime: &long},
		},
	}})
	if err != nil || len(out.Errors) != 2 || *out.Errors[0].Code != "PreconditionFailed" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := c.DeleteObject(t.Context(), &client.DeleteObjectInput{
		Bucket: bucket, Key: aws.String("k"), IfMatch: head.ETag, IfMatchSize: aws.Int64(4),
		IfMatchLastModifiedTime: head.LastModified,
	}); err != nil {
		t.Error(err)
	}
	in := oneUpload(t, c, client.CreateMultipartUploadInput{})
	path := "/bucket/made%20of%20parts?uploadId=" + *in.UploadId
	s.ask(t, "DELETE", path, "", "x-amz-if-match-initiated-time: Wed, 01 Jan 2020 00:00:00 GMT").
		has(t, "abort another", 412, "PreconditionFailed")
	s.ask(t, "DELETE", path, "").has(t, "abort", 204)
}

func TestADocumentIsBoundedInDepthAndTokens(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	for name, body := range map[string]string{
		"deep":           "<Delete>" + strings.Repeat("<a>", 1_000_000),
		"deep and whole": strings.Repeat("<Delete>", 1000) + strings.Repeat("</Delete>", 1000),
		"broad":          "<Delete>" + strings.Repeat("<a/>", 900_000) + "</Delete>",
	} {
		began := time.Now()
		s.ask(t, "POST", "/bucket?delete", body).has(t, name, 400, "<Code>MalformedXML</Code>")
		t.Log(name, time.Since(began))
	}
	s.ask(t, "POST", "/bucket?delete", "<Delete><Object><Key>k</Key></Object></Delete>").
		has(t, "delete", 200, "<Key>k<")
}

func TestARangeIsServedOnlyOfTheObjectThatIsMeant(t *testing.T) {
	s, c := newSite(t)
	tag := *put(t, c, "k", "0123456789").ETag
	for is, want := range map[string]string{tag: "89", `"x"`: "0123456789"} {
		a := s.ask(t, "GET", "/bucket/k", "", "Range: bytes=8-", "If-Range: "+is)
		if a.body != want {
			t.Errorf("%s: %d %q", is, a.status, a.body)
		}
	}
}

func TestChecksumsOfAnotherAlgorithmAreComparedOrRefused(t *testing.T) {
	s, c := newSite(t)
	complete := func(change func(*client.CompleteMultipartUploadInput)) error {
		in := oneUpload(t, c, client.CreateMultipartUploadInput{}) // without an algorithm
		change(&in)
		_, err := c.CompleteMultipartUpload(t.Context(), &in)
		return err
	}
	if err := complete(func(in *client.CompleteMultipartUploadInput) {
		in.MultipartUpload.Parts[0].ChecksumCRC32 = aws.String("rfPzYw==")
	}); err != nil {
		t.Error(err)
	}
	wantCode(t, complete(func(in *client.CompleteMultipartUploadInput) {
		in.MultipartUpload.Parts[0].ChecksumCRC32 = aws.String("AAAAAA==")
	}), "BadDigest")
	wantCode(t, complete(func(in *client.CompleteMultipartUploadInput) {
		in.ChecksumCRC32 = aws.String("rfPzYw==")
	}), "InvalidRequest")
	s.ask(t, "PUT", "/bucket/k", "data", "x-amz-sdk-checksum-algorithm: SHA256", "x-amz-checksum-crc32: rfPzYw==").
		has(t, "a checksum of another algorithm than is named", 400, "<Code>InvalidRequest</Code>")
	put(t, c, "k", "data")
	out, err := c.CopyObject(t.Context(), &client.CopyObjectInput{
		Bucket: bucket, Key: aws.String("l"), CopySource: aws.String("bucket/k"),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil || out.CopyObjectResult.ChecksumSHA256 == nil ||
		*out.CopyObjectResult.ChecksumSHA256 != "Om6weQ85rIfJTzhWst0sXREOaBFgImGpqSPTuyOtyLc=" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestTheEncodingOfTheTransferIsNotTheObjects(t *testing.T) {
	s, _ := newSite(t)
	for sent, want := range map[string]string{
		"deflate, aws-chunked, gzip": "deflate, gzip", "aws-chunked": "", "deflate,gzip": "deflate,gzip",
	} {
		s.ask(t, "PUT", "/bucket/k", "data", "Content-Encoding: "+sent).has(t, sent, 200)
		if got := s.ask(t, "HEAD", "/bucket/k", "").header.Get("Content-Encoding"); got != want {
			t.Errorf("%s: %q, want %q", sent, got, want)
		}
	}
}
