package objects

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
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

// Begin begins a multipart upload and returns its ID.
func (s *Store) Begin(ctx context.Context, bucket string, u Upload) (string, error) {
	if err := CheckKey(u.Key); err != nil {
		return "", err
	}
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return "", err
	}
	u.Begun = now()
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
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	id := hex.EncodeToString(b)
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
// and then by ID.
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
	slices.SortFunc(all, func(a, b Upload) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// KeyOfUpload returns the key of an upload under way, and "" if there is none of
// that id.
func (s *Store) KeyOfUpload(ctx context.Context, bucket, id string) (string, error) {
	u, err := s.Upload(ctx, bucket, "", id) // no key is empty
	if errors.Is(err, ErrNoUpload) {
		err = nil
	}
	return u.Key, err
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

// Complete is how an upload is to become an object.
type Complete struct {
	Parts    []Part    // Number and ETag; Checksum where it is to be compared
	Checksum string    // of the object, to be compared; "" for none
	Size     int64     // of the object, to be compared; -1 for none
	If       Condition // of the object that is there
}

// Completing returns the upload that a request to complete it speaks of: also
// one that became the object of its key already.
func (s *Store) Completing(ctx context.Context, bucket, key, id string) (Upload, error) {
	u, err := s.Upload(ctx, bucket, key, id)
	if !errors.Is(err, ErrNoUpload) {
		return u, err
	}
	if i, err := s.Stat(ctx, bucket, key); err == nil && i.Upload == id && id != "" {
		return Upload{ID: id, Key: key, Algorithm: i.Algorithm, ChecksumType: i.ChecksumType}, nil
	}
	return u, err
}

// Complete makes the object of an upload's parts and ends the upload. Its
// errors are faults because of ErrPart, ErrPartOrder, ErrPartSmall, ErrChecksum
// or ErrSize; the upload is as it was then. Completing an upload again, of the
// same parts, answers with the object that it became, as long as that is there:
// whoever did not hear the first answer asks twice.
func (s *Store) Complete(ctx context.Context, bucket, key, id string, c Complete) (Info, error) {
	if err := checkParts(c.Parts); err != nil {
		return Info{}, err
	}
	i, err := s.completeOnce(ctx, bucket, key, id, c)
	if err == nil {
		return i, nil
	}
	there, statErr := s.Stat(ctx, bucket, key)
	if statErr != nil || !there.madeOf(id, c) {
		return i, err
	}
	return there, s.dropUpload(bucket, id)
}

// madeOf reports whether an object is what an upload with these parts makes.
func (i Info) madeOf(id string, c Complete) bool {
	if i.Upload != id || i.ETag != etagOf(c.Parts) || c.Size >= 0 && c.Size != i.Size ||
		c.Checksum != "" && c.Checksum != i.Checksum {
		return false
	}
	return slices.Equal(i.PartNumbers, partNumbers(c.Parts))
}

// partNumbers returns the numbers of parts, nil for those that count from one.
func partNumbers(parts []Part) (numbers []int) {
	if parts[len(parts)-1].Number == len(parts) { // they are in order
		return nil
	}
	for _, p := range parts {
		numbers = append(numbers, p.Number)
	}
	return numbers
}

// etagOf returns the ETag of the object that parts make.
func etagOf(parts []Part) string {
	h := md5.New()
	for _, p := range parts {
		raw, _ := hex.DecodeString(p.ETag) // another's is not found among the parts
		_, _ = h.Write(raw)                // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

func checkParts(parts []Part) error {
	if len(parts) == 0 || len(parts) > MaxParts {
		return fault.New(fault.Invalid, "You must specify between 1 and %d parts", MaxParts).Because(ErrPart)
	}
	for n, p := range parts[1:] {
		if p.Number <= parts[n].Number {
			return fault.New(fault.Invalid,
				"The list of parts was not in ascending order. Parts must be ordered by part number.").
				Because(ErrPartOrder)
		}
	}
	return nil
}

func (s *Store) completeOnce(ctx context.Context, bucket, key, id string, c Complete) (Info, error) {
	u, err := s.Upload(ctx, bucket, key, id)
	if err != nil {
		return Info{}, err
	}
	full := u.Algorithm
	if u.ChecksumType != FullObject {
		full = ""
	}
	d, err := s.newDraft(full)
	if err != nil {
		return Info{}, err
	}
	defer d.discard()
	i, err := s.assemble(ctx, d, bucket, u, c)
	if err != nil {
		return Info{}, err
	}
	if err := d.seal(i); err != nil {
		return Info{}, err
	}
	c.If.upload = id
	if err := s.commit(d, bucket, key, c.If); err != nil {
		return Info{}, err
	}
	failpoint.Hit(FailAssembled)
	return i, s.dropUpload(bucket, id)
}

// assemble writes the parts, one after the other, to d.
func (s *Store) assemble(ctx context.Context, d *draft, bucket string, u Upload, c Complete) (Info, error) {
	i := Info{
		Key: u.Key, Modified: now(), Header: u.Header, Tags: u.Tags, ETag: etagOf(c.Parts), Upload: u.ID,
		PartNumbers: partNumbers(c.Parts),
	}
	var sums []byte
	for n, p := range c.Parts {
		if err := ctx.Err(); err != nil {
			return i, err
		}
		part, err := s.appendPart(d, s.part(bucket, u.ID, p.Number), p)
		if err != nil {
			return i, err
		}
		if n < len(c.Parts)-1 && part.Size < minPartSize {
			return i, fault.New(fault.Invalid, "Your proposed upload is smaller than the minimum allowed size").
				Because(&PartError{ErrPartSmall, p, part.Size})
		}
		i.Size += part.Size
		if i.Size > MaxObject {
			return i, tooLarge()
		}
		i.Parts = append(i.Parts, part.Size)
		if u.Algorithm != "" {
			sum, _ := u.Algorithm.Decode(part.Checksum) // we wrote it
			sums = append(sums, sum...)
			i.PartChecksums = append(i.PartChecksums, part.Checksum)
		}
	}
	if c.Size >= 0 && c.Size != i.Size {
		return i, fault.New(
			fault.Invalid, "The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d",
			c.Size, i.Size,
		).Because(ErrSize)
	}
	if u.Algorithm != "" {
		i.Algorithm, i.ChecksumType = u.Algorithm, u.ChecksumType
		if d.sum != nil {
			i.Checksum = checksum.Encode(d.sum)
		} else {
			h := u.Algorithm.New()
			_, _ = h.Write(sums) // a hash never fails
			i.Checksum = checksum.Encode(h) + "-" + strconv.Itoa(len(c.Parts))
		}
		if c.Checksum != "" && c.Checksum != i.Checksum {
			return i, fault.New(fault.Invalid,
				"The upload was created with a %s checksum. "+
					"The checksum given for the whole object does not match the one that was computed.", u.Algorithm).
				Because(ErrChecksum)
		}
	}
	return i, nil
}

// appendPart appends the part at path, if it is the one that is meant.
func (s *Store) appendPart(d *draft, path string, want Part) (Info, error) {
	wrong := fault.New(fault.Invalid, "One or more of the specified parts could not be found. "+
		"The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.").
		Because(&PartError{cause: ErrPart, Part: want})
	f, i, err := openInfo(path)
	if err != nil {
		if missing(err) {
			return i, wrong
		}
		return i, storage(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	own := want.Algorithm == ""      // the checksum that was computed when the part came
	if i.ETag != want.ETag || own && want.Checksum != "" && want.Checksum != i.Checksum {
		return i, wrong
	}
	data := io.LimitReader(f, i.Size)
	var sum hash.Hash
	if !own {
		sum = want.Algorithm.New()
		data = io.TeeReader(data, sum)
	}
	if d.sum != nil {
		data = io.TeeReader(data, d.sum)
	}
	if d.sum != nil || sum != nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{d.f}, data, make([]byte, copyBuffer))
	} else {
		_, err = io.Copy(d.f, data) // from file to file, by the kernel
	}
	if err == nil && sum != nil && checksum.Encode(sum) != want.Checksum {
		return i, fault.New(
			fault.Invalid, "The %s you specified for part %d did not match what we received.",
			strings.ToLower(string(want.Algorithm)), want.Number,
		).Because(ErrChecksum)
	}
	return i, storage(err)
}
