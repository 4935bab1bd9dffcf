// Package objects keeps buckets of objects in a directory, durably: what was
// acknowledged survives the loss of power, and a crash leaves the old object or
// the new one, never a torn one. Speaking S3, and deciding who may do what, is
// not its job.
//
// Layout of the directory:
//
//	lock                             held by the one process that serves it
//	tmp/                             what is being written; emptied at start
//	buckets/NAME/bucket.json         when the bucket was created
//	buckets/NAME/objects/…           one file for each object (key.go, file.go)
//	buckets/NAME/uploads/ID/         a multipart upload: upload.json, a file for each part
package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

// What is missing or in the way, for errors.Is beside the fault's kind.
var (
	ErrNoBucket   = errors.New("no such bucket")
	ErrNoKey      = errors.New("no such key")
	ErrNoUpload   = errors.New("no such upload")
	ErrChanged    = errors.New("precondition failed")
	ErrBucketName = errors.New("no bucket's name")
	ErrLongKey    = errors.New("key too long")
	ErrTooLarge   = errors.New("too large")
)

func noBucket(bucket string) error {
	return fault.New(fault.NotFound, "The bucket %q does not exist.", bucket).Because(ErrNoBucket)
}

func noKey(bucket, key string) error {
	return fault.New(fault.NotFound, "There is no object %q in the bucket %q.", key, bucket).Because(ErrNoKey)
}

// Store is a directory of buckets. It is safe for concurrent use.
type Store struct {
	dir  string
	lock *os.File

	// mu orders the steps that change which buckets and objects there are:
	// creating directories, renaming, removing. No data is read or written
	// while it is held.
	mu sync.Mutex
}

// Open opens the store in dir, and makes one if there is none. It removes what
// a crash left half written. Only one process may have a store open.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	for _, d := range []string{s.tmp(), s.buckets()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open the object store: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the object store: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close() // nothing was written
		return nil, fmt.Errorf("the object store in %s is in use by another process: %w", dir, err)
	}
	s.lock = lock
	if err := s.sweep(); err != nil {
		_ = lock.Close() // the first error tells more
		return nil, fmt.Errorf("open the object store: %w", err)
	}
	return s, nil
}

// Close lets another process open the store. Requests must have ended.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) sweep() error {
	left, err := os.ReadDir(s.tmp())
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(s.tmp(), e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(s.dir), syncDir(filepath.Dir(s.dir)))
}

func (s *Store) tmp() string                     { return filepath.Join(s.dir, "tmp") }
func (s *Store) buckets() string                 { return filepath.Join(s.dir, "buckets") }
func (s *Store) bucket(name string) string       { return filepath.Join(s.buckets(), name) }
func (s *Store) objects(bucket string) string    { return filepath.Join(s.bucket(bucket), "objects") }
func (s *Store) upload(bucket, id string) string { return filepath.Join(s.uploads(bucket), id) }
func (s *Store) uploads(bucket string) string    { return filepath.Join(s.bucket(bucket), "uploads") }

func (s *Store) object(bucket, key string) string {
	return filepath.Join(s.objects(bucket), keyPath(key))
}

func (s *Store) bucketFile(bucket string) string {
	return filepath.Join(s.bucket(bucket), "bucket.json")
}
func (s *Store) temporary(pattern string) (string, error) { return os.MkdirTemp(s.tmp(), pattern) }

// Bucket is a bucket's record.
type Bucket struct {
	Name    string    `json:"-"`
	Created time.Time `json:"created"`
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

// CreateBucket creates a bucket. An existing one is a fault.Exists.
func (s *Store) CreateBucket(_ context.Context, name string) error {
	if err := CheckBucketName(name); err != nil {
		return err
	}
	tmp, err := s.temporary("bucket-*")
	if err != nil {
		return storage(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // gone when it was renamed
	record, err := json.Marshal(Bucket{Created: time.Now().UTC()})
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
	if _, err := os.Lstat(s.bucket(name)); err == nil {
		return fault.New(fault.Exists, "The bucket %q exists already.", name)
	}
	failpoint.Hit(FailBucketWritten)
	return storage(errors.Join(os.Rename(tmp, s.bucket(name)), syncDir(s.buckets())))
}

// The steps at which a test may kill the process.
const (
	FailBucketWritten = "objects.bucket-written"
	FailWritten       = "objects.written"   // an object is durable under its temporary name
	FailRenamed       = "objects.renamed"   // and has its own name, not yet durably
	FailRemoved       = "objects.removed"   // an object is gone, not yet durably
	FailAssembled     = "objects.assembled" // an object made of parts is there; its upload too
)

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

// storage turns the failures of a disk that a client may meet into faults.
func storage(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.Unavailable, "There is no space left for objects.").Because(err)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return fault.New(fault.Limit, "The key is too long for the server's file system.").Because(ErrLongKey)
	}
	return fmt.Errorf("object store: %w", err)
}

// writeFile writes a small file durably, but for its name.
func writeFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
