package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/eventstream"
)

const (
	keptError    = 4 * maxMessage // bytes of a container's error that are kept
	drainedError = 64 << 10       // and read over, to keep the connection
)

// invoke sends the request to the endpoint and passes the answer on.
func (a *API) invoke(x Exchange, c *call, body []byte) {
	c.Key = traffic.Key{Region: c.region, Name: c.in.endpoint}
	c.TargetVariant = c.in.variant
	c.Arrived = x.Arrived()
	c.Streaming = c.op == invokeStream
	c.Body = x
	c.Request = http1.Outgoing{
		Method: "POST", Path: "/invocations", Fields: c.forward(), Body: body, Length: true,
		Before: c.Arrived.Add(a.Timeout), Client: x,
	}
	defer c.Finish()
	if err := a.Router.Do(&c.Call); err != nil {
		a.failInvoke(x, c, err)
		return
	}
	if c.Response.Status >= 300 {
		c.fail(x, c.relayError())
		return
	}
	if c.Streaming {
		c.Response.Extend(c.Arrived.Add(a.StreamTimeout))
	}
	// The first part decides: an error before it can still be told properly.
	part, err := c.Next()
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		a.failInvoke(x, c, err)
	case c.Streaming:
		c.stream(x, part, err)
	default:
		c.relay(x, part, err)
	}
}

// forward lists the headers that a container gets to see (spec §6.6).
func (c *call) forward() []http1.Field {
	fs := c.fields[:0]
	for _, f := range [...]http1.Field{
		{Name: "Content-Type", Value: c.in.contentType},
		{Name: "Accept", Value: c.in.accept},
		{Name: "X-Amzn-SageMaker-Custom-Attributes", Value: c.in.attributes},
		{Name: "X-Amzn-SageMaker-Inference-Id", Value: c.in.inference},
	} {
		if f.Value != "" {
			fs = append(fs, f)
		}
	}
	c.fields = fs
	return fs
}

// failInvoke answers a request that got no usable answer.
func (a *API) failInvoke(x Exchange, c *call, err error) {
	f, broken := errors.AsType[*http1.Failure](err)
	switch {
	case errors.Is(err, router.ErrNoEndpoint):
		c.fail(x, a.noEndpoint(c))
	case errors.Is(err, router.ErrNoVariant):
		c.fail(x, invalid("", "Variant "+c.in.variant+" not found for endpoint "+c.in.endpoint+"."))
	case errors.Is(err, router.ErrNoInstance):
		c.fail(
			x, unavailable("No instance of endpoint "+c.in.endpoint+" is ready to take the request. Try again later."),
		)
	case errors.Is(err, http1.ErrGone):
		x.Abort()
	case broken && f.Timeout:
		c.fail(x, c.modelError(0, []byte(c.timedOut())))
	case broken && f.Step == http1.Reading:
		c.fail(x, c.modelError(0, nil))
	case broken && f.Step == http1.Dialling:
		c.fail(x, c.modelError(0, []byte("Could not connect to container "+c.Container+".")))
	case broken:
		c.fail(
			x, c.modelError(0, []byte("Container "+c.Container+" closed the connection or sent a malformed response.")),
		)
	default:
		a.Log.Error("invocation failed", "endpoint", c.in.endpoint, "err", err)
		c.fail(x, &failure{status: 500, code: "InternalFailure", Message: "internal error"})
	}
}

func (c *call) timedOut() string {
	return "Your invocation timed out while waiting for a response from container " + c.Container +
		". Review the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
}

// relayError reads as much of a container's error as a ModelError holds.
func (c *call) relayError() *failure {
	kept := make([]byte, 0, 512)
	for read := 0; read < drainedError; {
		p, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c.modelError(c.Response.Status, nil)
		}
		read += len(p)
		kept = append(kept, p[:min(len(p), keptError-len(kept))]...)
	}
	return c.modelError(c.Response.Status, kept)
}

// start starts a successful answer (spec §6.2).
func (c *call) start(x Exchange, length int64, contentType, containers string) {
	c.record.status = 200
	x.Start(200, length)
	if contentType != "" {
		x.AddHeader("Content-Type", contentType)
	}
	if c.Streaming && containers != "" {
		x.AddHeader("X-Amzn-SageMaker-Content-Type", containers)
	}
	x.AddHeader("x-amzn-RequestId", string(c.id[:]))
	x.AddHeader("x-Amzn-Invoked-Production-Variant", c.Variant)
	for _, h := range [...]struct{ lower, name string }{
		{"x-amzn-sagemaker-custom-attributes", "X-Amzn-SageMaker-Custom-Attributes"},
		{"x-amzn-sagemaker-new-session-id", "X-Amzn-SageMaker-New-Session-Id"},
		{"x-amzn-sagemaker-closed-session-id", "X-Amzn-SageMaker-Closed-Session-Id"},
	} {
		if v, ok := c.Response.Header(h.lower); ok {
			x.AddHeader(h.name, v)
		}
	}
}

// relay passes the body on as it comes.
func (c *call) relay(x Exchange, part []byte, err error) {
	contentType, _ := c.Response.Header("content-type")
	c.start(x, c.Response.Length(), contentType, "")
	for ; err == nil; part, err = c.Next() {
		c.record.bytes += int64(len(part))
		if _, werr := x.Write(part); werr != nil {
			c.left() // Finish closes the upstream connection
			return
		}
		if c.Response.Done() {
			return
		}
		if x.Flush() != nil {
			c.left()
			return
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return
	case errors.Is(err, http1.ErrGone):
		c.left()
	default:
		c.record.code = "ModelError"
	}
	x.Abort()
}

// left says that the caller left in the middle of the answer.
func (c *call) left() {
	c.record.code = codeGone
	c.Abandon()
}

// stream passes the body on as an event stream (spec §6.5).
func (c *call) stream(x Exchange, part []byte, err error) {
	contentType, _ := c.Response.Header("content-type")
	c.start(x, -1, eventstream.ContentType, contentType)
	for ; err == nil; part, err = c.Next() {
		c.frame = eventstream.AppendEvent(c.frame[:0], "PayloadPart", part)
		c.record.bytes += int64(len(c.frame))
		if _, werr := x.Write(c.frame); werr != nil {
			c.left()
			return
		}
		if !c.Response.Done() && x.Flush() != nil {
			c.left()
			return
		}
	}
	if errors.Is(err, io.EOF) {
		return
	}
	if errors.Is(err, http1.ErrGone) {
		c.left()
		x.Abort()
		return
	}
	c.record.code = "ModelStreamError"
	exception := struct{ ErrorCode, Message string }{
		"StreamBroken", "Container " + c.Container + " broke off its response.",
	}
	if f, ok := errors.AsType[*http1.Failure](err); ok && f.Timeout {
		exception.ErrorCode, exception.Message = "ModelInvocationTimeExceeded", c.timedOut()
	}
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(exception) // strings: it cannot fail
	c.frame = eventstream.AppendException(c.frame[:0], "ModelStreamError", bytes.TrimSpace(b.Bytes()))
	_, _ = x.Write(c.frame) // a client that has left needs no answer
}
