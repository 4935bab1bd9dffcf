package s3_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	client "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestListingsPageAndRollUp(t *testing.T) {
	_, c := newSite(t)
	all := []string{"a", "a/", "a/b", "a/b/c", "b&<>\"'", "new\nline", "z", "é"}
	for _, k := range all {
		put(t, c, k, k)
	}
	var got []string
	for p := client.NewListObjectsV2Paginator(
		c, &client.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(3), EncodingType: types.EncodingTypeUrl},
	); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			got = append(got, *o.Key) // the Go SDK leaves them encoded
		}
	}
	if want := []string{"a", "a/", "a/b", "a/b/c", "b%26%3C%3E%22%27", "new%0Aline", "z", "%C3%A9"}; !slices.Equal(
		got, want,
	) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	out, err := c.ListObjectsV2(t.Context(), &client.ListObjectsV2Input{
		Bucket: bucket, Delimiter: aws.String("/"), Prefix: aws.String("a/"), FetchOwner: aws.Bool(true),
	})
	if err != nil || len(out.Contents) != 2 || *out.Contents[1].Key != "a/b" || len(out.CommonPrefixes) != 1 ||
		*out.CommonPrefixes[0].Prefix != "a/b/" || *out.KeyCount != 3 || out.Contents[0].Owner == nil {
		t.Errorf("%+v, %v", out, err)
	}
	v1, err := c.ListObjects(
		t.Context(), &client.ListObjectsInput{Bucket: bucket, Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)},
	)
	if err != nil || len(v1.Contents) != 1 || len(v1.CommonPrefixes) != 1 || !*v1.IsTruncated ||
		*v1.NextMarker != "a/" {
		t.Fatalf("%+v, %v", v1, err)
	}
	v1, err = c.ListObjects(
		t.Context(), &client.ListObjectsInput{Bucket: bucket, Delimiter: aws.String("/"), Marker: v1.NextMarker},
	)
	if err != nil || len(v1.Contents) != 4 || len(v1.CommonPrefixes) != 0 || *v1.Contents[0].Key != "b&<>\"'" {
		t.Errorf("%+v, %v", v1, err)
	}
	none, err := c.ListObjectsV2(t.Context(), &client.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(0)})
	if err != nil || *none.KeyCount != 0 || *none.IsTruncated {
		t.Errorf("%+v, %v", none, err)
	}
	_, err = c.ListObjectsV2(t.Context(), &client.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(-1)})
	wantCode(t, err, "InvalidArgument")
	_, err = c.ListObjectsV2(
		t.Context(), &client.ListObjectsV2Input{Bucket: bucket, ContinuationToken: aws.String("!")},
	)
	wantCode(t, err, "InvalidArgument")
	deleteAll(t, c, all)
}

func deleteAll(t *testing.T, c *client.Client, keys []string) {
	t.Helper()
	var ids []types.ObjectIdentifier
	for _, k := range append(keys, "was/never/there") {
		ids = append(ids, types.ObjectIdentifier{Key: &k})
	}
	out, err := c.DeleteObjects(
		t.Context(), &client.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: ids}},
	)
	if err != nil || len(out.Deleted) != len(ids) || len(out.Errors) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	left, err := c.ListObjectsV2(t.Context(), &client.ListObjectsV2Input{Bucket: bucket})
	if err != nil || *left.KeyCount != 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

func TestCopiesKeepOrReplaceWhatTheyAreToldTo(t *testing.T) {
	_, c := newSite(t)
	put(t, c, "from a+b", "data")
	from := aws.String("bucket/from%20a%2Bb")
	out, err := c.CopyObject(
		t.Context(), &client.CopyObjectInput{Bucket: bucket, Key: aws.String("to"), CopySource: from},
	)
	if err != nil || *out.CopyObjectResult.ETag != `"8d777f385d3dfec8815d20f7496026dc"` {
		t.Fatalf("%+v, %v", out, err)
	}
	_, err = c.CopyObject(
		t.Context(), &client.CopyObjectInput{Bucket: bucket, Key: aws.String("from a+b"), CopySource: from},
	)
	wantCode(t, err, "InvalidRequest")
	_, err = c.CopyObject(t.Context(), &client.CopyObjectInput{
		Bucket: bucket, Key: aws.String("from a+b"), CopySource: from, MetadataDirective: "REPLACE",
		ContentType: aws.String("x/y"), Metadata: map[string]string{"n": "v"},
	})
	if err != nil {
		t.Error(err)
	}
	if got, out, err := get(t, c, client.GetObjectInput{Key: aws.String("from a+b")}); err != nil || got != "data" ||
		*out.ContentType != "x/y" || out.Metadata["n"] != "v" {
		t.Errorf("%q, %+v, %v", got, out, err)
	}
	_, err = c.CopyObject(t.Context(), &client.CopyObjectInput{
		Bucket: bucket, Key: aws.String("x"), CopySource: from, CopySourceIfMatch: aws.String("x"),
	})
	wantCode(t, err, "PreconditionFailed")
	_, err = c.CopyObject(t.Context(), &client.CopyObjectInput{
		Bucket: bucket, Key: aws.String("x"), CopySource: aws.String("bucket/not-there"),
	})
	wantCode(t, err, "NoSuchKey")
	_, err = c.CopyObject(
		t.Context(), &client.CopyObjectInput{Bucket: bucket, Key: aws.String("x"), CopySource: aws.String("no-slash")},
	)
	wantCode(t, err, "InvalidArgument")
}

func TestTagsAreSetReadAndDeleted(t *testing.T) {
	_, c := newSite(t)
	put(t, c, "k", "data")
	tags := []types.Tag{{Key: aws.String("a"), Value: aws.String("1 +")}, {Key: aws.String("b"), Value: aws.String("")}}
	if _, err := c.PutObjectTagging(
		t.Context(),
		&client.PutObjectTaggingInput{Bucket: bucket, Key: aws.String("k"), Tagging: &types.Tagging{TagSet: tags}},
	); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObjectTagging(t.Context(), &client.GetObjectTaggingInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil || len(out.TagSet) != 2 || *out.TagSet[0].Value != "1 +" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := c.DeleteObjectTagging(
		t.Context(), &client.DeleteObjectTaggingInput{Bucket: bucket, Key: aws.String("k")},
	); err != nil {
		t.Error(err)
	}
	if out, err := c.GetObjectTagging(
		t.Context(), &client.GetObjectTaggingInput{Bucket: bucket, Key: aws.String("k")},
	); err != nil ||
		len(out.TagSet) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	many := make([]types.Tag, 11)
	for i := range many {
		many[i] = types.Tag{Key: aws.String(fmt.Sprint(i)), Value: aws.String("")}
	}
	_, err = c.PutObjectTagging(t.Context(), &client.PutObjectTaggingInput{
		Bucket: bucket, Key: aws.String("k"), Tagging: &types.Tagging{TagSet: many},
	})
	wantCode(t, err, "BadRequest")
}

func TestAMultipartUploadByHand(t *testing.T) {
	_, c := newSite(t)
	k := aws.String("big one")
	begun, err := c.CreateMultipartUpload(t.Context(), &client.CreateMultipartUploadInput{
		Bucket: bucket, Key: k, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ContentType: aws.String("x/y"),
	})
	if err != nil {
		t.Fatal(err)
	}
	id := begun.UploadId
	first := strings.Repeat("1", 5<<20)
	part := func(n int32, data string) types.CompletedPart {
		out, err := c.UploadPart(t.Context(), &client.UploadPartInput{
			Bucket: bucket, Key: k, UploadId: id, PartNumber: &n, Body: strings.NewReader(data),
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		})
		if err != nil {
			t.Fatal(err)
		}
		return types.CompletedPart{PartNumber: &n, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}
	}
	p1, p2 := part(1, first), part(2, "2")
	put(t, c, "source", "0123456789")
	copied, err := c.UploadPartCopy(t.Context(), &client.UploadPartCopyInput{
		Bucket: bucket, Key: k, UploadId: id, PartNumber: aws.Int32(2), CopySource: aws.String("bucket/source"),
		CopySourceRange: aws.String("bytes=2-4"),
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListParts(t.Context(), &client.ListPartsInput{Bucket: bucket, Key: k, UploadId: id})
	if err != nil || len(list.Parts) != 2 || *list.Parts[1].Size != 3 ||
		*list.Parts[1].ETag != *copied.CopyPartResult.ETag {
		t.Errorf("%+v, %v", list, err)
	}
	uploads, err := c.ListMultipartUploads(t.Context(), &client.ListMultipartUploadsInput{Bucket: bucket})
	if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *id {
		t.Errorf("%+v, %v", uploads, err)
	}
	complete := func(parts ...types.CompletedPart) (*client.CompleteMultipartUploadOutput, error) {
		return c.CompleteMultipartUpload(t.Context(), &client.CompleteMultipartUploadInput{
			Bucket: bucket, Key: k, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
	}
	_, err = complete(p1, p2) // the second was replaced
	wantCode(t, err, "InvalidPart")
	p2 = types.CompletedPart{
		PartNumber: aws.Int32(2), ETag: copied.CopyPartResult.ETag, ChecksumCRC32: copied.CopyPartResult.ChecksumCRC32,
	}
	_, err = complete(p2, p1)
	wantCode(t, err, "InvalidPartOrder")
	done, err := complete(p1, p2)
	if err != nil || !strings.HasSuffix(*done.ETag, `-2"`) || !strings.HasSuffix(*done.ChecksumCRC32, "-2") ||
		done.ChecksumType != types.ChecksumTypeComposite {
		t.Fatalf("%+v, %v", done, err)
	}
	if got, out, err := get(t, c, client.GetObjectInput{Key: k, ChecksumMode: types.ChecksumModeEnabled}); err != nil ||
		got != first+"234" || *out.ContentType != "x/y" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, out, err := get(t, c, client.GetObjectInput{Key: k, PartNumber: aws.Int32(2)}); err != nil ||
		got != "234" || *out.PartsCount != 2 {
		t.Errorf("part 2: %q, %v", got, err)
	}
	_, err = complete(p1)
	wantCode(t, err, "NoSuchUpload")
}

func TestTheTransferManagerMovesALargeFile(t *testing.T) {
	_, c := newSite(t)
	data := make([]byte, 20<<20+7)
	_, _ = rand.Read(data) // never fails (crypto/rand)
	tm := transfermanager.New(c)
	if _, err := tm.UploadObject(
		t.Context(),
		&transfermanager.UploadObjectInput{Bucket: bucket, Key: aws.String("large"), Body: bytes.NewReader(data)},
	); err != nil {
		t.Fatal(err)
	}
	out, err := tm.GetObject(t.Context(), &transfermanager.GetObjectInput{Bucket: bucket, Key: aws.String("large")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out.Body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestPresignedURLsOfVersion4(t *testing.T) {
	s, c := newSite(t)
	signer := client.NewPresignClient(c)
	up, err := signer.PresignPutObject(
		t.Context(),
		&client.PutObjectInput{Bucket: bucket, Key: aws.String("a b"), ContentType: aws.String("text/csv")},
		client.WithPresignExpires(time.Minute),
	)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := s.do(t, "PUT", up.URL, "data", up.SignedHeader); status != 200 {
		t.Errorf("put: %d %s", status, body)
	}
	down, err := signer.PresignGetObject(t.Context(), &client.GetObjectInput{
		Bucket: bucket, Key: aws.String("a b"), ResponseContentType: aws.String("x/y"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := s.do(t, "GET", down.URL, "", nil); status != 200 || body != "data" {
		t.Errorf("get: %d %s", status, body)
	}
	if status, body := s.do(t, "GET", strings.Replace(down.URL, "x%2Fy", "x%2Fz", 1), "", nil); status != 403 ||
		!strings.Contains(body, "<Code>SignatureDoesNotMatch</Code>") {
		t.Errorf("changed: %d %s", status, body)
	}
	if status, body := s.do(t, "GET", s.URL+"/bucket/a%20b", "", nil); status != 403 ||
		!strings.Contains(body, "<Code>AccessDenied</Code>") {
		t.Errorf("anonymous: %d %s", status, body)
	}
}

func (s site) do(t *testing.T, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k != "Host" && k != "Content-Length" {
			r.Header[k] = v
		}
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
	return resp.StatusCode, string(b)
}

func TestABucketMayStandInTheHostName(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	inner := s.Client().Transport
	virtual := s.client(func(o *client.Options) {
		o.UsePathStyle = false
		o.BaseEndpoint = aws.String("http://localhost:" + port)
		o.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "bucket.localhost:"+port {
				t.Errorf("the SDK calls %s", r.URL.Host)
			}
			r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(s.URL, "http://")
			return inner.RoundTrip(r)
		})}
	})
	if got, _, err := get(t, virtual, client.GetObjectInput{Key: aws.String("k")}); got != "data" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for cl, want := range map[*client.Client]string{
		virtual: "http://bucket.localhost:" + port + "/a%20b", c: s.URL + "/bucket/a%20b",
	} {
		up, err := cl.CreateMultipartUpload(t.Context(), &client.CreateMultipartUploadInput{
			Bucket: bucket, Key: aws.String("a b"),
		})
		if err != nil {
			t.Fatal(err)
		}
		part, err := cl.UploadPart(t.Context(), &client.UploadPartInput{
			Bucket: up.Bucket, Key: up.Key, UploadId: up.UploadId, PartNumber: aws.Int32(1),
			Body: strings.NewReader("x"),
		})
		if err != nil {
			t.Fatal(err)
		}
		done, err := cl.CompleteMultipartUpload(t.Context(), &client.CompleteMultipartUploadInput{
			Bucket: up.Bucket, Key: up.Key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{
				Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}},
			},
		})
		if err != nil || aws.ToString(done.Location) != want {
			t.Errorf("it is at %v, not at %s: %v", aws.ToString(done.Location), want, err)
		}
	}
}

// zeros is a large body that takes no memory.
type zeros struct{ n, off int64 }

func (z *zeros) Read(b []byte) (int, error) {
	if z.off >= z.n {
		return 0, io.EOF
	}
	n := min(int64(len(b)), z.n-z.off)
	clear(b[:n])
	z.off += n
	return int(n), nil
}

func (z *zeros) Seek(off int64, whence int) (int64, error) {
	z.off = map[int]int64{io.SeekStart: 0, io.SeekCurrent: z.off, io.SeekEnd: z.n}[whence] + off
	return z.off, nil
}

func TestALargeUploadTakesNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 256 MiB")
	}
	s, c := newSite(t)
	before := residentBytes(t)
	const size = 256 << 20
	_, err := c.PutObject(
		t.Context(), &client.PutObjectInput{Bucket: bucket, Key: aws.String("large"), Body: &zeros{n: size}},
	)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObject(t.Context(), &client.GetObjectInput{Bucket: bucket, Key: aws.String("large")})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, out.Body)
	if err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
	if grown := residentBytes(t) - before; grown > 32<<20 {
		t.Errorf("grew by %d MiB", grown>>20)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "objects", "buckets", "bucket", "objects", "olarge")); err != nil {
		t.Error(err)
	}
}

// residentBytes is the memory of the process: client and server both.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestAnUploadBrokenOffLeavesNothing(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "old")
	ctx, cancel := context.WithCancel(t.Context())
	body := &cutting{zeros: zeros{n: 8 << 20}, at: 4 << 20, cut: cancel}
	_, err := c.PutObject(
		ctx, &client.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: body}, client.WithAPIOptions(),
	)
	if err == nil {
		t.Error("it went through")
	}
	s.Close() // waits for the handler
	r, _, err := s.store.Get(t.Context(), "bucket", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "old" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "objects", "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// cutting gives the request up in the middle of its second reading: the first
// is for the signature.
type cutting struct {
	zeros
	at   int64
	pass int
	cut  func()
}

func (c *cutting) Seek(off int64, whence int) (int64, error) {
	return c.zeros.Seek(off, whence)
}

func (c *cutting) Read(b []byte) (int, error) {
	n, err := c.zeros.Read(b)
	if errors.Is(err, io.EOF) {
		c.pass++
	}
	if c.pass > 0 && c.zeros.off > c.at && c.zeros.off < c.zeros.n {
		c.cut()
		return 0, context.Canceled // or the rest would be sent before the client notices
	}
	return n, err
}
