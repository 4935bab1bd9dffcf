package http1_test

import (
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Which service a request is for may be in its head, beyond its path.
func TestARequestMayBeForTheOtherServerByItsHead(t *testing.T) {
	s := serve(t, http1.Config{Elsewhere: func(x *http1.Exchange) bool {
		h, _ := x.Header("host")
		return strings.HasPrefix(h, "bucket.")
	}}, echo)
	const body = "Content-Length: 5\r\n\r\nhello"
	if got := talk(t, s.addr, "POST /endpoints/e HTTP/1.1\r\nHost: h\r\n"+body); !strings.HasSuffix(got, "hello") ||
		strings.Contains(got, "rest") {
		t.Errorf("an invocation: %s", got)
	}
	got := talk(t, s.addr, "POST /endpoints/e HTTP/1.1\r\nHost: bucket.h\r\n"+body)
	if !strings.HasSuffix(got, "rest POST /endpoints/e hello") {
		t.Errorf("an object: %s", got)
	}
}
