package objects

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// The largest sizes, in bytes: S3's own.
const (
	MaxPut    = 5 << 30  // of an object or part that comes in one request
	MaxObject = 50 << 40 // of an object made of parts
)

func tooLarge() error {
	return fault.New(fault.Limit, "Your proposed upload exceeds the maximum allowed size").Because(ErrTooLarge)
}

// Put is how an object is to be put.
type Put struct {
	Header    map[string]string  // kept with the object; names in lower case
	Tags      string             // as a query string
	Algorithm checksum.Algorithm // compute this checksum and keep it; "" for none
	If        Condition
}

// Condition is what must hold of the object that is there, at the moment when
// it is replaced or removed. The zero Condition holds always.
type Condition struct {
	Absent bool   // there must be none
	ETag   string // it must have this ETag; "*" for any

	Modified time.Time // it must have been put then, to the second; zero for whenever
	Size     *int64    // it must have this size in bytes; nil for any

	upload string // it must not have been made of this upload; "" for whichever
}

// check returns why c does not hold of the object at path: a fault.Conflict
// with ErrChanged, or ErrNoKey for an ETag of nothing.
func (c Condition) check(bucket, key, path string) error {
	if c == (Condition{}) {
		return nil
	}
	i, err := statInfo(path)
	switch {
	case err != nil && !missing(err):
		return storage(err)
	case err == nil && c.upload != "" && i.Upload == c.upload:
		return noUpload(c.upload)
	case missing(err) && (c.ETag != "" || !c.Modified.IsZero() || c.Size != nil):
		return noKey(bucket, key)
	case err == nil && !c.holdsOf(i):
		return fault.New(fault.Conflict, "At least one of the pre-conditions you specified did not hold").
			Because(ErrChanged)
	}
	return nil
}

func (c Condition) holdsOf(i Info) bool {
	return !c.Absent && (c.ETag == "" || c.ETag == "*" || c.ETag == i.ETag) &&
		(c.Modified.IsZero() || c.Modified.Equal(i.Modified.Truncate(time.Second))) &&
		(c.Size == nil || *c.Size == i.Size)
}

// Put stores body, read to its end, as an object. An error from body comes
// back wrapped, and leaves everything as it was: a body that finds itself
// forged at its end is never seen by anyone.
func (s *Store) Put(ctx context.Context, bucket, key string, body io.Reader, p Put) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return Info{}, err
	}
	d, err := s.newDraft(p.Algorithm)
	if err != nil {
		return Info{}, err
	}
	defer d.discard()
	if err := d.fill(body, MaxPut); err != nil {
		return Info{}, err
	}
	i := Info{Key: key, Size: d.size, ETag: d.etag(), Modified: now(), Header: p.Header, Tags: p.Tags}
	if d.sum != nil {
		i.Algorithm, i.Checksum, i.ChecksumType = p.Algorithm, checksum.Encode(d.sum), FullObject
	}
	if err := d.seal(i); err != nil {
		return Info{}, err
	}
	return i, s.commit(d, bucket, key, p.If)
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// commit gives a sealed draft its name.
func (s *Store) commit(d *draft, bucket, key string, c Condition) error {
	failpoint.Hit(FailWritten)
	path := s.object(bucket, key)
	if err := s.place(d, bucket, key, path, c); err != nil {
		return err
	}
	failpoint.Hit(FailRenamed)
	if err := syncDir(filepath.Dir(path)); err != nil && !missing(err) { // missing: deleted since, with its directory
		return storage(err)
	}
	return nil
}

func (s *Store) place(d *draft, bucket, key, path string, c Condition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.check(bucket, key, path); err != nil {
		return err
	}
	if err := makeDirs(s.objects(bucket), filepath.Dir(path)); err != nil {
		if missing(err) {
			return noBucket(bucket)
		}
		return storage(err)
	}
	if err := os.Rename(d.f.Name(), path); err != nil {
		return storage(err)
	}
	d.done = true
	return nil
}

// makeDirs makes dir, which is root or below it, and every directory between,
// durably: whoever finds a directory may rely on it. root must exist: a bucket
// that was deleted must not come back.
func makeDirs(root, dir string) error {
	if dir == root {
		_, err := os.Stat(root)
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if missing(err) {
		if err := makeDirs(root, filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// Delete deletes an object. That there is none is no error, unless it had to be
// one that meets the condition.
func (s *Store) Delete(ctx context.Context, bucket, key string, c Condition) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return err
	}
	path := s.object(bucket, key)
	left, err := s.remove(bucket, key, path, c)
	if err != nil || left == "" {
		return err
	}
	failpoint.Hit(FailRemoved)
	if err := syncDir(left); err != nil && !missing(err) {
		return storage(err)
	}
	return nil
}

// remove removes an object's file and the directories that it leaves empty. It
// returns the directory that changed and is left, or "" if nothing did.
func (s *Store) remove(bucket, key, path string, c Condition) (left string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.check(bucket, key, path); err != nil {
		return "", err
	}
	if err := os.Remove(path); err != nil {
		if missing(err) {
			return "", nil
		}
		return "", storage(err)
	}
	root := s.objects(bucket)
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if dir == root || !strings.HasPrefix(dir, root) || os.Remove(dir) != nil { // not empty
			return dir, nil
		}
	}
}

// Copy is how a copy is to differ from its source.
type Copy struct {
	Header    map[string]string  // in place of the source's; nil keeps it
	Tags      *string            // in place of the source's; nil keeps them
	Algorithm checksum.Algorithm // of the copy's checksum; "" keeps the source's
	If        Condition          // of what is at the destination
}

// Copy copies an object, on itself too.
func (s *Store) Copy(ctx context.Context, from *Object, bucket, key string, c Copy) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return Info{}, err
	}
	i := from.Info
	if c.Algorithm == i.Algorithm && i.ChecksumType == FullObject {
		c.Algorithm = ""
	}
	d, err := s.newDraft(c.Algorithm)
	if err != nil {
		return Info{}, err
	}
	defer d.discard()
	if c.Algorithm != "" {
		err = d.fill(io.NewSectionReader(from, 0, i.Size), i.Size)
		i.Algorithm, i.Checksum, i.ChecksumType = c.Algorithm, checksum.Encode(d.sum), FullObject
	} else { // the kernel copies from file to file, or shares the blocks
		err = from.CopyTo(d.f, 0, i.Size)
	}
	if err != nil {
		return Info{}, storage(err)
	}
	if key != i.Key {
		i.Upload, i.PartNumbers = "", nil
	}
	i.Key, i.Modified = key, now()
	if c.Header != nil {
		i.Header = c.Header
	}
	if c.Tags != nil {
		i.Tags = *c.Tags
	}
	if err := d.seal(i); err != nil {
		return Info{}, err
	}
	return i, s.commit(d, bucket, key, c.If)
}
