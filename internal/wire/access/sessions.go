package access

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Session is what temporary credentials stand for: a device that has shown its
// certificate and assumed a role through a role alias (edge specification §5.2).
type Session struct {
	Thing         string // "" if the certificate is attached to none
	Alias         string // of the role
	RoleARN       string
	CertificateID string
	Account       string // of the role, twelve digits
	Region        string // where the thing is, "" if that does not matter
	Expires       time.Time
}

// Credentials are temporary: they are good until Expiration, and only with the
// token beside them. Their String and LogValue leave the secrets out.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// String names the credentials and nothing secret.
func (c Credentials) String() string { return "credentials " + c.AccessKeyID }

// GoString names the credentials and nothing secret.
func (c Credentials) GoString() string { return c.String() }

// LogValue logs the access key's ID and nothing secret.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.AccessKeyID) }

// Sessions issues temporary credentials and finds out what they stand for. It
// keeps no table: the token holds the session, sealed, and the secret follows
// from the server's key and the access key's ID. Whoever has the key can make
// sessions, so it is as secret as the administrators' own. It is safe for
// concurrent use.
type Sessions struct {
	key   [32]byte
	known sessionCache
}

// NewSessions returns the sessions under a key of 32 random bytes.
func NewSessions(key [32]byte) *Sessions { return &Sessions{key: key} }

// Bounds on what a session holds: names of IoT are shorter, and a token must
// fit into a header and a URL.
const (
	maxSessionField = 512
	maxToken        = 4096
)

// Token versions: what stands in front of the sealed session.
const tokenVersion = 1

// Issue makes credentials for a session. They expire at a whole second.
func (s *Sessions) Issue(x Session, now time.Time) (Credentials, error) {
	x.Expires = x.Expires.UTC().Truncate(time.Second)
	switch {
	case x.CertificateID == "" || x.RoleARN == "" || x.Account == "":
		return Credentials{}, errors.New("a session needs a certificate, a role and an account")
	case !x.Expires.After(now):
		return Credentials{}, fmt.Errorf("the session would have expired at %s", x.Expires)
	}
	for _, f := range x.fields() {
		if len(*f) > maxSessionField {
			return Credentials{}, fmt.Errorf("a session's field has %d bytes, more than %d", len(*f), maxSessionField)
		}
	}
	b := make([]byte, 22)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	id := sessionPrefix + base32.StdEncoding.EncodeToString(b[:10])
	nonce := b[10:]
	token := append([]byte{tokenVersion}, nonce...)
	token = s.seal(id).Seal(token, nonce, x.encode(), []byte(id))
	return Credentials{id, s.secret(id), base64.RawURLEncoding.EncodeToString(token), x.Expires}, nil
}

// sessionPrefix begins the IDs of temporary keys, as AWS's own.
const sessionPrefix = "ASIA"

// derive returns a key of its own for each purpose and access key: no two
// tokens are sealed with the same one.
func (s *Sessions) derive(purpose, id string) [32]byte {
	h := hmac.New(sha256.New, s.key[:])
	_, _ = h.Write([]byte("slipway session " + purpose + "\x00" + id)) // a hash never fails
	return [32]byte(h.Sum(nil))
}

func (s *Sessions) secret(id string) string {
	k := s.derive("secret", id)
	return base64.StdEncoding.EncodeToString(k[:30]) // forty characters
}

func (s *Sessions) seal(id string) cipher.AEAD {
	k := s.derive("token", id)
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic("access: " + err.Error()) // 32 bytes are a key
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("access: " + err.Error()) // AES has blocks of 16 bytes
	}
	return aead
}

func (x *Session) fields() [6]*string {
	return [...]*string{&x.Thing, &x.Alias, &x.RoleARN, &x.CertificateID, &x.Account, &x.Region}
}

// encode writes the fields, each after its length, and the expiry in seconds.
func (x *Session) encode() []byte {
	var b []byte
	for _, f := range x.fields() {
		b = append(binary.AppendUvarint(b, uint64(len(*f))), *f...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(x.Expires.Unix()))
}

func (x *Session) decode(b []byte) bool {
	for _, f := range x.fields() {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > maxSessionField || uint64(len(b)-size) < n {
			return false
		}
		*f = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	if len(b) != 8 {
		return false
	}
	x.Expires = time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC()
	return true
}

// Open returns the session that a token of an access key holds, be it expired
// or not. A token that this server did not issue for that key opens nothing.
func (s *Sessions) Open(id, token string) (x Session, ok bool) {
	const overhead = 1 + 12
	if s == nil || len(token) > maxToken || strings.ContainsAny(token, "\r\n") { // base64 would skip those
		return Session{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < overhead || b[0] != tokenVersion {
		return Session{}, false
	}
	plain, err := s.seal(id).Open(nil, b[1:overhead], b[overhead:], []byte(id))
	if err != nil || !x.decode(plain) {
		return Session{}, false
	}
	return x, true
}

// Session finds the key of temporary credentials: it is what sigv4 asks. It
// answers the same for a key that is no session's and for a token that is not
// the key's.
func (s *Sessions) Session(id, token string) (sigv4.Key, bool) {
	if s == nil || len(id) != 20 || !strings.HasPrefix(id, sessionPrefix) || token == "" || len(token) > maxToken {
		return sigv4.Key{}, false
	}
	sum := sha256.Sum256([]byte(token))
	if k, ok := s.known.find(id, sum); ok {
		return k, true
	}
	x, ok := s.Open(id, token)
	if !ok {
		return sigv4.Key{}, false
	}
	id = strings.Clone(id) // it may be a view of the request
	k := sigv4.Key{
		ID: id, Secret: s.secret(id), Expires: x.Expires, ARN: x.arn(), UserID: roleID(x.RoleARN) + ":" + x.name(),
		Session: &sigv4.Session{Thing: x.Thing, Alias: x.Alias, CertificateID: x.CertificateID, Region: x.Region},
		Memo:    new(sigv4.Memo),
	}
	s.known.put(id, sum, k)
	return k, true
}

// name is the session's name, as AWS gives one: the thing's here, and failing
// that the certificate's.
func (x *Session) name() string {
	if x.Thing != "" {
		return x.Thing
	}
	return x.CertificateID
}

// arn is the ARN of whoever has assumed the role.
func (x *Session) arn() string {
	partition := "aws"
	if f := strings.SplitN(x.RoleARN, ":", 3); len(f) == 3 && f[1] != "" {
		partition = f[1]
	}
	role := x.RoleARN[strings.LastIndexByte(x.RoleARN, '/')+1:]
	return "arn:" + partition + ":sts::" + x.Account + ":assumed-role/" + role + "/" + x.name()
}

// roleID is the stable unique ID of a role, in the form of AWS's.
func roleID(role string) string {
	sum := sha256.Sum256([]byte("role " + role))
	return "AROA" + base32.StdEncoding.EncodeToString(sum[:10])
}

// Ring is the whole keyring of a server: its administrators' keys, and the
// sessions of its devices.
type Ring struct {
	*Keys
	*Sessions
}
