// Package devicetls is the certificate authority of devices and the listener
// that they are met on over mutual TLS. It issues certificates for the keys of
// devices, and for the listener itself, renewed while it runs. Which device a
// certificate stands for, and whether it still may, is not its job: the
// handshake asks for any certificate, and proves only that the client has its
// key.
package devicetls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The clocks of devices are years off, mostly back: nothing that is issued here
// begins later than the authority, and that at the epoch. A certificate is
// ended by being revoked, which works at once, and not by its date.
var (
	begin     = time.Unix(0, 0).UTC()
	endCA     = time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)
	endDevice = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC) // as on AWS
)

// CA is an open certificate authority. It may be used from many goroutines.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// NewCA makes an authority. Its key, PKCS #8 in PEM, signs the identity of
// every device: whoever has it can be any of them that somebody registers, and
// pass for the server to all of them. It is for the store and nowhere else.
func NewCA() (certificate, key string, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make the key of the device CA: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Slipway device CA", SerialNumber: serial().Text(16)},
		NotBefore: begin, NotAfter: endCA, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, signer.Public(), signer)
	if err != nil {
		return "", "", fmt.Errorf("make the device CA: %w", err)
	}
	key, err = keyPEM(signer)
	return certPEM(der), key, err
}

// OpenCA opens an authority that NewCA made.
func OpenCA(certificate, key string) (*CA, error) {
	c, k := decode(certificate, "CERTIFICATE"), decode(key, "PRIVATE KEY")
	cert, err := x509.ParseCertificate(c)
	if err != nil {
		return nil, fmt.Errorf("read the device CA: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k)
	if err != nil {
		return nil, errors.New("read the key of the device CA: it is damaged") // the cause could print some of it
	}
	signer, ok := parsed.(crypto.Signer)
	if public, is := cert.PublicKey.(*ecdsa.PublicKey); !ok || !is || !public.Equal(signer.Public()) {
		return nil, errors.New("the device CA and its key do not belong together")
	}
	return &CA{cert, signer, certificate}, nil
}

// PEM returns the authority's certificate.
func (c *CA) PEM() string { return c.pem }

// Fingerprint returns the lower-case hex SHA-256 of the authority's certificate.
func (c *CA) Fingerprint() string { return Fingerprint(c.cert.Raw) }

// Fingerprint returns the lower-case hex SHA-256 of a certificate (DER), which
// is its ID everywhere.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Issued is a certificate that was issued to a device.
type Issued struct {
	ID                  string // Fingerprint
	PEM                 string
	NotBefore, NotAfter time.Time
}

// Issue issues a certificate for the key of a device.
func (c *CA) Issue(key crypto.PublicKey) (Issued, error) {
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Slipway device"},
		NotBefore: begin, NotAfter: endDevice,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.cert, key, c.key)
	if err != nil {
		return Issued{}, fmt.Errorf("issue a certificate: %w", err)
	}
	return Issued{Fingerprint(der), certPEM(der), begin, endDevice}, nil
}

// issueServer issues a certificate for the listener, under names that are
// host names or addresses.
func (c *CA) issueServer(names []string, until time.Time) (der []byte, key *ecdsa.PrivateKey, err error) {
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the key of the device listener: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Slipway device listener"},
		NotBefore: begin, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil {
			t.IPAddresses = append(t.IPAddresses, a.Unmap().AsSlice())
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err = x509.CreateCertificate(rand.Reader, t, c.cert, key.Public(), c.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue the certificate of the device listener: %w", err)
	}
	return der, key, nil
}

// NewKey makes the RSA key of a device, as CreateKeysAndCertificate hands it
// out: 2048 bits; the private one in PKCS #1. It takes some tenths of a second.
func NewKey() (key crypto.PublicKey, public, private string, err error) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", "", fmt.Errorf("make the key of a device: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil, "", "", fmt.Errorf("write the key of a device: %w", err)
	}
	block := func(typ string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
	}
	return k.Public(), block("PUBLIC KEY", der), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)), nil
}

// maxCSR bounds a certificate signing request, in bytes.
const maxCSR = 16 << 10

// ReadCSR returns the key of a certificate signing request (PKCS #10, DER) if
// whoever made it has the private key, and the key is one that devices may
// have: ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits.
func ReadCSR(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxCSR {
		return nil, fault.New(fault.Invalid, "The certificate signing request has more than %d bytes.", maxCSR)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The certificate signing request is not PKCS #10 in DER.").Because(err)
	}
	fits := false
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		fits = k.Curve == elliptic.P256() || k.Curve == elliptic.P384()
	case *rsa.PublicKey:
		fits = k.N.BitLen() >= 2048 && k.N.BitLen() <= 4096
	}
	if !fits {
		return nil,
			fault.New(fault.Invalid,
				"The key of the certificate signing request must be ECDSA on P-256 or P-384, or RSA of 2048 to "+
					"4096 bits.")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fault.New(fault.Invalid,
			"The certificate signing request is not signed with its own key.").Because(err)
	}
	return r.PublicKey, nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

func certPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func keyPEM(k *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", fmt.Errorf("write the key of the device CA: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// decode returns what is in a PEM block of that type; nothing if there is none.
func decode(text, typ string) []byte {
	b, _ := pem.Decode([]byte(text))
	if b == nil || b.Type != typ {
		return nil
	}
	return b.Bytes
}
