// Package tunnel answers CONNECT for the names of AWS under which the services
// that Slipway serves are known, so that clients whose code has these names
// reach it through HTTPS_PROXY. It ends TLS with certificates of its own
// authority, and what comes out goes to the same gateway as every other request:
// a tunnel gives no rights, and leads nowhere else.
package tunnel

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/awshost"
)

// Config is what tunnels lead to.
type Config struct {
	Authority *Authority
	Gateway   http.Handler // verifies who calls
	Devices   http.Handler // of those that come with a certificate to the credentials provider; nil: nobody
	Log       *slog.Logger
	// Places bound the tunnels; default: 1024 at a time, half of them of one address
	// that has shown no key.
	Places    connlimit.Config
	Handshake time.Duration // for TLS, and for the head of a request; 10 s
	Idle      time.Duration // between two requests; 2 min
}

// Server answers CONNECT, and hands every other request on.
type Server struct {
	Config
	http  *http.Server
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
}

// New returns a Server. Serve has to run for tunnels to be answered.
func New(c Config) *Server {
	c.Places.Max = cmp.Or(c.Places.Max, 1024)
	c.Places.Handshake = true
	c.Places.PerAddress = cmp.Or(c.Places.PerAddress, max(1, c.Places.Max/2))
	c.Handshake, c.Idle = cmp.Or(c.Handshake, 10*time.Second), cmp.Or(c.Idle, 2*time.Minute)
	s := &Server{Config: c, conns: make(chan net.Conn), done: make(chan struct{}), http: &http.Server{
		// net/http bounds the handshake as it bounds a head.
		Handler: byCertificate(c.Devices, c.Gateway), ReadHeaderTimeout: c.Handshake, IdleTimeout: c.Idle,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}}
	connlimit.Watch(s.http)
	return s
}

// Serve serves what comes out of tunnels, until Shutdown.
func (s *Server) Serve() error {
	places := connlimit.New(s.Places).Listener((*listener)(s))
	plain := &tls.Config{
		GetCertificate: s.Authority.forHello, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}
	// Only who asks for the credentials provider is asked for a certificate: others
	// have none to show, and some programs ask a person then.
	device := plain.Clone()
	device.ClientAuth = tls.RequireAnyClientCert
	plain.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		connlimit.Greeted(hello.Conn)
		if n, ok := awshost.Parse(hello.ServerName); ok && n.Service == awshost.Credentials {
			return device, nil
		}
		return nil, nil // as it is
	}
	return s.http.Serve(tls.NewListener(places, plain))
}

// byCertificate leads whoever has shown a certificate to devices.
func byCertificate(devices, others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if devices != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			devices.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// Shutdown lets requests under way end; what does not end in time is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close() // the reason is told
	}
	return err
}

// ServeHTTP opens a tunnel if one is asked for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		s.Gateway.ServeHTTP(w, r)
		return
	}
	_, ok := awshost.Parse(r.Host)
	if _, port, err := net.SplitHostPort(r.Host); !ok || err != nil || port != "443" {
		s.Log.InfoContext(r.Context(), "tunnel refused", "host", r.Host, "address", r.RemoteAddr)
		http.Error(w, fmt.Sprintf("Slipway leads to port 443 of the names of AWS for the services that it serves (%s), "+
			"and nowhere else.", strings.Join(awshost.Services(), ", ")), http.StatusForbidden)
		return
	}
	if err := s.open(w); err != nil {
		s.Log.WarnContext(r.Context(), "tunnel not opened", "host", r.Host, "err", err)
	}
}

// open takes the connection from net/http, and gives it back as the other end of
// a tunnel.
func (s *Server) open(w http.ResponseWriter) error {
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	_ = raw.SetDeadline(time.Now().Add(s.Handshake)) // a connection that cannot will not write either
	if _, err := raw.Write([]byte("HTTP/1.1 200 Connection Established\r\n\r\n")); err != nil {
		_ = raw.Close() // the reason is told
		return err
	}
	_ = raw.SetDeadline(time.Time{}) // net/http sets its own
	select {
	case s.conns <- &tunnel{raw, buffered.Reader}:
	case <-s.done:
		_ = raw.Close() // the server is stopping
	}
	return nil
}

// tunnel is the connection of a client that asked for one.
type tunnel struct {
	net.Conn
	r *bufio.Reader // what was read with the request comes first
}

func (t *tunnel) Read(p []byte) (int, error) {
	if t.r != nil {
		if t.r.Buffered() > 0 {
			return t.r.Read(p)
		}
		t.r = nil
	}
	return t.Conn.Read(p)
}

// listener is where net/http finds the tunnels.
type listener Server

// Accept waits for the next tunnel.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return nil
}

// Addr is no address: tunnels come through another listener.
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }
