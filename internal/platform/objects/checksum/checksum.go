// Package checksum computes the checksums that S3 knows. What they are
// compared with is not its job.
package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"slices"
	"strings"
)

// Algorithm is a checksum algorithm by S3's name, such as "CRC64NVME".
type Algorithm string

// The algorithms that Slipway computes. S3's XXHASH ones are refused by name.
const (
	CRC32     Algorithm = "CRC32"
	CRC32C    Algorithm = "CRC32C"
	CRC64NVME Algorithm = "CRC64NVME"
	SHA1      Algorithm = "SHA1"
	SHA256    Algorithm = "SHA256"
	SHA512    Algorithm = "SHA512"
	MD5       Algorithm = "MD5"
)

const headerPrefix = "x-amz-checksum-"

// All returns every algorithm.
func All() []Algorithm { return []Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5} }

// Parse finds an algorithm by its name in any case.
func Parse(name string) (Algorithm, bool) {
	a := Algorithm(strings.ToUpper(name))
	return a, slices.Contains(All(), a)
}

// FromHeader reads the name of a header that carries a checksum. known is
// false for a checksum header of an algorithm that Slipway lacks.
func FromHeader(header string) (a Algorithm, is, known bool) {
	name, ok := strings.CutPrefix(strings.ToLower(header), headerPrefix)
	if !ok || name == "mode" || name == "type" || name == "algorithm" {
		return "", false, false
	}
	_, known = Parse(name)
	return Algorithm(strings.ToUpper(name)), true, known
}

// Header returns the name of the header that carries the checksum.
func (a Algorithm) Header() string { return headerPrefix + strings.ToLower(string(a)) }

// New returns a running checksum.
func (a Algorithm) New() hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case CRC64NVME:
		return crc64.New(nvme())
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	case MD5:
		return md5.New()
	}
	panic("checksum: no algorithm " + string(a)) // Parse and FromHeader let none through
}

// FullObject reports whether a multipart object may have one checksum over all
// its bytes, as against one over its parts' checksums (S3's rule: CRCs only).
func (a Algorithm) FullObject() bool { return a == CRC32 || a == CRC32C || a == CRC64NVME }

// Composite reports whether a multipart object may have a checksum over its
// parts' checksums.
func (a Algorithm) Composite() bool { return a != CRC64NVME }

// Decode reads a checksum as it stands in a header; ok is false if it is not
// one of a's.
func (a Algorithm) Decode(s string) (sum []byte, ok bool) {
	sum, err := base64.StdEncoding.DecodeString(s)
	return sum, err == nil && len(sum) == a.New().Size()
}

// Encode writes a running checksum as it stands in a header.
func Encode(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }

// nvme is the table of the NVM Express polynomial, reflected.
func nvme() *crc64.Table { return crc64.MakeTable(0x9a6c9329ac4bc9b5) }
