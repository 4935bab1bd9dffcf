package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// newTransport returns a transport that keeps one quiet connection: HTTP/2,
// whose header compression sends a session token once and not with every call,
// without probes of any kind while nothing is asked.
func (c *Client) newTransport(tc *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: c.cfg.Stall, KeepAlive: -1}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        tc,
		TLSHandshakeTimeout:    c.cfg.Stall,
		DisableCompression:     true,
		MaxIdleConns:           2,
		MaxIdleConnsPerHost:    1,
		MaxConnsPerHost:        4,
		IdleConnTimeout:        c.cfg.Idle,
		MaxResponseHeaderBytes: 16 << 10,
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: 2 * window,
		},
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(!c.cfg.HTTP1)
	return t
}

// tlsConfig verifies the server against the CA of the configuration, and shows
// the device's certificate to whoever asks.
func (c *Client) tlsConfig() (*tls.Config, error) {
	tc := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
		Time:               c.clock.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.identity()
		},
	}
	_, err := c.identity()
	if c.cfg.CAFile == "" {
		if c.cfg.TolerateClock {
			err = errors.Join(err, errors.New("a wrong clock can be tolerated only with a CA of one's own"))
		}
		return tc, err
	}
	pem, readErr := os.ReadFile(c.cfg.CAFile)
	if readErr != nil {
		return nil, errors.Join(err, fmt.Errorf("read the CA: %w", readErr))
	}
	tc.RootCAs = x509.NewCertPool()
	if !tc.RootCAs.AppendCertsFromPEM(pem) {
		err = errors.Join(err, fmt.Errorf("%s holds no certificate", c.cfg.CAFile))
	}
	if c.cfg.TolerateClock {
		// The library's own verification would refuse before ours is asked;
		// ours does all that it does, but for the time.
		tc.InsecureSkipVerify = true
		tc.VerifyConnection = func(s tls.ConnectionState) error { return c.verifyAtAnyTime(s, tc.RootCAs) }
	}
	return tc, err
}

func (c *Client) identity() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(c.cfg.CertFile, c.cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the device's identity: %w", err)
	}
	return &cert, nil
}

// verifyAtAnyTime verifies what the server showed as of now, or else as of a
// moment at which its certificate was valid: chain, purpose and name have to be
// right in any case.
func (c *Client) verifyAtAnyTime(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	leaf := s.PeerCertificates[0]
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, ca := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(ca)
	}
	err := c.verifyName(leaf, s.ServerName)
	for _, at := range []time.Time{c.clock.now(), leaf.NotBefore.Add(time.Second), leaf.NotAfter.Add(-time.Second)} {
		if err != nil {
			break
		}
		o.CurrentTime = at
		if _, err = leaf.Verify(o); err == nil {
			return nil
		}
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			err = nil // at another time, perhaps
		}
	}
	if err == nil {
		err = errors.New("the certificate was valid at no time")
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
}

// verifyName verifies that the certificate is of the server that was meant. A
// connection to a bare address has no name to tell: then it must be one of the
// addresses that the configuration names.
func (c *Client) verifyName(leaf *x509.Certificate, name string) error {
	if name != "" {
		return leaf.VerifyHostname(name)
	}
	err := errors.New("no address is configured")
	for _, text := range []string{c.cfg.Credentials, c.cfg.Endpoint, c.cfg.Objects} {
		u, parseErr := url.Parse(text)
		if parseErr != nil || net.ParseIP(u.Hostname()) == nil {
			continue
		}
		if err = leaf.VerifyHostname(u.Hostname()); err == nil {
			return nil
		}
	}
	return err
}
