package sigv4

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// FromHTTP reads a request that net/http received.
func FromHTTP(r *http.Request) Request { return httpRequest{r} }

type httpRequest struct{ r *http.Request }

func (h httpRequest) Method() string { return h.r.Method }

// Path returns the path as it was sent, not as net/url would write it.
func (h httpRequest) Path() string {
	if p := h.r.RequestURI; strings.HasPrefix(p, "/") {
		path, _, _ := strings.Cut(p, "?")
		return path
	}
	return h.r.URL.EscapedPath()
}

func (h httpRequest) Query() string { return h.r.URL.RawQuery }

func (h httpRequest) Header(name string) (string, bool) {
	if name == "host" {
		return h.r.Host, true
	}
	switch values := h.r.Header[textproto.CanonicalMIMEHeaderKey(name)]; len(values) {
	case 0:
	case 1:
		return values[0], true
	default:
		return strings.Join(values, ","), true
	}
	// net/http takes these out of the headers.
	switch {
	case name == "content-length" && h.r.ContentLength >= 0:
		return strconv.FormatInt(h.r.ContentLength, 10), true
	case name == "transfer-encoding" && len(h.r.TransferEncoding) > 0:
		return strings.Join(h.r.TransferEncoding, ","), true
	}
	return "", false
}
