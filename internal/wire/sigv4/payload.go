package sigv4

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
	case !ok && a.contentHash != "":
		hash = a.contentHash
	case !ok && a.presigned:
		hash = unsignedPayload
	case !ok:
		return payloadForm{}, fail(reasonNoPayloadHash, "")
	}
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
			return payloadForm{}, fail(reasonPayload, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid sha256 value.")
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
