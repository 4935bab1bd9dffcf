package objects

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// S3's bounds on parts.
const (
	MaxParts    = 10000
	minPartSize = 5 << 20 // bytes, of every part but the last
)

// What is wrong with the parts of an upload that is to be completed.
var (
	ErrPart      = errors.New("a part is missing or is another")
	ErrPartOrder = errors.New("the parts are out of order")
	ErrPartSmall = errors.New("a part is too small")
	ErrChecksum  = errors.New("the checksum is another")
	ErrSize      = errors.New("the size is another")
)

// Upload is a multipart upload that has begun.
type Upload struct {
	ID           string             `json:"-"`
	Key          string             `json:"key"`
	Begun        time.Time          `json:"begun"`
	Header       map[string]string  `json:"header,omitempty"`
	Tags         string             `json:"tags,omitempty"`
	Algorithm    checksum.Algorithm `json:"algorithm,omitempty"`
	ChecksumType string             `json:"checksumType,omitempty"`
}

// Part is a part of an upload.
type Part struct {
	Number   int
	Size     int64 // in bytes
	ETag     string
	Checksum string // base 64
	Modified time.Time

	// Algorithm is the checksum's, "" for the upload's own.
	Algorithm checksum.Algorithm
}

func noUpload(id string) error {
	return fault.New(fault.NotFound, "The specified upload does not exist. "+
		"The upload ID may be invalid, or the upload may have been aborted or completed.").
		Because(fmt.Errorf("%w: %.64q", ErrNoUpload, id))
}

func validID(id string) bool {
	_, err := hex.DecodeString(id)
	return err == nil && len(id) == 32
}

// newUploadID returns an ID that was never used before. Its first half is when the
// upload begins, in nanoseconds: a list that goes on after an upload that has ended
// since knows where that was.
func newUploadID(begun time.Time) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(begun.UnixNano()))
	b = b[:16]
	_, _ = rand.Read(b[8:]) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// Compare says which of two uploads of a bucket is listed first: by key, then by when
// they began.
func (u Upload) Compare(v Upload) int {
	return cmp.Or(cmp.Compare(u.Key, v.Key), u.Begun.Compare(v.Begun), cmp.Compare(u.ID, v.ID))
}

// Begin begins a multipart upload and returns its ID.
func (s *Store) Begin(ctx context.Context, bucket string, u Upload) (string, error) {
	if err := CheckKey(u.Key); err != nil {
		return "", err
	}
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return "", err
	}
	u.Begun = time.Now().UTC() // as finely as there is: uploads of a key are listed by it
	record, err := json.Marshal(u)
	if err != nil {
		return "", err
	}
	tmp, err := s.temporary("upload-*")
	if err != nil {
		return "", storage(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // gone when it was renamed
	if err := errors.Join(writeFile(filepath.Join(tmp, "upload.json"), record), syncDir(tmp)); err != nil {
		return "", storage(err)
	}
	id := newUploadID(u.Begun)
	if err := os.Rename(tmp, s.upload(bucket, id)); err != nil {
		if missing(err) {
			return "", noBucket(bucket)
		}
		return "", storage(err)
	}
	return id, storage(syncDir(s.uploads(bucket)))
}

// Upload returns an upload's record. key must be the one it was begun for.
func (s *Store) Upload(ctx context.Context, bucket, key, id string) (Upload, error) {
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return Upload{}, err
	}
	u := Upload{ID: id}
	if !validID(id) {
		return u, noUpload(id)
	}
	text, err := os.ReadFile(filepath.Join(s.upload(bucket, id), "upload.json"))
	if missing(err) {
		return u, noUpload(id)
	}
	if err == nil {
		err = json.Unmarshal(text, &u)
	}
	if err == nil && u.Key != key {
		return u, noUpload(id)
	}
	return u, storage(err)
}

// Uploads returns the uploads of a bucket whose keys begin with prefix, by key
// and then by when they began.
func (s *Store) Uploads(ctx context.Context, bucket, prefix string) ([]Upload, error) {
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.uploads(bucket))
	if err != nil && !missing(err) {
		return nil, storage(err)
	}
	var all []Upload
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(s.uploads(bucket), e.Name(), "upload.json"))
		if missing(err) {
			continue // ended since
		}
		u := Upload{ID: e.Name()}
		if err == nil {
			err = json.Unmarshal(text, &u)
		}
		if err != nil {
			return nil, storage(err)
		}
		if strings.HasPrefix(u.Key, prefix) {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, Upload.Compare)
	return all, nil
}

// UploadAt returns the place of an upload in the lists of uploads: as it is under
// way, or, if there is none of that ID, without a key and as its ID has it.
func (s *Store) UploadAt(ctx context.Context, bucket, id string) (Upload, error) {
	u, err := s.Upload(ctx, bucket, "", id) // no key is empty
	if !errors.Is(err, ErrNoUpload) || u.Key != "" {
		if errors.Is(err, ErrNoUpload) {
			err = nil
		}
		return u, err
	}
	u = Upload{ID: id}
	if b, err := hex.DecodeString(id); err == nil && len(b) == 16 {
		u.Begun = time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
	}
	return u, nil
}

func (s *Store) part(bucket, id string, number int) string {
	return filepath.Join(s.upload(bucket, id), fmt.Sprintf("part-%05d", number))
}

// PutPart stores body, read to its end, as a part; one of that number that is
// there already is replaced. See Put for errors from body.
func (s *Store) PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader) (Part, error) {
	u, err := s.Upload(ctx, bucket, key, id)
	if err != nil {
		return Part{}, err
	}
	if number < 1 || number > MaxParts {
		return Part{}, fault.New(fault.Invalid, "Part number must be an integer between 1 and %d, inclusive", MaxParts)
	}
	d, err := s.newDraft(u.Algorithm)
	if err != nil {
		return Part{}, err
	}
	defer d.discard()
	if err := d.fill(body, MaxPut); err != nil {
		return Part{}, err
	}
	i := Info{Size: d.size, ETag: d.etag(), Modified: now()}
	if d.sum != nil {
		i.Checksum = checksum.Encode(d.sum)
	}
	if err := d.seal(i); err != nil {
		return Part{}, err
	}
	path := s.part(bucket, id, number)
	if err := os.Rename(d.f.Name(), path); err != nil {
		if missing(err) {
			return Part{}, noUpload(id) // aborted or completed meanwhile
		}
		return Part{}, storage(err)
	}
	d.done = true
	if err := syncDir(filepath.Dir(path)); err != nil && !missing(err) {
		return Part{}, storage(err)
	}
	return partOf(number, i), nil
}

func partOf(number int, i Info) Part {
	return Part{Number: number, Size: i.Size, ETag: i.ETag, Checksum: i.Checksum, Modified: i.Modified}
}

// Parts returns the parts of an upload with numbers above after, in order, at
// most limit of them, and whether there are more.
func (s *Store) Parts(ctx context.Context, bucket, key, id string, after, limit int) ([]Part, bool, error) {
	if _, err := s.Upload(ctx, bucket, key, id); err != nil {
		return nil, false, err
	}
	entries, err := os.ReadDir(s.upload(bucket, id)) // in order
	if err != nil {
		return nil, false, storage(err)
	}
	var parts []Part
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "part-")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n <= after {
			continue
		}
		if len(parts) == limit {
			return parts, true, nil
		}
		i, err := statInfo(filepath.Join(s.upload(bucket, id), e.Name()))
		if err != nil {
			return nil, false, storage(err)
		}
		parts = append(parts, partOf(n, i))
	}
	return parts, false, nil
}

// Abort ends an upload and removes its parts.
func (s *Store) Abort(ctx context.Context, bucket, key, id string) error {
	if _, err := s.Upload(ctx, bucket, key, id); err != nil {
		return err
	}
	return s.dropUpload(bucket, id)
}

// dropUpload takes an upload out of sight at once, then removes it.
func (s *Store) dropUpload(bucket, id string) error {
	gone, err := s.temporary("gone-*")
	if err != nil {
		return storage(err)
	}
	defer func() { _ = os.RemoveAll(gone) }() // what is left is swept at the next start
	if err := os.Rename(s.upload(bucket, id), filepath.Join(gone, "upload")); err != nil {
		if missing(err) {
			return nil // somebody else was quicker
		}
		return storage(err)
	}
	if err := syncDir(s.uploads(bucket)); err != nil && !missing(err) {
		return storage(err)
	}
	return nil
}
