package runtime_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/api/runtime"
)

// next waits for the record that is written after what was there before.
func (r *records) next(t *testing.T, before string) (got map[string]any) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // it is written when the answer is out
		text := strings.TrimPrefix(r.String(), before)
		if text != "" {
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			return got
		}
		if time.Now().After(end) {
			t.Fatal("there is no record")
		}
	}
}

// An answer that broke off in the middle is no success, whoever broke it off: its
// head has gone out with 200, and the record says what came of it.
func TestTheRecordSaysOfAnAnswerThatItBrokeOff(t *testing.T) {
	var log records
	s := start(t, func(c *runtime.Config) {
		c.Log, c.Record = slog.New(slog.NewJSONHandler(&log, nil)), slog.LevelInfo
	})
	s.serve(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		for i := 0; ; i++ { // more than connections take that nobody reads
			if _, err := io.WriteString(w, strings.Repeat("x", 100_000)); err != nil || q.Context().Err() != nil {
				return
			}
			_ = http.NewResponseController(w).Flush() // the next write says if nobody is there
			if i == 3 && string(body) == "break" {
				panic(http.ErrAbortHandler)
			}
		}
	})
	onBoth(t, s, func(t *testing.T, url string) {
		for name, c := range map[string]struct{ op, body, code string }{
			"the container":            {"invocations", "break", "ModelError"},
			"the container's stream":   {"invocations-response-stream", "break", "ModelStreamError"},
			"the caller":               {"invocations", "leave", "ClientGone"},
			"the caller of the stream": {"invocations-response-stream", "leave", "ClientGone"},
		} {
			before := log.String()
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(
				request(t, url+"/endpoints/e/"+c.op, c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.body == "leave" {
				_, _ = io.ReadFull(resp.Body, make([]byte, 10))
			} else {
				_, _ = io.Copy(io.Discard, resp.Body) // that it broke off is what this is about
			}
			_ = resp.Body.Close()
			got := log.next(t, before)
			if n, _ := got["bytes"].(float64); got["code"] != c.code || got["status"] != 200.0 || n == 0 {
				t.Errorf("%s broke off, and the record says %v", name, got)
			}
		}
	})
}

// An invocation's record has the fields that those of other APIs have, and there is
// one, if there is to be any.
func TestAnInvocationHasOneRecordOfWhoAskedForWhat(t *testing.T) {
	var log records
	var level slog.LevelVar
	s := start(t, func(c *runtime.Config) {
		c.Log, c.Record = slog.New(slog.NewJSONHandler(&log, nil)), &level
	})
	s.serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	onBoth(t, s, func(t *testing.T, url string) {
		for name, c := range map[string]struct {
			path, date string
			want       []string
			facts      map[string]any
		}{
			"answered": {
				"/endpoints/e/invocations", "",
				[]string{
					"action", "address", "bytes", "caller", "code", "duration", "key", "level", "msg", "op",
					"request_id", "resource", "service", "status", "time", "variant",
				},
				map[string]any{
					"status": 200.0, "bytes": 5.0, "action": "sagemaker:InvokeEndpoint", "op": "InvokeEndpoint",
					"resource": "arn:aws:sagemaker:eu-west-3:" + account + ":endpoint/e",
				},
			},
			"no endpoint": {
				"/endpoints/f/invocations", "",
				[]string{
					"action", "address", "bytes", "caller", "code", "duration", "key", "level", "msg", "op",
					"request_id", "resource", "service", "status", "time",
				},
				map[string]any{"status": 400.0, "code": "ValidationError"},
			},
			"refused": {
				"/endpoints/e/invocations", "20200101T000000Z",
				[]string{
					"address", "code", "duration", "level", "msg", "path", "request_id", "service", "status", "time",
				},
				map[string]any{"status": 400.0, "msg": "request refused"},
			},
		} {
			before := log.String()
			req := request(t, url+c.path, "x")
			if c.date != "" { // it is signed for another
				req.Header.Set("X-Amz-Date", c.date)
			}
			id := do(t, req).header.Get("X-Amzn-Requestid")
			got := log.next(t, before)
			var keys []string
			for k := range got {
				keys = append(keys, k)
			}
			if slices.Sort(keys); !slices.Equal(keys, c.want) || got["request_id"] != id {
				t.Errorf("%s: the keys are %q, the id %v, not %s", name, keys, got["request_id"], id)
			}
			for k, v := range c.facts {
				if got[k] != v {
					t.Errorf("%s: %s is %v, not %v", name, k, got[k], v)
				}
			}
		}
		level.Set(slog.LevelDebug) // which the log does not take
		before := log.String()
		do(t, request(t, url+"/endpoints/e/invocations", "x"))
		if log.String() != before {
			t.Error("a record of which nobody is to hear")
		}
		level.Set(slog.LevelInfo)
	})
}
