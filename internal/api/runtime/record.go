package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// outcome is what became of a request, for its record.
type outcome struct {
	caller, key string // "" if nobody verified
	status      int    // of the answer's head
	code        string // "" of a success: also an answer that broke off in the middle has one
	bytes       int64  // of the answer's body, as far as it went out
	told        bool   // a record has told of it
}

// codeGone is the code of a request whose caller left before it had its answer.
const codeGone = "ClientGone"

var names = [...]string{
	invoke:       "InvokeEndpoint",
	invokeStream: "InvokeEndpointWithResponseStream",
	invokeAsync:  "InvokeEndpointAsync",
}

// tell writes the record of a request, in the words of the records of other APIs.
func (a *API) tell(x Exchange, c *call) {
	o := &c.record
	switch {
	case o.told:
		return
	case o.status == 0:
		o.code = codeGone // it left before there was an answer
	}
	facts := make([]slog.Attr, 0, 14)
	facts = append(facts, slog.String("service", "sagemaker"))
	if c.op != unknown {
		facts = append(facts, slog.String("op", names[c.op]))
	}
	facts = append(facts,
		slog.Int("status", o.status), slog.String("code", o.code), slog.String("request_id", string(c.id[:])),
		slog.Int64("bytes", o.bytes))
	for _, f := range [...][2]string{
		{"caller", o.caller},
		{"key", o.key},
		{"address", x.Remote()},
		{"action", c.action()},
		{"resource", c.resource(a)},
		{"variant", c.Variant},
	} {
		if f[1] != "" {
			facts = append(facts, slog.String(f[0], f[1]))
		}
	}
	facts = append(facts, slog.Duration("duration", time.Since(x.Arrived())))
	a.Log.LogAttrs(context.Background(), a.Record.Level(), "request served", facts...)
}

// action is what the caller was asked for, once it is known who that is.
func (c *call) action() string {
	if c.record.key == "" || c.op == unknown {
		return ""
	}
	return actions[c.op]
}

func (c *call) resource(a *API) string {
	if c.action() == "" || c.in.endpoint == "" {
		return ""
	}
	return arn.Scope{Region: c.region, Account: a.Account}.Endpoint(c.in.endpoint)
}
