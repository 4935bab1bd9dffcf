package s3_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// oneUpload is an upload of one part, which is there, and how to complete it.
func oneUpload(
	t *testing.T, c *client.Client, create client.CreateMultipartUploadInput,
) client.CompleteMultipartUploadInput {
	t.Helper()
	create.Bucket, create.Key = bucket, aws.String("made of parts")
	begun, err := c.CreateMultipartUpload(t.Context(), &create)
	if err != nil {
		t.Fatal(err)
	}
	part, err := c.UploadPart(t.Context(), &client.UploadPartInput{
		Bucket: bucket, Key: create.Key, UploadId: begun.UploadId, PartNumber: aws.Int32(1),
		Body: strings.NewReader("data"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client.CompleteMultipartUploadInput{
		Bucket: bucket, Key: create.Key, UploadId: begun.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{
			PartNumber: aws.Int32(1), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32,
		}}},
	}
}

func TestWhoDidNotHearThatAnUploadIsCompleteAsksAgain(t *testing.T) {
	_, c := newSite(t)
	in := oneUpload(t, c, client.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	for range 2 {
		for _, in.IfNoneMatch = range []*string{aws.String("*"), nil} {
			out, err := c.CompleteMultipartUpload(t.Context(), &in)
			if err != nil || *out.ETag != `"2068bfdec27f4616282c1124300f0ae6-1"` || *out.ChecksumCRC32 == "" ||
				!strings.HasSuffix(*out.Location, "/bucket/made%20of%20parts") {
				t.Errorf("%+v, %v", out, err)
			}
		}
	}
}
