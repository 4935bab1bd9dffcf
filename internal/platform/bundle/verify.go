package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Verifier verifies packages. It has no state: what a device learns from the
// packages that it accepts, Trust keeps.
type Verifier struct {
	Roots  []*x509.Certificate // any of them may stand behind a signature
	Limits Limits
	Trust  Trust
	// StrictTime refuses certificates that are expired or not yet valid at
	// Now. Without it dates are ignored: devices' clocks are years off.
	StrictTime bool
	Now        time.Time
}

// Trust is what a device must remember of the packages that it accepted, so
// that neither an old package nor one signed by a revoked key is accepted
// after them. It only ever tightens; it can be stored as JSON.
type Trust struct {
	MinKey uint64            `json:"min_key"`
	Floors map[string]uint64 `json:"floors"` // by model name
}

// Learn returns the trust of a device that accepted m.
func (t Trust) Learn(m *Manifest) Trust {
	floors := make(map[string]uint64, len(t.Floors)+1)
	for name, f := range t.Floors {
		floors[name] = f
	}
	md := &m.Metadata
	if md.Floor > floors[md.ModelName] {
		floors[md.ModelName] = md.Floor
	}
	return Trust{MinKey: max(t.MinKey, md.MinKey), Floors: floors}
}

// Check refuses, with an Error, what t has seen the end of.
func (t Trust) Check(m *Manifest) error {
	md := &m.Metadata
	if md.Key < t.MinKey {
		return refuse("The package is signed by key %d, which was revoked: keys before %d are no longer trusted.",
			md.Key, t.MinKey)
	}
	if f := t.Floors[md.ModelName]; md.Serial < f {
		return refuse(
			"The package of model %q is too old: it has serial %d, and from %d on only newer ones are accepted.",
			brief(md.ModelName), md.Serial, f,
		)
	}
	return nil
}

// manifest verifies the signature and then the manifest under it.
func (v *Verifier) manifest(manifest, sig, chainPEM []byte) (Manifest, error) {
	chain, err := v.chain(chainPEM)
	if err != nil {
		return Manifest{}, err
	}
	m, err := signed(chain, manifest, sig, v.Limits)
	if err != nil {
		return Manifest{}, err
	}
	if err := v.Trust.Check(&m); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// signed verifies a manifest whose chain is trusted.
func signed(chain []*x509.Certificate, manifest, sig []byte, l Limits) (Manifest, error) {
	pub, ok := chain[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return Manifest{}, refuse("The signing certificate has a key of another kind than Ed25519.")
	}
	if !ed25519.Verify(pub, dsse.PAE(PayloadType, manifest), sig) {
		return Manifest{},
			refuse("The signature of the package is wrong: the manifest was changed after it was signed.")
	}
	m, err := DecodeManifest(manifest, l)
	if err != nil {
		return Manifest{}, err
	}
	if n := keyNumber(chain[0]); n == 0 || n != m.Metadata.Key {
		return Manifest{}, refuse("The manifest names signing key %d; it is signed by key %d.", m.Metadata.Key, n)
	}
	return m, nil
}

// chain reads the certificates and checks that they lead to a root, each
// signed by the next. Every byte of the PEM must be needed.
func (v *Verifier) chain(b []byte) ([]*x509.Certificate, error) {
	chain, err := decodeChain(b)
	if err != nil {
		return nil, err
	}
	if err := usableForSigning(chain); err != nil {
		return nil, err
	}
	root := v.rootOf(chain)
	if root == nil {
		return nil, refuse("The package is signed by a key that this device does not trust (%q, issued by %q).",
			brief(chain[0].Subject.CommonName), brief(chain[len(chain)-1].Issuer.CommonName))
	}
	if v.StrictTime {
		for _, c := range append(chain[:len(chain):len(chain)], root) {
			if v.Now.Before(c.NotBefore) || v.Now.After(c.NotAfter) {
				return nil, refuse("The certificate %q is valid from %s to %s only.", brief(c.Subject.CommonName),
					c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
			}
		}
	}
	return chain, nil
}

const maxChain = 3

func decodeChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := b; len(rest) > 0; {
		var p *pem.Block
		if p, rest = pem.Decode(rest); p == nil || p.Type != "CERTIFICATE" {
			return nil, refuse("The certificate chain of the package is not a list of certificates.")
		}
		if len(chain) == maxChain {
			return nil, refuse("The certificate chain of the package is longer than %d.", maxChain)
		}
		c, err := x509.ParseCertificate(p.Bytes)
		if err != nil {
			return nil, refuse("A certificate in the chain of the package cannot be read.").because(err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, refuse("The package has no signing certificate.")
	}
	if !bytes.Equal(encodeChain(chain), b) {
		return nil, refuse("The certificate chain of the package is not in its canonical form.")
	}
	return chain, nil
}

// usableForSigning checks each certificate's purpose and its link to the next.
func usableForSigning(chain []*x509.Certificate) error {
	leaf := chain[0]
	codeSigning := false
	for _, u := range leaf.ExtKeyUsage {
		codeSigning = codeSigning || u == x509.ExtKeyUsageCodeSigning
	}
	if leaf.IsCA || !codeSigning || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return refuse("The certificate %q is not made for signing packages.", brief(leaf.Subject.CommonName))
	}
	for i, c := range chain {
		if len(c.UnhandledCriticalExtensions) > 0 {
			return refuse("The certificate %q has critical extensions that are not understood.",
				brief(c.Subject.CommonName))
		}
		if i > 0 && !issued(c, chain[i-1], i-1) {
			return refuse("The certificate chain of the package is broken: %q did not issue %q.",
				brief(c.Subject.CommonName), brief(chain[i-1].Subject.CommonName))
		}
	}
	return nil
}

// issued tells whether parent, with below authorities between it and the
// signing certificate, may have issued child and did.
func issued(parent, child *x509.Certificate, below int) bool {
	fits := parent.MaxPathLen < 0 || parent.MaxPathLen == 0 && !parent.MaxPathLenZero || below <= parent.MaxPathLen
	return fits && bytes.Equal(parent.RawSubject, child.RawIssuer) && child.CheckSignatureFrom(parent) == nil
}

func (v *Verifier) rootOf(chain []*x509.Certificate) *x509.Certificate {
	for _, r := range v.Roots {
		if issued(r, chain[len(chain)-1], len(chain)-1) {
			return r
		}
	}
	return nil
}
