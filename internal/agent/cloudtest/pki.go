package cloudtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority for one test.
type CA struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// NewCA makes a certificate authority that is valid for a span around now.
func NewCA(tb testing.TB, name string) CA {
	tb.Helper()
	key := newKey(tb)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(-10, 0, 0), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return CA{parse(tb, der), key}
}

// PEM is the authority's certificate.
func (ca CA) PEM() []byte { return certPEM(ca.Cert.Raw) }

// Issue makes a certificate for a server on the loopback interface, or for a
// device when server is false. A server that is called localhost has no other
// name.
func (ca CA) Issue(tb testing.TB, name string, server bool, from, until time.Time) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	return tls.Certificate{
		Certificate: [][]byte{ca.sign(tb, name, server, from, until, key.Public()), ca.Cert.Raw}, PrivateKey: key,
	}
}

// Sign makes a device's certificate for a key that is not at hand.
func (ca CA) Sign(tb testing.TB, name string, public any) []byte {
	tb.Helper()
	return certPEM(ca.sign(tb, name, false, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), public))
}

func (ca CA) sign(tb testing.TB, name string, server bool, from, until time.Time, public any) []byte {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.DNSNames = []string{"localhost"}
		if name != "localhost" {
			template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, public, ca.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// Save writes a certificate and its key as a device has them, and returns
// their paths.
func Save(tb testing.TB, dir string, c tls.Certificate) (certFile, keyFile string) {
	tb.Helper()
	certFile, keyFile = filepath.Join(dir, "device.pem.crt"), filepath.Join(dir, "private.pem.key")
	Write(tb, certFile, certPEM(c.Certificate[0]), 0o644)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	Write(tb, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	return certFile, keyFile
}

// Write writes a file of a test, replacing what is there.
func Write(tb testing.TB, path string, text []byte, mode os.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, text, mode); err != nil {
		tb.Fatal(err)
	}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func serial(tb testing.TB) *big.Int {
	tb.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func parse(tb testing.TB, der []byte) *x509.Certificate {
	tb.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
