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
			text := ""
			for range 500 { // it is written when the answer is out
				if text = strings.TrimPrefix(log.String(), before); text != "" {
					break
				}
				time.Sleep(time.Millisecond) // between two looks
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, text)
			}
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
