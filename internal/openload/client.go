package openload

import (
	"io"
	"net/http"
)

// NewHTTPClient returns a client for a load through the AWS SDK: it keeps a
// connection for each of so many requests under way, where the SDK's own keeps
// ten, and it does not break connections as that does (see wholeBody).
func NewHTTPClient(inFlight int) *http.Client {
	return &http.Client{Transport: wholeBody{&http.Transport{MaxIdleConnsPerHost: inFlight}}}
}

// wholeBody works around a race in the SDK (smithy-go 1.28): it closes a
// request's body as soon as an answer begins, and a body closed that way says
// io.EOF to net/http's last look for surplus bytes, which net/http takes for a
// failed write. It then closes the connection under the answer. Seen in three of
// a hundred streamed answers on a busy machine. Only the body's WriteTo does so;
// here it is hidden.
type wholeBody struct{ next http.RoundTripper }

func (b wholeBody) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return b.next.RoundTrip(r)
}
