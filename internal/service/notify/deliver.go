package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/notice"
)

// The headers of a delivery follow the Standard Webhooks convention, so that
// its libraries verify them.
const (
	// the event's id, the same at every attempt: what a receiver has seen it may skip
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp" // when this attempt was made, in seconds since 1970
	headerSignature = "Webhook-Signature" // Signature of both and the body
)

// maxAnswer is how much of an answer's body is read, in bytes: nothing in it
// matters, but a connection is used again only once it was read.
const maxAnswer = 64 << 10

// Signature returns the value of Webhook-Signature: "v1," and the base64 of
// HMAC-SHA256 under key of the id, the timestamp and the body, joined by dots.
func Signature(key []byte, id, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(m, "%s.%s.", id, timestamp) // a hash takes everything
	_, _ = m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// SigningKey returns the key that a webhook's secret stands for: the base64
// after "whsec_", as Standard Webhooks writes secrets, else its bytes.
func SigningKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("what follows whsec_ is not base64") // the cause would print some of it
	}
	return key, nil
}

// newTransport returns a transport of its own for one webhook.
func newTransport(timeout time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true, // a small answer must not unpack to a large one
		ForceAttemptHTTP2:      true,
	}
}

// deliverer delivers the events of one webhook.
type deliverer struct {
	Webhook
	*Service
	client   *http.Client
	stopping context.Context // ends when the service stops
}

// turn makes one attempt to deliver the event called key.
func (d *deliverer) turn(ctx context.Context, key string) (due time.Time, err error) {
	n, ok, err := d.Outbox.Notice(ctx, key)
	if err != nil || !ok {
		return due, err
	}
	refusal := d.post(ctx, n)
	if d.stopping.Err() != nil && refusal != nil {
		return due, nil // broken off by us: not the receiver's fault
	}
	if refusal == nil {
		d.deliveries.WithLabelValues(d.Name, "taken").Inc()
		return due, d.Outbox.Delivered(ctx, key)
	}
	d.deliveries.WithLabelValues(d.Name, "refused").Inc()
	wait := d.Tuning.backoff(n.Attempts)
	d.Log.WarnContext(ctx, "webhook did not take an event", "webhook", d.Name, "endpoint", n.Endpoint,
		"event", string(n.Kind),
		"attempt", n.Attempts+1, "next", wait.Round(time.Millisecond), "err", refusal)
	due = time.Now().Add(wait)
	return due, d.Outbox.Failed(ctx, key, n.Attempts+1, due)
}

// backoff returns how long to wait after a failure that so many preceded; up to
// a fifth of it is left to chance, so that webhooks do not beat in time.
func (t Tuning) backoff(failures int) time.Duration {
	wait := t.BackoffMax
	if failures < 20 {
		wait = min(wait, t.BackoffMin<<failures)
	}
	return wait - time.Duration(rand.Float64()*0.2*float64(wait))
}

// post makes the request. Anything but a 2xx answer is a refusal.
func (d *deliverer) post(ctx context.Context, n notice.Notice) error {
	ctx, cancel := context.WithTimeout(ctx, d.Tuning.Timeout)
	defer cancel()
	defer context.AfterFunc(d.stopping, cancel)()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(n.Body))
	if err != nil {
		return errors.New("the URL of the webhook is not one") // the cause would print it
	}
	var event struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(n.Body, &event); err != nil {
		return fmt.Errorf("decode a stored event: %w", err)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "slipway")
	r.Header.Set(headerID, event.ID)
	r.Header.Set(headerTimestamp, now)
	r.Header.Set(headerSignature, Signature(d.Key, event.ID, now, n.Body))
	res, err := d.client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // as above: it only frees the connection
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("it answered %d", res.StatusCode)
	}
	return nil
}

// withoutURL strips the URL from a client's error: it may hold a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
