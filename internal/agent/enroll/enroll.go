// Package enroll gets a device its identity from a token (see domain/enroll):
// the key is made here and never leaves, the server is believed only because it
// knows the token's secret and shows the CA that the token names, and a
// directory either holds a whole identity or none that an agent would start
// from. Using the identity is not its job.
package enroll

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/enroll"
)

// maxReply bounds the server's answer, in bytes.
const maxReply = 1 << 20

// patience is how long the server may take.
const patience = time.Minute

// Run spends the token and puts the identity into dir, where agent.json is
// written last. A directory that has one already is refused: an identity is
// never replaced.
func Run(ctx context.Context, token, dir string) error {
	t, err := enroll.ParseToken(token)
	if err != nil {
		return err
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("the token names no server")
	}
	d, err := open(dir)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: t.Name}}, key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, peers, err := post(ctx, t, t.Request(csr))
	if err != nil {
		return err
	}
	if err := checkReply(t, reply, key.Public().(*ecdsa.PublicKey), peers); err != nil {
		return fmt.Errorf("the server's answer is refused: %w", err)
	}
	return d.write(reply, key)
}

// post sends the request and returns the reply, whose MAC was checked, and the
// certificates that the server showed. Over a network that anybody may listen
// to and change it is safe without TLS, which a device could not verify before
// it has the CA: checkReply does it afterwards.
func post(ctx context.Context, t enroll.Token, request enroll.Request) (enroll.Reply, []*x509.Certificate, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return enroll.Reply{}, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL+"/enroll", bytes.NewReader(body))
	if err != nil {
		return enroll.Reply{}, nil, errors.New("the token names no server")
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// nolint:gosec // see above
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return enroll.Reply{}, nil, fmt.Errorf("ask the server: %w", err)
	}
	defer resp.Body.Close() // only read: nothing can be lost
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return enroll.Reply{}, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return enroll.Reply{}, nil, refusal(resp.StatusCode, text)
	}
	var reply enroll.Reply
	if len(text) > maxReply || json.Unmarshal(text, &reply) != nil {
		return enroll.Reply{}, nil, errors.New("the server's answer is no reply to an enrollment")
	}
	if err := reply.Check(t.Secret, request); err != nil {
		return enroll.Reply{}, nil, err
	}
	var peers []*x509.Certificate
	if resp.TLS != nil {
		peers = resp.TLS.PeerCertificates
	}
	return reply, peers, nil
}

func refusal(status int, text []byte) error {
	var said struct{ Message string }
	if json.Unmarshal(text, &said) == nil && said.Message != "" {
		return fmt.Errorf("the server refused (%d): %.300q", status, said.Message)
	}
	return fmt.Errorf("the server answered %d", status)
}

// checkReply checks what only the whole of a reply can tell: its CA is the token's,
// the certificate is for our key and of that CA, and so is the server's own.
func checkReply(t enroll.Token, reply enroll.Reply, key *ecdsa.PublicKey, peers []*x509.Certificate) error {
	chain, err := certificates(reply.Chain)
	if err != nil {
		return fmt.Errorf("the chain: %w", err)
	}
	roots, others, found := x509.NewCertPool(), x509.NewCertPool(), false
	for _, c := range chain {
		sum := sha256.Sum256(c.Raw)
		if hex.EncodeToString(sum[:]) == t.CA {
			roots.AddCert(c)
			found = true
		} else {
			others.AddCert(c)
		}
	}
	if !found {
		return errors.New("the CA is not the one that the token names")
	}
	own, err := certificates(reply.Certificate)
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	if !key.Equal(own[0].PublicKey) {
		return errors.New("the certificate is for another key")
	}
	if err := verify(own[0], roots, others, x509.ExtKeyUsageClientAuth); err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	if len(peers) == 0 {
		return nil // no TLS: the MAC has to do
	}
	for _, c := range peers[1:] {
		others.AddCert(c)
	}
	if err := verify(peers[0], roots, others, x509.ExtKeyUsageServerAuth); err != nil {
		return fmt.Errorf("the server's own certificate is not of the token's CA: %w", err)
	}
	return nil
}

// verify checks a chain as of when the certificate began: the clock of a device
// that is not enrolled yet may be anywhere.
func verify(c *x509.Certificate, roots, others *x509.CertPool, use x509.ExtKeyUsage) error {
	_, err := c.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, KeyUsages: []x509.ExtKeyUsage{use},
		CurrentTime: c.NotBefore.Add(time.Second),
	})
	return err
}

// certificates reads PEM; there is at least one.
func certificates(text string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return all, nil
}
