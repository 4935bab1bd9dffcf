package devicetls

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// serverLife is how long a certificate of the listener is good for; it is
// renewed when a third of that is left.
const serverLife = 90 * 24 * time.Hour

// Config returns the TLS configuration of the listener: TLS 1.2 or later, a
// certificate of ca for localhost, its addresses and the names given (host
// names or addresses), renewed before it expires, and any certificate required
// of the client, whose key it has to have; without one the handshake fails. The
// server shows its authority, too, so that a client that knows only the
// fingerprint of that can check.
func Config(ca *CA, names ...string) (*tls.Config, error) {
	s := &shown{ca: ca, names: nameList(names)}
	if _, err := s.certificate(time.Now()); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAnyClientCert,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			connlimit.Greeted(hello.Conn)
			return nil, nil // as it is
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate(time.Now())
		},
	}, nil
}

// nameList puts what is always a name of the listener before the others, and
// leaves out what is none: the addresses that mean all of them.
func nameList(names []string) []string {
	out := []string{"localhost", "127.0.0.1", "::1"}
	for _, n := range names {
		n = strings.Trim(strings.ToLower(n), "[]")
		if n != "" && n != "0.0.0.0" && n != "::" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// shown is the certificate that the listener shows.
type shown struct {
	ca    *CA
	names []string

	mu      sync.Mutex
	current *tls.Certificate
	renew   time.Time
}

func (s *shown) certificate(now time.Time) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && now.Before(s.renew) {
		return s.current, nil
	}
	der, key, err := s.ca.issueServer(s.names, now.Add(serverLife))
	if err != nil {
		return nil, err
	}
	s.current = &tls.Certificate{Certificate: [][]byte{der, s.ca.cert.Raw}, PrivateKey: key}
	s.renew = now.Add(serverLife * 2 / 3)
	return s.current, nil
}

// Bounds of the connections of devices, unless Limit is told others.
const (
	MaxConns       = 16384         // a new one takes the place of the one that has been idle longest
	PerAddress     = MaxConns / 16 // on which no device was recognised
	PerCertificate = 64
)

// strangerFor is how long a connection lasts on which no device was recognised:
// anybody can make up a certificate.
const strangerFor = 10 * time.Second

// Limit bounds the connections that are accepted from l, to be served by a
// Server. Whoever recognises a device calls connlimit.Prove. Many devices may come
// at once from one address, when their network or the server is back: those who
// have begun a handshake are given a second at least to end it, who comes too many is
// turned away and comes again. So it is when somebody behind the same address opens
// connections only to hold them: with the default of 1,024 for an address, some 260
// handshakes a second begin there whatever he does, and a device that comes once a
// second among 10,000 connections of his has one of them in half a minute.
func Limit(l net.Listener, c connlimit.Config) net.Listener {
	c.Max = cmp.Or(c.Max, MaxConns)
	c.PerAddress = cmp.Or(c.PerAddress, PerAddress)
	c.PerKey = cmp.Or(c.PerKey, PerCertificate)
	c.ProveWithin, c.Turn, c.Handshake, c.Listener = strangerFor, strangerFor, true, "devices"
	return connlimit.New(c).Listener(l)
}

// Server returns the server of h to devices, to be used with ServeTLS("", "").
// A client has ten seconds for the handshake and the head of a request, and may
// be idle for eleven minutes, so that one which is heard of every five keeps its
// connection: a handshake costs it as much as a dozen heartbeats. How long an
// answer takes, which may be a large object, is h's to bound.
func Server(c *tls.Config, h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler: h, TLSConfig: c, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 11 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug), // anybody can make a handshake fail
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: 16},
	}
	connlimit.Watch(s)
	return s
}

// Client returns the ID of the certificate of who sent r over the listener,
// "" if it came another way. The client has the certificate's key; whether it
// means anything is not said.
func Client(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return Fingerprint(r.TLS.PeerCertificates[0].Raw)
	}
	return ""
}
