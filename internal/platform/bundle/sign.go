package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Signer signs manifests.
type Signer interface {
	// Sign returns an Ed25519 signature over the DSSE encoding of the
	// manifest's bytes, and the chain of certificates for its key in PEM, the
	// signing certificate first, without the root.
	Sign(ctx context.Context, manifest []byte) (sig, chainPEM []byte, err error)
}

// Key is a Signer that has its private key at hand.
type Key struct {
	Private ed25519.PrivateKey
	Chain   []*x509.Certificate // of the key first; without the root
}

var _ Signer = (*Key)(nil)

// Number returns the number of the key, which its certificate carries.
func (k *Key) Number() uint64 { return keyNumber(k.Chain[0]) }

// Sign implements Signer.
func (k *Key) Sign(_ context.Context, manifest []byte) (sig, chainPEM []byte, err error) {
	if len(k.Chain) == 0 {
		return nil, nil, errors.New("the signing key has no certificate")
	}
	return ed25519.Sign(k.Private, dsse.PAE(PayloadType, manifest)), encodeChain(k.Chain), nil
}

// Authority is a certificate authority for signing keys.
type Authority struct {
	Private ed25519.PrivateKey
	Root    *x509.Certificate // what devices trust
}

// certificates are valid from before any clock that forgot the date: what ends
// a key is its number, not a date (edge spec §5.4).
func validity(now time.Time) (from, until time.Time) {
	return now.Add(-24 * time.Hour).UTC(), now.AddDate(30, 0, 0).UTC()
}

// NewAuthority makes a root of its own with a new key.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	from, until := validity(now)
	c := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Slipway"}},
		NotBefore:    from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	root, err := create(c, c, pub, priv)
	if err != nil {
		return nil, err
	}
	return &Authority{Private: priv, Root: root}, nil
}

// NewKey makes a signing key. Numbers begin at 1 and grow: a manifest can
// revoke all keys below a number, see Metadata.MinKey.
func (a *Authority) NewKey(number uint64, now time.Time) (*Key, error) {
	if number == 0 {
		return nil, errors.New("signing keys are numbered from 1")
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	from, until := validity(now)
	c := &x509.Certificate{
		SerialNumber: new(big.Int).SetUint64(number),
		Subject: pkix.Name{
			CommonName: fmt.Sprintf("Slipway package signing key %d", number), Organization: []string{"Slipway"},
		},
		NotBefore: from, NotAfter: until,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	leaf, err := create(c, a.Root, pub, a.Private)
	if err != nil {
		return nil, err
	}
	return &Key{Private: priv, Chain: []*x509.Certificate{leaf}}, nil
}

func create(c, parent *x509.Certificate, pub ed25519.PublicKey, by ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, by)
	if err != nil {
		return nil, fmt.Errorf("make certificate %q: %w", c.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func keyNumber(leaf *x509.Certificate) uint64 {
	if !leaf.SerialNumber.IsUint64() {
		return 0
	}
	return leaf.SerialNumber.Uint64()
}

func encodeChain(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

// EncodeRoots returns certificates as devices take them: PEM, one after another.
func EncodeRoots(roots []*x509.Certificate) []byte { return encodeChain(roots) }

// ParseRoots reads certificates in PEM, such as the content of <region>.pem.
// Anything else than certificates between them is an Error.
func ParseRoots(b []byte) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for {
		var p *pem.Block
		if p, b = pem.Decode(b); p == nil {
			break
		}
		if p.Type != "CERTIFICATE" {
			return nil, refuse("The file of root certificates also holds a %s.", brief(p.Type))
		}
		c, err := x509.ParseCertificate(p.Bytes)
		if err != nil {
			return nil, refuse("A root certificate cannot be read.").because(err)
		}
		roots = append(roots, c)
	}
	if len(bytes.TrimSpace(b)) > 0 {
		return nil, refuse("The file of root certificates holds something else than certificates.")
	}
	return roots, nil
}
