package sigv4

import (
	"bufio"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// What x-amz-content-sha256 may say besides a hash.
const (
	unsignedPayload        = "UNSIGNED-PAYLOAD"
	streamingSigned        = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingSignedTrailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingTrailer       = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// payloadForm is how an S3 request vouches for its body.
type payloadForm struct {
	hash    string // as it stands in the canonical request
	chunked bool   // in aws-chunked encoding
	signed  bool   // each chunk carries a signature
	trailer bool   // headers follow the last chunk
}

func (p payloadForm) streaming() bool { return p.chunked }

// payloadOf reads x-amz-content-sha256, which a presigned request may leave
// out or carry in its query.
func payloadOf(r Request, a *auth) (payloadForm, *Error) {
	hash, ok := r.Header("x-amz-content-sha256")
	switch {
	case ok && !a.signs("x-amz-content-sha256"):
		return payloadForm{}, fail(reasonUnsigned, "")
	case ok && a.contentHash != "" && a.contentHash != hash:
		return payloadForm{}, fail(reasonPayload, "The parameter X-Amz-Content-Sha256 must be given once.")
	case !ok && a.contentHash != "":
		hash = a.contentHash
	case !ok && a.presigned:
		hash = unsignedPayload
	case !ok:
		return payloadForm{}, fail(reasonNoPayloadHash, "")
	}
	return formOf(hash)
}

// formOf reads what x-amz-content-sha256 says.
func formOf(hash string) (payloadForm, *Error) {
	p := payloadForm{hash: hash}
	switch hash {
	case unsignedPayload:
	case streamingSigned:
		p.chunked, p.signed = true, true
	case streamingSignedTrailer:
		p.chunked, p.signed, p.trailer = true, true, true
	case streamingTrailer:
		p.chunked, p.trailer = true, true
	default:
		if !isHexHash(hash) {
			return payloadForm{}, fail(
				reasonPayload,
				"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "+
					"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid "+
					"sha256 value.",
			)
		}
	}
	return p, nil
}

func isHexHash(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64
}

// Payload is the decoded body of a verified S3 request. Read answers io.EOF
// only when the whole of it is what the signer vouched for: its hash, the
// signatures of its chunks, its length, and every checksum declared. Anything
// else ends in an *Error, however much was read before.
type Payload struct {
	src      io.Reader
	chunks   *chunkReader // nil when the body is plain
	closer   io.Closer
	size     int64 // decoded, in bytes; -1 unknown
	read     int64
	digests  []digest
	verified map[checksum.Algorithm]string
	err      error // once set, for ever
}

// digest is one running hash and what it must come to.
type digest struct {
	hash      hash.Hash
	want      []byte             // nil while the trailer is still to come
	algorithm checksum.Algorithm // "" for those that are not S3 checksums
	reason    reason
}

// Size returns the length of the decoded body in bytes, or -1 if the request
// does not say.
func (p *Payload) Size() int64 { return p.size }

// Checksums returns the checksums that were declared and hold, in base 64. It
// is complete once Read has answered io.EOF.
func (p *Payload) Checksums() map[checksum.Algorithm]string { return p.verified }

// Close closes the body underneath.
func (p *Payload) Close() error { return p.closer.Close() }

func (p *Payload) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.src.Read(b)
	p.read += int64(n)
	for _, d := range p.digests {
		_, _ = d.hash.Write(b[:n]) // a hash never fails
	}
	switch {
	case err == nil && p.size >= 0 && p.read > p.size:
		err = fail(reasonIncomplete, "The request body is longer than its declared length.")
	case errors.Is(err, io.EOF):
		if e := p.finish(); e != nil {
			err = e
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errShort()
	}
	p.err = err
	return n, err
}

func errShort() *Error {
	return fail(reasonIncomplete, "You did not provide the number of bytes specified by the Content-Length HTTP header")
}

// finish compares everything at the end of the body.
func (p *Payload) finish() *Error {
	if p.size >= 0 && p.read != p.size {
		return errShort()
	}
	for _, d := range p.digests {
		if d.want == nil {
			text, ok := p.chunks.trailers[d.algorithm.Header()]
			if !ok {
				return fail(reasonMalformedTrailer, "")
			}
			if d.want, ok = d.algorithm.Decode(text); !ok {
				return fail(reasonPayload, "Value for "+d.algorithm.Header()+" trailing header is invalid.")
			}
		}
		sum := d.hash.Sum(nil)
		if string(sum) != string(d.want) {
			return fail(d.reason, "The "+string(d.algorithm)+" you specified did not match the calculated checksum.")
		}
		if d.algorithm != "" {
			p.verified[d.algorithm] = base64.StdEncoding.EncodeToString(sum)
		}
	}
	return nil
}

// newPayload wraps r's body. chain is nil unless chunks are signed.
func newPayload(r *http.Request, form payloadForm, chain *chunkChain) (*Payload, *Error) {
	p := &Payload{src: r.Body, closer: r.Body, size: r.ContentLength, verified: map[checksum.Algorithm]string{}}
	if form.chunked {
		n, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return nil, fail(reasonLengthRequired, "")
		}
		p.size = n
		p.chunks = &chunkReader{
			br: bufio.NewReaderSize(r.Body, 16<<10), chain: chain, room: n, trailer: form.trailer, sum: sha256.New(),
		}
		p.src = p.chunks
	} else if text, given := r.Header["X-Amz-Decoded-Content-Length"]; given &&
		text[0] != strconv.FormatInt(r.ContentLength, 10) {
		// The chunks that the client speaks of would be stored as the object.
		return nil, fail(reasonPayload, "x-amz-decoded-content-length is not the length of a body that "+
			"x-amz-content-sha256 says is in no chunks.")
	} else if form.hash != unsignedPayload {
		want, err := hex.DecodeString(form.hash)
		if err != nil {
			return nil, fail(reasonContentHash, "")
		}
		p.digests = append(p.digests, digest{hash: sha256.New(), want: want, reason: reasonContentHash})
	}
	if text, given := r.Header["Content-Md5"]; given {
		want, err := base64.StdEncoding.DecodeString(text[0])
		if err != nil || len(want) != md5.Size {
			return nil, fail(reasonInvalidDigest, "")
		}
		p.digests = append(p.digests, digest{hash: md5.New(), want: want, reason: reasonDigest})
	}
	// The checksum beside CompleteMultipartUpload is that of the object.
	if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") {
		return p, nil
	}
	return p, p.declare(r, form.trailer)
}

// declare notes the checksum that the headers give or the trailer will.
func (p *Payload) declare(r *http.Request, trailer bool) *Error {
	var declared int
	for name, values := range r.Header {
		a, is, known := checksum.FromHeader(name)
		if !is {
			continue
		}
		if !known {
			return fail(reasonUnknownChecksum, "The checksum algorithm "+clip(string(a))+" is not implemented.")
		}
		want, ok := a.Decode(values[0])
		if !ok || len(values) != 1 {
			return fail(reasonPayload, "Value for "+a.Header()+" header is invalid.")
		}
		declared++
		p.digests = append(p.digests, digest{hash: a.New(), want: want, algorithm: a, reason: reasonChecksum})
	}
	if text, ok := r.Header["X-Amz-Trailer"]; trailer || ok {
		for _, name := range strings.Split(strings.Join(text, ","), ",") {
			a, is, known := checksum.FromHeader(strings.TrimSpace(name))
			if !is || !trailer { // nothing follows the body
				return fail(reasonPayload, "The value specified in the x-amz-trailer header is not supported")
			}
			if !known {
				return fail(reasonUnknownChecksum, "The checksum algorithm "+clip(string(a))+" is not implemented.")
			}
			declared++
			p.digests = append(p.digests, digest{hash: a.New(), algorithm: a, reason: reasonChecksum})
		}
	}
	if declared > 1 {
		return fail(
			reasonPayload, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
		)
	}
	return nil
}
