package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Credentials live from shortestLife to longestLife (spec §5.2); what the server
// says beyond is not believed.
const (
	shortestLife = time.Second
	longestLife  = 12 * time.Hour
)

// keys are temporary credentials. Their times are of the device's clock as it
// runs, not as it is set: they hold however wrong it is.
type keys struct {
	aws.Credentials
	refresh, end time.Time
}

// keyring keeps the credentials. One caller fetches, the others wait.
type keyring struct {
	turn    lock
	current *atomic.Pointer[keys]
}

func newKeyring() keyring {
	return keyring{make(lock, 1), new(atomic.Pointer[keys])}
}

// drop forgets k, which the server refused, unless it was replaced already.
func (r keyring) drop(k *keys) { r.current.CompareAndSwap(k, nil) }

// credentials returns credentials that are good for a while. Those at hand are
// used to their end when the server cannot be reached.
func (c *Client) credentials(ctx context.Context) (*keys, error) {
	if k := c.keys.current.Load(); k != nil && time.Now().Before(k.refresh) {
		return k, nil
	}
	if err := c.keys.turn.acquire(ctx); err != nil {
		return nil, failure(ctx, "get credentials", err)
	}
	defer c.keys.turn.release()
	old := c.keys.current.Load()
	if old != nil && time.Now().Before(old.refresh) {
		return old, nil // somebody else was faster
	}
	fresh, err := c.fetchKeys(ctx)
	if err == nil {
		c.keys.current.Store(fresh)
		return fresh, nil
	}
	left := time.Duration(0)
	if old != nil {
		left = time.Until(old.end)
	}
	if left <= 0 {
		return nil, err
	}
	c.cfg.Log.WarnContext(ctx, "credentials were not renewed; the old ones are used while they last",
		"left", left.Round(time.Second), "err", err)
	again := *old
	again.refresh = time.Now().Add(jitter(min(left/4, time.Minute)))
	c.keys.current.Store(&again)
	return &again, nil
}

// fetchKeys asks the credentials provider, with the device's certificate.
func (c *Client) fetchKeys(ctx context.Context) (*keys, error) {
	const what = "get credentials"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Credentials, nil)
	if err != nil {
		return nil, err
	}
	if c.cfg.Thing != "" {
		req.Header.Set("X-Amzn-Iot-Thingname", c.cfg.Thing)
	}
	resp, err := c.exchange(req, what)
	if err != nil {
		return nil, err
	}
	defer resp.close()
	if resp.StatusCode != http.StatusOK {
		return nil, problem(what, resp.Response)
	}
	var said struct {
		Credentials struct {
			AccessKeyID  string    `json:"accessKeyId"`
			Secret       string    `json:"secretAccessKey"`
			SessionToken string    `json:"sessionToken"`
			Expiration   time.Time `json:"expiration"`
		} `json:"credentials"`
	}
	if err := resp.decode(&said); err != nil {
		return nil, failure(ctx, what, err)
	}
	got := said.Credentials
	if got.AccessKeyID == "" || got.Secret == "" {
		return nil, &Error{Kind: fault.Unavailable, Status: resp.StatusCode, Message: what + ": the answer holds none"}
	}
	if c.clock.adjust(resp.Header) {
		c.cfg.Log.WarnContext(ctx, "the device's clock is wrong; the server's time is used to sign",
			"ahead", time.Duration(c.clock.ahead.Load()).Round(time.Second))
	}
	life := min(max(got.Expiration.Sub(c.clock.now()), shortestLife), longestLife)
	now := time.Now()
	// Two thirds of their life, and up to a tenth less, so that devices that
	// started together do not come together.
	refresh := life*2/3 - time.Duration(rand.Int64N(int64(life)/10+1))
	return &keys{
		Credentials: aws.Credentials{
			AccessKeyID: got.AccessKeyID, SecretAccessKey: got.Secret, SessionToken: got.SessionToken,
			Source: "certificate",
		},
		refresh: now.Add(refresh), end: now.Add(life),
	}, nil
}

// decode reads an answer's JSON, bounded.
func (r *answer) decode(into any) error {
	dec := json.NewDecoder(&bounded{r.Body, maxAnswer})
	if err := dec.Decode(into); err != nil {
		return errors.Join(errors.New("the answer is not what was expected"), err)
	}
	return nil
}
