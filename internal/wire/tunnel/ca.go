package tunnel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/awshost"
)

// CertificateFile is the authority's certificate in a data directory, which
// clients are to trust; its key lies beside it.
const CertificateFile = "aws-ca.pem"

const keyFile = "aws-ca.key"

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 30 * 24 * time.Hour
	// maxLeaves bounds the certificates that are kept; the names are few, but
	// clients say them.
	maxLeaves = 256
)

// Authority issues certificates for names of AWS, and can for no others: its own
// certificate says so. It may be used from many goroutines.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // of all certificates that this process issues

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by the base of the name
}

// OpenAuthority opens the authority of a data directory. One that is not there,
// or is over, is made.
func OpenAuthority(dir string) (*Authority, error) {
	a := &Authority{leaves: map[string]*tls.Certificate{}}
	err := a.read(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (time.Now().After(a.cert.NotAfter.Add(-2*leafLife)) ||
		!slices.Equal(a.cert.PermittedDNSDomains, awshost.Domains())) {
		if err = a.make(dir); err == nil {
			err = a.read(dir)
		}
	}
	if err == nil {
		a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("the authority for names of AWS: %w", err)
	}
	return a, nil
}

func (a *Authority) read(dir string) error {
	path := filepath.Join(dir, keyFile)
	if info, err := os.Stat(path); err != nil {
		return err
	} else if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others: make its mode 0600", path)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, CertificateFile), path)
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return fmt.Errorf("%s is not what was made here", path)
	}
	a.cert, a.key = pair.Leaf, key
	return nil
}

// make writes a new authority: the key first, so that a certificate that clients
// trust has one.
func (a *Authority) make(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	everyIPv4, everyIPv6 := net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	t := template("Slipway, for names of AWS", caLife)
	t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	t.PermittedDNSDomains, t.PermittedDNSDomainsCritical = awshost.Domains(), true
	t.ExcludedIPRanges = []*net.IPNet{&everyIPv4, &everyIPv6}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, keyFile), "PRIVATE KEY", der, 0o600); err != nil {
		return err
	}
	return replace(filepath.Join(dir, CertificateFile), "CERTIFICATE", cert, 0o644)
}

// replace writes a file of PEM as a whole, never readable by more than mode says.
func replace(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the reason is told
	}
	return err
}

func template(name string, life time.Duration) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails (crypto/rand)
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(append([]byte{0x40}, serial[1:]...)), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(life), BasicConstraintsValid: true,
	}
}

// forHello returns the certificate for the name that a client asks for.
func (a *Authority) forHello(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n, ok := awshost.Parse(hello.ServerName)
	if !ok {
		return nil, fmt.Errorf("%q is no name of AWS that is served here", hello.ServerName)
	}
	return a.certificate(n)
}

// certificate returns one for a name, and for every bucket below it if it is one
// of S3.
func (a *Authority) certificate(n awshost.Name) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[n.Base]; c != nil && time.Now().Before(c.Leaf.NotAfter.Add(-leafLife/2)) {
		return c, nil
	}
	t := template("Slipway", leafLife)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if t.DNSNames = []string{n.Base}; n.Service == "s3" {
		t.DNSNames = append(t.DNSNames, "*."+n.Base)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", n.Base, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves) // they are made again in no time
	}
	c := &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf, Leaf: leaf}
	a.leaves[n.Base] = c
	return c, nil
}
