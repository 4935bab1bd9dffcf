package rpc

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
)

// body reads a request's body and unpacks it. Neither the bytes that came nor
// what they unpack to may be more than MaxBody, so that a small bomb stays small.
func (h *Handler) body(r *http.Request) ([]byte, error) {
	packed := http.MaxBytesReader(nil, r.Body, h.MaxBody)
	var plain io.Reader = packed
	switch encoding := strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ",")); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, h.unreadable(err)
		}
		plain = z
	default:
		return nil, &awserr.Error{
			Code: "UnsupportedMediaTypeException", Status: http.StatusUnsupportedMediaType,
			Message: "The request body's encoding is not known: only gzip is.",
		}
	}
	body, err := io.ReadAll(io.LimitReader(plain, h.MaxBody+1))
	switch {
	case err != nil:
		return nil, h.unreadable(err)
	case int64(len(body)) > h.MaxBody:
		return nil, awserr.TooLarge(h.MaxBody)
	}
	return body, nil
}

func (h *Handler) unreadable(err error) error {
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		return awserr.TooLarge(h.MaxBody)
	}
	return awserr.Of(h.Errors, "", fault.New(fault.Invalid, "The request body could not be read.").Because(err))
}
