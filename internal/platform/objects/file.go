package objects

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// An object is one file: its data, its record in JSON, and a footer that says
// where the record begins. One rename puts all of it in place.
//
//	data … | JSON … | CRC-32C of JSON | its length | "slipobj1"
const (
	footerSize = 16
	magic      = "slipobj1"
	maxRecord  = 2 << 20 // bytes; ten thousand parts fit
)

// Info is what is known of an object besides its data.
type Info struct {
	Key      string    `json:"-"`
	Size     int64     `json:"size"` // in bytes
	ETag     string    `json:"etag"` // without quotes
	Modified time.Time `json:"modified"`
	// Header is as it was put: content-type, x-amz-meta-…; names in lower case.
	Header       map[string]string  `json:"header,omitempty"`
	Tags         string             `json:"tags,omitempty"` // as a query string
	Algorithm    checksum.Algorithm `json:"algorithm,omitempty"`
	Checksum     string             `json:"checksum,omitempty"`     // base 64; of parts' checksums with "-N" after it
	ChecksumType string             `json:"checksumType,omitempty"` // FullObject or Composite
	Parts        []int64            `json:"parts,omitempty"`        // sizes in bytes, of an object made of parts
	// Upload and PartNumbers say what an object made of parts was made of.
	Upload      string `json:"upload,omitempty"`
	PartNumbers []int  `json:"partNumbers,omitempty"` // nil for 1, 2, 3, …
	// PartChecksums are those of the parts by Algorithm, base 64; nil without one, and
	// of objects that were completed before they were kept.
	PartChecksums []string `json:"partChecksums,omitempty"`
}

// What a checksum is over.
const (
	FullObject = "FULL_OBJECT"
	Composite  = "COMPOSITE"
)

// draft is an object that is being written under a temporary name.
type draft struct {
	f    *os.File
	md5  hash.Hash
	sum  hash.Hash // nil without an algorithm
	size int64
	done bool // it has its own name
}

const copyBuffer = 64 << 10

func (s *Store) newDraft(a checksum.Algorithm) (*draft, error) {
	f, err := os.CreateTemp(s.tmp(), "object-*") // mode 0600
	if err != nil {
		return nil, storage(err)
	}
	d := &draft{f: f, md5: md5.New()}
	if a != "" {
		d.sum = a.New()
	}
	return d, nil
}

// discard removes the draft unless it was put in place.
func (d *draft) discard() {
	_ = d.f.Close() // closed already when all went well
	if !d.done {
		_ = os.Remove(d.f.Name()) // else swept at the next start
	}
}

// readError is a failure of the source of data, as against one of the disk.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// fill copies body to its end. What the body fails with comes back as it is.
func (d *draft) fill(body io.Reader, limit int64) error {
	buf := make([]byte, copyBuffer)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if d.size += int64(n); d.size > limit {
				return tooLarge()
			}
			_, _ = d.md5.Write(buf[:n]) // a hash never fails
			if d.sum != nil {
				_, _ = d.sum.Write(buf[:n]) // as above
			}
			if _, err := d.f.Write(buf[:n]); err != nil {
				return storage(err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return readError{err}
		}
	}
}

func (d *draft) etag() string { return hex.EncodeToString(d.md5.Sum(nil)) }

// seal writes the record and makes the file durable under its temporary name.
func (d *draft) seal(i Info) error {
	record, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if len(record) > maxRecord {
		return fmt.Errorf("object record of %d bytes", len(record))
	}
	foot := binary.BigEndian.AppendUint32(nil, crc32.Checksum(record, crc32.MakeTable(crc32.Castagnoli)))
	foot = binary.BigEndian.AppendUint32(foot, uint32(len(record)))
	foot = append(foot, magic...)
	_, err = d.f.Write(append(record, foot...))
	return storage(errors.Join(err, d.f.Sync(), d.f.Close()))
}

// readInfo reads the record at the end of an object's file.
func readInfo(f *os.File) (Info, error) {
	var i Info
	st, err := f.Stat()
	if err != nil {
		return i, err
	}
	// One read gets the record of almost every object.
	tail := make([]byte, min(st.Size(), 1024))
	if _, err := f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil {
		return i, err
	}
	if len(tail) < footerSize || string(tail[len(tail)-len(magic):]) != magic {
		return i, fmt.Errorf("%s is not an object", f.Name())
	}
	foot := tail[len(tail)-footerSize:]
	sum, n := binary.BigEndian.Uint32(foot), int64(binary.BigEndian.Uint32(foot[4:]))
	if n > maxRecord || n > st.Size()-footerSize {
		return i, fmt.Errorf("%s is damaged", f.Name())
	}
	var record []byte
	if begin := int64(len(tail)) - footerSize - n; begin >= 0 {
		record = tail[begin : begin+n]
	} else {
		record = make([]byte, n)
		if _, err := f.ReadAt(record, st.Size()-footerSize-n); err != nil {
			return i, err
		}
	}
	if crc32.Checksum(record, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return i, fmt.Errorf("%s is damaged", f.Name())
	}
	if err := json.Unmarshal(record, &i); err != nil {
		return i, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if i.Size != st.Size()-footerSize-n {
		return i, fmt.Errorf("%s is damaged", f.Name())
	}
	return i, nil
}

// openInfo opens an object's file and reads its record.
func openInfo(path string) (*os.File, Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Info{}, err
	}
	i, err := readInfo(f)
	if err != nil {
		_ = f.Close() // it was only read
		return nil, Info{}, err
	}
	return f, i, nil
}

// statInfo reads the record of an object's file.
func statInfo(path string) (Info, error) {
	f, i, err := openInfo(path)
	if err != nil {
		return Info{}, err
	}
	return i, f.Close()
}

// missing reports whether a path leads nowhere: a directory on the way may be
// gone, too.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
