// Package cloud speaks to the server for one device: credentials by
// certificate, the three calls of the data plane, and objects in S3. It
// promises to follow no redirect, to read no answer that has no end, to give up
// on a connection that has stopped rather than on one that is slow, to work
// with a clock that is wrong, and to keep quiet on the network while nothing
// happens. When to call, and what to do with what comes back, is not its job.
package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Config says where the server is and who the device is.
type Config struct {
	// Credentials is the whole URL of the credentials provider,
	// https://HOST/role-aliases/ALIAS/credentials.
	Credentials string
	// Endpoint serves the data plane, Objects the S3 API: https://HOST.
	Endpoint, Objects string
	Region            string
	Fleet, Device     string
	// Thing is named to the credentials provider when it is not empty.
	Thing string
	// CAFile holds the certificates that the server is verified with; "" means
	// the system's. CertFile and KeyFile are the device's identity; they are
	// read at every handshake, so that they may be renewed in place.
	CAFile, CertFile, KeyFile string
	// TolerateClock accepts a server's certificate that this device's clock
	// calls expired or not yet valid.
	TolerateClock bool
	// UserAgent names the program to the server.
	UserAgent string
	// Stall is how long a transfer may stand still; 0 means 30 s.
	Stall time.Duration
	// Idle is how long a connection is kept without a call; 0 means 15 min.
	// Keeping one over a heartbeat costs nothing, a handshake some kilobytes.
	Idle time.Duration
	// HTTP1 speaks HTTP/1.1 although the server may know better. An idle device
	// then sends three times as much.
	HTTP1 bool
	Log   *slog.Logger
}

const (
	defaultStall = 30 * time.Second
	defaultIdle  = 15 * time.Minute
	// maxAnswer bounds what is read of an answer that is not an object, and
	// maxProblem what is read of one that says why not, in bytes.
	maxAnswer  = 1 << 20
	maxProblem = 16 << 10
	// window bounds what the network may deliver of one answer before it is
	// asked for, in bytes.
	window = 256 << 10
)

// Client is a device's side of the connection, safe for concurrent use.
type Client struct {
	cfg       Config
	http      *http.Client
	transport *http.Transport
	signer    *v4.Signer // of the data plane
	objects   *v4.Signer // of S3, where paths are escaped once
	clock     clock
	keys      keyring
	pause     pause
	etags     etags
	reported  reportedModels
	online    atomic.Bool
}

// New returns a client. It reads the identity once, to fail early; it does not
// speak to the server.
func New(cfg Config) (*Client, error) {
	cfg.Stall, cfg.Idle = cmp.Or(cfg.Stall, defaultStall), cmp.Or(cfg.Idle, defaultIdle)
	var faults []error
	for name, u := range map[string]*string{
		"credentials": &cfg.Credentials, "endpoint": &cfg.Endpoint, "objects": &cfg.Objects,
	} {
		parsed, err := url.Parse(*u)
		if err != nil || parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil {
			faults = append(faults, fmt.Errorf("the %s URL must be https://HOST", name))
		}
		*u = strings.TrimRight(*u, "/")
	}
	c := &Client{cfg: cfg, keys: newKeyring()}
	tc, err := c.tlsConfig()
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	c.signer = v4.NewSigner()
	c.objects = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	c.transport = c.newTransport(tc)
	c.http = &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close ends the connections that no call uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Online tells, from memory, whether the last call got an answer, whatever it
// was.
func (c *Client) Online() bool { return c.online.Load() }

// clock is the device's clock and how far the server's is ahead of it.
type clock struct{ ahead atomic.Int64 } // nanoseconds

func (k *clock) now() time.Time {
	return time.Now().Add(time.Duration(k.ahead.Load()))
}

// tolerable is how far the clocks may be apart before the server's counts.
const tolerable = time.Minute

// adjust takes the time from an answer of the server, whose certificate was
// verified, and reports whether that changed the clock.
func (k *clock) adjust(h http.Header) bool {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil || at.Year() < 2020 || at.Year() > 2200 {
		return false
	}
	off := at.Sub(k.now())
	if off.Abs() < tolerable {
		return false
	}
	k.ahead.Add(int64(off))
	return true
}

// pause is what a server that throttles asked for: until it is over, calls fail
// without being made.
type pause struct {
	mu    sync.Mutex
	until time.Time
	last  time.Duration
}

const (
	firstPause   = time.Second
	longestPause = 5 * time.Minute
)

// left returns how long is still to wait.
func (p *pause) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.until)
}

// start starts a pause of what the server asked for, or else twice the last.
func (p *pause) start(asked time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = min(max(2*p.last, firstPause), longestPause)
	d := p.last
	if asked > 0 {
		d = min(asked, longestPause)
	}
	d = jitter(d)
	p.until = time.Now().Add(d)
	return d
}

// over says that a call went through.
func (p *pause) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = 0
}

// etags remembers of what version of an object parts were fetched, so that a
// download does not go on with another one. It forgets the oldest.
type etags struct {
	mu    sync.Mutex
	order []string
	of    map[string]string
}

const maxETags = 32

func (e *etags) get(url string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.of[url]
}

// set remembers tag; "" forgets.
func (e *etags) set(url, tag string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = map[string]string{}
	}
	if _, known := e.of[url]; !known && tag != "" {
		if len(e.order) == maxETags {
			delete(e.of, e.order[0])
			e.order = e.order[1:]
		}
		e.order = append(e.order, url)
	}
	if _, known := e.of[url]; known || tag != "" {
		e.of[url] = tag
	}
}

// lock is a mutex that is waited for no longer than a context lasts.
type lock chan struct{}

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l lock) release() { <-l }
