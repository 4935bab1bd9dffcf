package e2e

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// At every named step of writing an object the server is killed. After the next
// start each object is as it was or as it was to be, never in between, and the
// same write succeeds.
func TestAServerKilledInAnUploadKeepsWholeObjects(t *testing.T) {
	names := slices.DeleteFunc(failPoints(t), func(name string) bool { return !strings.HasPrefix(name, "objects.") })
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			c := s.sdk()
			old, fresh := bytes.Repeat([]byte("old"), 100_000), bytes.Repeat([]byte("new"), 200_000)
			c.upload("simple", old)
			c.upload("gone", old)
			s.kill()
			if !s.restartWithFailPoint(name) {
				t.Fatal("the server died at its start")
			}
			writes := []func() error{
				func() error { return c.bucket("more") },
				func() error { return c.put("simple", fresh) },
				func() error { return c.multipart("parts", fresh) },
				func() error { return c.delete("gone") },
			}
			died := false
			for _, write := range writes {
				if err := write(); err != nil {
					if died || !s.diesWithin(5*time.Second) {
						t.Fatal(err)
					}
					died = true
					s.kill()
					s.restart()
					c.wantWhole("simple", old, fresh)
					c.wantWhole("parts", nil, fresh)
					c.wantWhole("gone", old, nil)
					if err := write(); err != nil {
						t.Fatalf("after the restart: %v", err)
					}
				}
			}
			if !died {
				t.Error("no write reached it: it proves nothing")
			}
			c.wantWhole("simple", fresh)
			c.wantWhole("parts", fresh)
			c.wantWhole("gone", nil)
			s.stop()
		})
	}
}

// once keeps the SDK from trying again: the death of the server must show.
func once(o *s3.Options) { o.RetryMaxAttempts = 1 }

func (c *sdk) bucket(name string) error {
	_, err := c.s3.CreateBucket(c.t.Context(), &s3.CreateBucketInput{Bucket: &name}, once)
	if _, ok := errors.AsType[*s3types.BucketAlreadyOwnedByYou](err); ok {
		return nil
	}
	return err
}

func (c *sdk) put(key string, body []byte) error {
	_, err := c.s3.PutObject(
		c.t.Context(), &s3.PutObjectInput{Bucket: aws.String("models"), Key: &key, Body: bytes.NewReader(body)}, once,
	)
	return err
}

func (c *sdk) delete(key string) error {
	_, err := c.s3.DeleteObject(c.t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("models"), Key: &key}, once)
	return err
}

func (c *sdk) multipart(key string, body []byte) error {
	ctx, bucket := c.t.Context(), aws.String("models")
	up, err := c.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key}, once)
	if err != nil {
		return err
	}
	part, err := c.s3.UploadPart(
		ctx,
		&s3.UploadPartInput{
			Bucket: bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(body),
		},
		once,
	)
	if err != nil {
		return err
	}
	_, err = c.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &s3types.CompletedMultipartUpload{
			Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}},
		},
	}, once)
	return err
}

// wantWhole checks that an object is one of the given, nil standing for none.
func (c *sdk) wantWhole(key string, either ...[]byte) {
	c.t.Helper()
	out, err := c.s3.GetObject(c.t.Context(), &s3.GetObjectInput{Bucket: aws.String("models"), Key: &key})
	var got []byte
	if _, missing := errors.AsType[*s3types.NoSuchKey](err); err != nil && !missing {
		c.t.Fatal(err)
	}
	if err == nil {
		defer out.Body.Close()
		if got, err = io.ReadAll(out.Body); err != nil {
			c.t.Fatalf("%s: %v", key, err)
		}
	}
	for _, want := range either {
		if bytes.Equal(got, want) && (got == nil) == (want == nil) {
			return
		}
	}
	c.t.Errorf("%s has %d bytes, and is neither the old object nor the new", key, len(got))
}
