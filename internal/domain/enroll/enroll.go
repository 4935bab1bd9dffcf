// Package enroll is what a server and a device say to each other when the
// device gets its identity: the token that an operator carries over, the
// request that spends it, and the reply. Both sides prove that they know the
// token's secret, so that the exchange may go over any network: it holds no
// secret itself, and nobody between can change it. Issuing certificates and
// keeping them is not its job.
//
// The device posts a Request as JSON to the token's URL + "/enroll" and gets a
// Reply. Its private key never leaves it.
package enroll

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"
)

// Prefix is what a token starts with.
const Prefix = "slipway-enroll-v1."

// MaxBody bounds a request's body, in bytes.
const MaxBody = 64 << 10

// maxToken bounds a token's text, in bytes.
const maxToken = 8 << 10

// Token lets one device enroll once. Whoever holds it can.
type Token struct {
	URL     string    `json:"url"` // of the server, without a slash at the end
	ID      string    `json:"id"`
	Secret  []byte    `json:"secret"`
	CA      string    `json:"ca"` // lower-case hex SHA-256 of the device CA's certificate (DER)
	Fleet   string    `json:"fleet"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"` // for people: the server goes by its own clock
}

// String is the token as operators carry it.
func (t Token) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		return "" // a time beyond the year 9999
	}
	return Prefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads a token. The error does not repeat it.
func ParseToken(s string) (t Token, err error) {
	bad := errors.New("not an enrollment token: it starts with " + Prefix + " and is copied whole")
	text, ok := strings.CutPrefix(strings.TrimSpace(s), Prefix)
	if !ok || len(s) > maxToken {
		return t, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(b, &t) != nil || t.URL == "" || t.ID == "" || len(t.Secret) < 16 {
		return Token{}, bad
	}
	t.URL = strings.TrimRight(t.URL, "/")
	return t, nil
}

// Request spends a token.
type Request struct {
	ID  string `json:"id"`  // of the token
	CSR []byte `json:"csr"` // PKCS #10, DER; its key is the device's, its subject does not matter
	MAC []byte `json:"mac"` // HMAC-SHA256 under the secret of ID, a zero byte and CSR
}

// Request returns the request that asks for a certificate.
func (t Token) Request(csr []byte) Request {
	return Request{ID: t.ID, CSR: csr, MAC: requestMAC(t.Secret, t.ID, csr)}
}

// Authentic reports whether who made the request knew the secret.
func (r Request) Authentic(secret []byte) bool {
	return hmac.Equal(r.MAC, requestMAC(secret, r.ID, r.CSR))
}

func requestMAC(secret []byte, id string, csr []byte) []byte {
	m := hmac.New(sha256.New, secret)
	_, _ = m.Write(append([]byte(id), 0)) // a hash takes everything
	_, _ = m.Write(csr)
	return m.Sum(nil)
}

// Reply is a device's identity, but for its private key.
type Reply struct {
	Certificate string `json:"certificate"` // of the device, PEM
	// PEM: the device CA, which issues the server's certificate too
	Chain        string            `json:"chain"`
	SigningRoots map[string]string `json:"signing_roots"` // by region, PEM: what packages must be signed under
	Config       map[string]string `json:"config"`        // for agent.json, with the keys of spec §7.3; holds no paths
	MAC          []byte            `json:"mac"`           // by Sign
}

// Sign lets the device see that the reply to its request is the server's.
func (r *Reply) Sign(secret []byte, to Request) error {
	mac, err := r.mac(secret, to)
	r.MAC = mac
	return err
}

// Check refuses a reply that did not come from who knows the token's secret,
// or that answers another request.
func (r *Reply) Check(secret []byte, to Request) error {
	want, err := r.mac(secret, to)
	if err != nil {
		return err
	}
	if !hmac.Equal(r.MAC, want) {
		return errors.New("the reply is not from the server that made the token")
	}
	return nil
}

// mac is HMAC-SHA256 of "reply", the request's id and CSR, and everything in
// the reply, each part after its length (8 bytes, big-endian); maps are their
// number of entries (8 bytes), then key and value by key.
func (r *Reply) mac(secret []byte, to Request) ([]byte, error) {
	if len(r.SigningRoots)+len(r.Config) > 1000 {
		return nil, fmt.Errorf("a reply of %d roots and %d settings", len(r.SigningRoots), len(r.Config))
	}
	m := hmac.New(sha256.New, secret)
	parts(m, "reply", to.ID, string(to.CSR), r.Certificate, r.Chain)
	for _, all := range []map[string]string{r.SigningRoots, r.Config} {
		number(m, len(all))
		for _, k := range slices.Sorted(maps.Keys(all)) {
			parts(m, k, all[k])
		}
	}
	return m.Sum(nil), nil
}

func parts(m hash.Hash, all ...string) {
	for _, s := range all {
		number(m, len(s))
		_, _ = m.Write([]byte(s)) // a hash takes everything
	}
}

// number hashes a number; a hash never fails.
func number(m hash.Hash, n int) { _, _ = m.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) }
