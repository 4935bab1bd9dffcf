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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/slipway-ml/slipway/internal/domain/fault"
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

// The steps at which a test may kill the process.
const (
	FailBucketWritten = "objects.bucket-written"
	FailWritten       = "objects.written"   // an object is durable under its temporary name
	FailRenamed       = "objects.renamed"   // and has its own name, not yet durably
	FailRemoved       = "objects.removed"   // an object is gone, not yet durably
	FailAssembled     = "objects.assembled" // an object made of parts is there; its upload too
)

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
