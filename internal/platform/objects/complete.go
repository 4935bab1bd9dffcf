package objects

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

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
	if err := s.checkAgain(ctx, bucket, key, id, c.Parts); err != nil {
		return i, err
	}
	return there, s.dropUpload(bucket, id)
}

// checkAgain compares the checksums of parts with the object that they became.
func (s *Store) checkAgain(ctx context.Context, bucket, key, id string, parts []Part) error {
	if !slices.ContainsFunc(parts, func(p Part) bool { return p.Checksum != "" }) {
		return nil
	}
	o, err := s.Open(ctx, bucket, key)
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // it is only read
	if o.Info.Upload != id || len(o.Info.Parts) != len(parts) {
		return noUpload(id) // overwritten meanwhile
	}
	at := int64(0)
	for n, p := range parts {
		size := o.Info.Parts[n]
		switch own := p.Algorithm == ""; {
		case p.Checksum == "":
		case own && n < len(o.Info.PartChecksums):
			if p.Checksum != o.Info.PartChecksums[n] {
				return noPart(p)
			}
		default:
			algorithm := cmp.Or(p.Algorithm, o.Info.Algorithm)
			sum := algorithm.New()
			if _, err := io.Copy(sum, io.NewSectionReader(o, at, size)); err != nil {
				return storage(err)
			}
			if checksum.Encode(sum) != p.Checksum {
				return otherSum(p, algorithm)
			}
		}
		at += size
	}
	return nil
}

// noPart is the refusal of a part that was not uploaded, or is another.
func noPart(p Part) error {
	return fault.New(fault.Invalid, "One or more of the specified parts could not be found. "+
		"The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.").
		Because(&PartError{cause: ErrPart, Part: p})
}

// otherSum is the refusal of a part whose checksum of an algorithm is another.
func otherSum(p Part, a checksum.Algorithm) error {
	return fault.New(
		fault.Invalid, "The %s you specified for part %d did not match what we received.",
		strings.ToLower(string(a)), p.Number,
	).Because(ErrChecksum)
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
	f, i, err := openInfo(path)
	if err != nil {
		if missing(err) {
			return i, noPart(want)
		}
		return i, storage(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	own := want.Algorithm == ""      // the checksum that was computed when the part came
	if i.ETag != want.ETag || own && want.Checksum != "" && want.Checksum != i.Checksum {
		return i, noPart(want)
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
		return i, otherSum(want, want.Algorithm)
	}
	return i, storage(err)
}
