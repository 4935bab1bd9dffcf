package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// watchdog ends a transfer that stands still. Slow is not still: every byte
// begins the time anew.
type watchdog struct {
	timer *time.Timer
	stall time.Duration
	stop  context.CancelCauseFunc
}

func newWatchdog(ctx context.Context, stall time.Duration) (context.Context, *watchdog) {
	ctx, stop := context.WithCancelCause(ctx)
	return ctx, &watchdog{time.AfterFunc(stall, func() { stop(errStalled) }), stall, stop}
}

func (w *watchdog) reset() { w.timer.Reset(w.stall) }

func (w *watchdog) end() {
	w.timer.Stop()
	w.stop(nil)
}

// answer is a response whose transfer is watched until it is closed.
type answer struct {
	*http.Response
	dog    *watchdog
	client *Client
}

func (r *answer) close() {
	// A rest that is small is read, so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, r.Body, 4<<10)
	_ = r.Body.Close() // nothing is lost with it
	r.dog.end()
}

// watchedReader resets the watchdog with every byte that passes.
type watchedReader struct {
	io.ReadCloser
	ctx context.Context
	dog *watchdog
}

func (p *watchedReader) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if n > 0 {
		p.dog.reset()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(p.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// bounded fails where a LimitReader would pretend that there is no more.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the answer does not end")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// exchange sends req and waits for the head of the answer.
func (c *Client) exchange(req *http.Request, what string) (*answer, error) {
	ctx, dog := newWatchdog(req.Context(), c.cfg.Stall)
	req = req.WithContext(ctx)
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &watchedReader{req.Body, ctx, dog}
	}
	resp, err := c.http.Do(req)
	if err == nil || !errors.Is(context.Cause(ctx), context.Canceled) { // who gave up has learnt nothing
		c.online.Store(err == nil)
	}
	if err != nil {
		err = failure(ctx, what, err)
		if errors.Is(err, errStalled) {
			// The connection may be dead on the way, and nobody would tell.
			c.transport.CloseIdleConnections()
		}
		dog.end()
		return nil, err
	}
	dog.reset()
	resp.Body = &watchedReader{resp.Body, ctx, dog}
	return &answer{resp, dog, c}, nil
}

// The services of a signature.
const (
	serviceEdge = "sagemaker"
	serviceS3   = "s3"
)

// call is a request that can be made again.
type call struct {
	what    string // for people
	service string // of the signature
	request func(context.Context) (*http.Request, error)
	hash    string // of the body, hex SHA-256
	good    func(status int) bool
}

// send makes a signed call. It is made once more when the server refuses the
// time of the signature, and then is asked for its own; or when it refuses the
// credentials, and new ones are fetched.
func (c *Client) send(ctx context.Context, k call) (*answer, error) {
	if left := c.pause.left(); left > 0 {
		return nil, &Error{
			Kind: fault.Limit, RetryAfter: left,
			Message: fmt.Sprintf("%s: the server asked to be left alone for %s", k.what, left.Round(time.Second)),
		}
	}
	var last *Error
	for range 3 {
		keys, err := c.credentials(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := c.sendOnce(ctx, k, keys)
		if err != nil {
			return nil, err
		}
		if k.good(resp.StatusCode) {
			c.pause.over()
			return resp, nil
		}
		refused := problem(k.what, resp.Response)
		resp.close()
		switch again := last == nil || last.Code != refused.Code; {
		case again && refused.skewed() && c.clock.adjust(resp.Header):
			c.cfg.Log.WarnContext(ctx, "the device's clock is wrong; the server's time is used to sign",
				"ahead", time.Duration(c.clock.ahead.Load()).Round(time.Second))
		case again && refused.stale():
			c.keys.drop(keys)
		default:
			if refused.Kind == fault.Limit {
				refused.RetryAfter = c.pause.start(refused.RetryAfter)
			}
			return nil, refused
		}
		last = refused
	}
	return nil, last
}

func (c *Client) sendOnce(ctx context.Context, k call, keys *keys) (*answer, error) {
	req, err := k.request(ctx)
	if err != nil {
		return nil, err
	}
	signer := c.signer
	if k.service == serviceS3 {
		signer = c.objects
		req.Header.Set("X-Amz-Content-Sha256", k.hash)
	}
	// The length is bound by the body's digest, and to name the header among
	// those that are signed costs a byte on the network for each of its letters.
	length := req.ContentLength
	req.ContentLength = 0
	err = signer.SignHTTP(ctx, keys.Credentials, req, k.hash, k.service, c.cfg.Region, c.clock.now())
	if err != nil {
		return nil, fmt.Errorf("%s: sign: %w", k.what, err)
	}
	req.ContentLength = length
	if k.service != serviceS3 {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.exchange(req, k.what)
}

func isOK(status int) bool { return status == http.StatusOK }
