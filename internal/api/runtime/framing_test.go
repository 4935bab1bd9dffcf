package runtime_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// What a container announces and cannot send leaves no client without an answer,
// on either side, streamed or not, and is no error of the model.
func TestAnAnswerWithoutABodyIsWhole(t *testing.T) {
	s := start(t, nil)
	want := uint64(0)
	for _, status := range []int{200, 204, 205} {
		for name, c := range map[string]struct{ fields, body string }{
			"no length":         {"Connection: close\r\n", ""},
			"length 0":          {"Content-Length: 0\r\n", ""},
			"a length":          {"Content-Length: 5\r\n", "hello"},
			"chunks":            {"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"},
			"two lengths":       {"Content-Length: 5\r\nContent-Length: 6\r\n", "hello"},
			"length and chunks": {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"},
		} {
			answer := fmt.Sprintf("HTTP/1.1 %d X\r\n%s\r\n%s", status, c.fields, c.body)
			s.route(rawContainer(t, answer, name == "no length"))
			failed := status != 204 && (name == "two lengths" || name == "length and chunks")
			text := ""
			if status != 204 && c.body != "" {
				text = "hello"
			}
			for _, op := range []string{"invocations", "invocations-response-stream"} {
				for _, url := range []string{s.url, s.rest} {
					r := do(t, request(t, url+"/endpoints/e/"+op, "x"))
					switch {
					case failed && r.status != 424:
						t.Errorf("%d, %s, %s: %d", status, name, op, r.status)
					case !failed && (r.status != 200 || !strings.Contains(r.body, text) || text == "" && r.body != ""):
						t.Errorf("%d, %s, %s: %d %q", status, name, op, r.status, r.body)
					}
					if failed {
						want++
					}
				}
			}
		}
	}
	got := s.router.Counts(traffic.Key{Region: region, Name: "e"})[0]
	if got.ModelErrors != want || got.Status5XX != want || got.Invocations != 3*6*4 {
		t.Errorf("counted %+v, want %d errors", got, want)
	}
}
