package checksum_test

import (
	"encoding/hex"
	"io"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// The check values of the catalogue of parametrised CRCs, and of the hashes'
// own standards, over "123456789" or "abc".
func TestChecksumsAgreeWithTheirStandards(t *testing.T) {
	for a, c := range map[checksum.Algorithm]struct{ in, want string }{
		checksum.CRC32:     {"123456789", "cbf43926"},
		checksum.CRC32C:    {"123456789", "e3069283"},
		checksum.CRC64NVME: {"123456789", "ae8b14860a799888"},
		checksum.SHA1:      {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
		checksum.SHA256:    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		checksum.MD5:       {"abc", "900150983cd24fb0d6963f7d28e17f72"},
	} {
		h := a.New()
		_, _ = io.WriteString(h, c.in) // a hash never fails
		if got := hex.EncodeToString(h.Sum(nil)); got != c.want {
			t.Errorf("%s(%s) = %s, want %s", a, c.in, got, c.want)
		}
		if _, ok := a.Decode(checksum.Encode(h)); !ok {
			t.Errorf("%s does not decode its own encoding", a)
		}
		if _, ok := a.Decode("AAA="); ok {
			t.Errorf("%s decodes two bytes", a)
		}
	}
}

func TestHeadersNameTheirAlgorithm(t *testing.T) {
	for header, want := range map[string]struct {
		a         checksum.Algorithm
		is, known bool
	}{
		"X-Amz-Checksum-Crc64nvme": {checksum.CRC64NVME, true, true},
		"x-amz-checksum-xxhash3":   {"XXHASH3", true, false},
		"x-amz-checksum-mode":      {},
		"x-amz-checksum-algorithm": {},
		"content-md5":              {},
	} {
		if a, is, known := checksum.FromHeader(header); a != want.a || is != want.is || known != want.known {
			t.Errorf("%s: %v, %v, %v", header, a, is, known)
		}
	}
	for _, a := range checksum.All() {
		if back, is, known := checksum.FromHeader(a.Header()); back != a || !is || !known {
			t.Errorf("%s does not come back from %s", a, a.Header())
		}
	}
}
