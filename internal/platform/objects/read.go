package objects

import (
	"context"
	"io"
	"os"
)

// Object is an object opened for reading. It stays as it was when it was
// opened, whatever happens to its key. Read, Seek and ReadAt see its data only.
type Object struct {
	Info Info
	*io.SectionReader
	f *os.File
}

// Close releases the object.
func (o *Object) Close() error { return o.f.Close() }

// CopyTo writes n bytes of the object from off on. A writer that can take a
// file whole, as a connection can, gets it from the kernel.
func (o *Object) CopyTo(w io.Writer, off, n int64) error {
	if _, err := o.f.Seek(off, io.SeekStart); err != nil {
		return storage(err)
	}
	_, err := io.CopyN(w, o.f, n)
	return err
}

// Open opens an object. None there is a fault.NotFound: ErrNoKey or ErrNoBucket.
func (s *Store) Open(ctx context.Context, bucket, key string) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if CheckBucketName(bucket) != nil {
		return nil, noBucket(bucket)
	}
	f, i, err := openInfo(s.object(bucket, key))
	if err != nil {
		if !missing(err) {
			return nil, storage(err)
		}
		if _, err := s.HeadBucket(ctx, bucket); err != nil {
			return nil, err
		}
		return nil, noKey(bucket, key)
	}
	i.Key = key
	return &Object{Info: i, SectionReader: io.NewSectionReader(f, 0, i.Size), f: f}, nil
}

// Get opens an object for reading, for those that need no more than its data.
func (s *Store) Get(ctx context.Context, bucket, key string) (io.ReadCloser, Info, error) {
	o, err := s.Open(ctx, bucket, key)
	if err != nil {
		return nil, Info{}, err
	}
	return o, o.Info, nil
}

// Stat returns what is known of an object.
func (s *Store) Stat(ctx context.Context, bucket, key string) (Info, error) {
	o, err := s.Open(ctx, bucket, key)
	if err != nil {
		return Info{}, err
	}
	return o.Info, o.Close()
}
