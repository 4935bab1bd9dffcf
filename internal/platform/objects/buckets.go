package objects

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

// Bucket is a bucket's record.
type Bucket struct {
	Name    string    `json:"-"`
	Created time.Time `json:"created"`
	Region  string    `json:"region,omitempty"` // that it was created for; "" for none in particular
	Tags    string    `json:"tags,omitempty"`   // as a query string
}

// CheckBucketName refuses names that S3 refuses. A name that passes is safe as
// the name of a directory.
func CheckBucketName(name string) error {
	ok := len(name) >= 3 && len(name) <= 63 && !strings.Contains(name, "..") && alnum(name[0]) &&
		alnum(name[len(name)-1])
	digits := true // an IPv4 address in form
	for i := range len(name) {
		c := name[i]
		ok = ok && (alnum(c) || c == '-' || c == '.')
		digits = digits && (c >= '0' && c <= '9' || c == '.')
	}
	if !ok || digits && strings.Count(name, ".") == 3 {
		return fault.New(fault.Invalid, "The specified bucket is not valid.").Because(ErrBucketName)
	}
	return nil
}

func alnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// CreateBucket creates a bucket, from now on. An existing one is a fault.Exists.
func (s *Store) CreateBucket(_ context.Context, b Bucket) error {
	if err := CheckBucketName(b.Name); err != nil {
		return err
	}
	tmp, err := s.temporary("bucket-*")
	if err != nil {
		return storage(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // gone when it was renamed
	b.Created = time.Now().UTC()
	record, err := json.Marshal(b)
	if err != nil {
		return err
	}
	err = errors.Join(writeFile(filepath.Join(tmp, "bucket.json"), record),
		os.Mkdir(filepath.Join(tmp, "objects"), 0o700), os.Mkdir(filepath.Join(tmp, "uploads"), 0o700))
	if err == nil {
		err = syncDir(tmp)
	}
	if err != nil {
		return storage(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Lstat(s.bucket(b.Name)); err == nil {
		return fault.New(fault.Exists, "The bucket %q exists already.", b.Name)
	}
	failpoint.Hit(FailBucketWritten)
	return storage(errors.Join(os.Rename(tmp, s.bucket(b.Name)), syncDir(s.buckets())))
}

// TagBucket gives a bucket tags in place of those that it has.
func (s *Store) TagBucket(ctx context.Context, name, tags string) error {
	b, err := s.HeadBucket(ctx, name)
	if err != nil {
		return err
	}
	b.Tags = tags // all else stays for ever
	record, err := json.Marshal(b)
	if err != nil {
		return err
	}
	tmp, err := s.temporary("tags-*")
	if err != nil {
		return storage(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what is left is swept at the next start
	path := filepath.Join(tmp, "bucket.json")
	if err := writeFile(path, record); err != nil {
		return storage(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Rename(path, s.bucketFile(name)); missing(err) {
		return noBucket(name)
	} else if err != nil {
		return storage(err)
	}
	return storage(syncDir(s.bucket(name)))
}

// HeadBucket returns a bucket's record.
func (s *Store) HeadBucket(_ context.Context, name string) (Bucket, error) {
	if CheckBucketName(name) != nil {
		return Bucket{}, noBucket(name)
	}
	text, err := os.ReadFile(s.bucketFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Bucket{}, noBucket(name)
	}
	b := Bucket{Name: name}
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	return b, storage(err)
}

// Buckets returns every bucket, in the order of their names.
func (s *Store) Buckets(ctx context.Context) ([]Bucket, error) {
	entries, err := os.ReadDir(s.buckets())
	if err != nil {
		return nil, storage(err)
	}
	var all []Bucket
	for _, e := range entries {
		b, err := s.HeadBucket(ctx, e.Name())
		if errors.Is(err, fault.NotFound) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// DeleteBucket deletes an empty bucket, and the uploads begun in it. One that
// holds objects is a fault.InUse.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	if _, err := s.HeadBucket(ctx, name); err != nil {
		return err
	}
	gone, err := s.temporary("gone-*")
	if err != nil {
		return storage(err)
	}
	defer func() { _ = os.RemoveAll(gone) }() // what is left is swept at the next start
	s.mu.Lock()
	defer s.mu.Unlock()
	page, err := s.List(ctx, name, List{Max: 1})
	if err != nil {
		return err
	}
	if len(page.Objects) > 0 {
		return fault.New(fault.InUse, "The bucket %q is not empty.", name)
	}
	return storage(errors.Join(os.Rename(s.bucket(name), filepath.Join(gone, "bucket")), syncDir(s.buckets())))
}
