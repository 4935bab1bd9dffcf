package packaging

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// stored is what is known of an object that was put.
type stored struct {
	size         int64
	sha1, sha256 string // hex
}

// digests counts and digests what is written to it.
type digests struct {
	n    int64
	one  hash.Hash // SHA-1 is what the API tells devices
	two  hash.Hash
	both io.Writer
}

func newDigests() *digests {
	d := &digests{one: sha1.New(), two: sha256.New()}
	d.both = io.MultiWriter(d.one, d.two)
	return d
}

func (d *digests) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.both.Write(p)
}

func (d *digests) stored() stored {
	return stored{d.n, hex.EncodeToString(d.one.Sum(nil)), hex.EncodeToString(d.two.Sum(nil))}
}

// put stores what write writes. The object appears whole, or not at all.
func (s *Service) put(ctx context.Context, uri, contentType string, write func(io.Writer) error) (stored, error) {
	bucket, key, _ := packaging.SplitS3(uri)
	d := newDigests()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := write(io.MultiWriter(pw, d))
		_ = pw.CloseWithError(err) // it always returns nil
		done <- err
	}()
	_, err := s.cfg.Objects.Put(ctx, bucket, key, pr,
		objects.Put{Header: map[string]string{"content-type": contentType}})
	_ = pr.Close() // ends the writer if the reader gave up first
	if written := <-done; written != nil && !errors.Is(written, io.ErrClosedPipe) {
		return stored{}, written
	}
	switch {
	case errors.Is(err, fault.NotFound):
		return stored{}, fail(fmt.Sprintf("ClientError: OutputConfiguration: S3 bucket does not exist. Bucket: %s",
			bucket))
	case errors.Is(err, fault.Invalid), errors.Is(err, fault.Limit):
		_, text := fault.Public(err)
		return stored{}, fail("ClientError: OutputConfiguration: " + text)
	case err != nil:
		return stored{}, fmt.Errorf("store %s: %w", uri, err)
	}
	return d.stored(), nil
}

// SHA1Now reads an object and returns the SHA-1 of what is there now, in hex. A
// missing object is a fault.NotFound.
func (s *Service) SHA1Now(ctx context.Context, s3url string) (string, error) {
	bucket, key, ok := packaging.SplitS3(s3url)
	if !ok {
		return "", fault.New(fault.Invalid, "%q is not the s3:// address of an object.", s3url)
	}
	r, _, err := s.cfg.Objects.Get(ctx, bucket, key)
	if err != nil {
		return "", err
	}
	defer r.Close() // only read
	sum := sha1.New()
	if _, err := io.Copy(sum, untrusted.NewReader(ctx, r)); err != nil {
		return "", fmt.Errorf("read %s: %w", s3url, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
