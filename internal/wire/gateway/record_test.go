package gateway_test

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

func TestEveryRequestHasOneRecordOfWhoAskedForWhat(t *testing.T) {
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	list := rpc.Bind("ListModels", func(
		ctx context.Context, _ sagemaker.ListModelsInput,
	) (out sagemaker.ListModelsOutput, err error) {
		c, err := access.From(ctx)
		if err == nil {
			err = access.Allow(c, "sagemaker:ListModels", "*")
		}
		return out, err
	})
	h := open(t, func(c *gateway.Config) {
		c.Log, c.RequestLevel = log, slog.LevelDebug
		c.SageMaker = rpc.NewHandler(rpc.Config{
			Service: sagemaker.API(), Protocols: []rpc.Speaker{awsjson.New}, Errors: awserr.SageMaker, Log: log,
		}, list)
	})
	for name, c := range map[string]struct {
		service string
		want    []string
		facts   map[string]any
	}{
		"served": {
			"sagemaker",
			[]string{
				"action", "address", "bytes", "caller", "code", "duration", "key", "level", "msg", "op", "protocol",
				"request_id", "resource", "service", "status", "time",
			},
			map[string]any{
				"level": "DEBUG", "key": h.key.ID, "action": "sagemaker:ListModels", "resource": "*", "bytes": 13.0,
				"status": 200.0, "address": "192.0.2.1:1234", "op": "ListModels",
			},
		},
		"refused": {
			"",
			[]string{"address", "code", "duration", "level", "msg", "request_id", "service", "status", "time"},
			map[string]any{"status": 403.0, "code": "MissingAuthenticationTokenException"},
		},
		"an operation that nobody knows": {
			"sagemaker",
			[]string{
				"address", "caller", "code", "duration", "key", "level", "msg", "request_id", "service", "status",
				"time",
			},
			map[string]any{"status": 400.0, "code": "UnknownOperationException", "key": h.key.ID},
		},
		"health": {
			"",
			[]string{"address", "bytes", "duration", "level", "msg", "request_id", "service", "status", "time"},
			map[string]any{"status": 200.0, "service": "health", "level": "DEBUG", "bytes": 3.0},
		},
		"metrics": {
			"sagemaker",
			[]string{
				"address", "bytes", "caller", "duration", "key", "level", "msg", "request_id", "service", "status",
				"time",
			},
			map[string]any{"status": 200.0, "service": "metrics", "key": h.key.ID},
		},
		"an object, refused": {
			"",
			[]string{"address", "code", "duration", "level", "msg", "request_id", "service", "status", "time"},
			map[string]any{"status": 403.0, "service": "s3"},
		},
	} {
		b.Reset()
		in := ask{http.MethodPost, "/", c.service, target, `{}`}
		switch name {
		case "an operation that nobody knows":
			in.header = http.Header{"X-Amz-Target": {"Nobody.Knows"}, "Content-Type": {"application/x-amz-json-1.1"}}
		case "health":
			in = ask{http.MethodGet, "/healthz", "", nil, ""}
		case "metrics":
			in = ask{http.MethodGet, "/metrics", c.service, nil, ""}
		case "an object, refused":
			in = ask{http.MethodGet, "/b/k", "", nil, ""}
		}
		_, _, header := h.answer(t, h.request(t, in))
		var got map[string]any
		if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, b.String()) // also if there are two
		}
		var keys []string
		for k := range got {
			keys = append(keys, k)
		}
		if slices.Sort(keys); !slices.Equal(keys, c.want) {
			t.Errorf("%s: the keys are %q", name, keys)
		}
		if id := cmp.Or(header.Get("X-Amzn-RequestId"), header.Get("X-Amz-Request-Id")); id != got["request_id"] {
			t.Errorf("%s: the client is told %q, the log %q", name, id, got["request_id"])
		}
		for k, v := range c.facts {
			if got[k] != v {
				t.Errorf("%s: %s is %v, not %v", name, k, got[k], v)
			}
		}
	}
}
