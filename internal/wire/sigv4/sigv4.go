// Package sigv4 tells who signed a request: AWS Signature Version 4 in its
// header and presigned forms, the payload forms of S3, and S3's old presigned
// form (Version 2). A request that verifies is exactly the one that the holder
// of the secret key made. What the signer may do is not its job, nor is where
// keys come from.
package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is a request head as it was received, nothing decoded. The strings
// may be views of a buffer: the verifier keeps none of them after it returns.
type Request interface {
	Method() string
	Path() string  // still percent-encoded
	Query() string // still percent-encoded, without '?'
	// Header takes a name in lower case and joins several values by ","; "host"
	// answers the Host.
	Header(name string) (value string, ok bool)
}

// Key is an access key and whom it speaks for. Its String and LogValue leave
// the secrets out.
type Key struct {
	ID           string
	Secret       string
	SessionToken string    // what the request must carry beside the signature; "" for none
	Expires      time.Time // zero: never
	ARN          string
	UserID       string

	Session *Session // of temporary credentials of a device; nil otherwise
	Memo    *Memo    // of a key that is one of very many; nil for one of a few
}

// Session is the device that temporary credentials were issued to.
type Session struct{ Thing, Alias, CertificateID, Region string }

// String names the key and nothing secret.
func (k Key) String() string { return "key " + k.ID }

// GoString names the key and nothing secret.
func (k Key) GoString() string { return k.String() }

// LogValue logs the key's ID and nothing secret.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.ID) }

// Keyring finds a key by its access key ID. It is asked on every request, from
// many goroutines, and must answer from memory.
type Keyring interface {
	Key(accessKeyID string) (Key, bool)
}

// SessionKeyring is a Keyring that knows temporary credentials as well: those
// that are worth nothing without the token that was issued with them. It is
// asked for access keys that Key does not know.
type SessionKeyring interface {
	Keyring

	// Session finds the key that a token was issued with. It is for the
	// verifier to see whether it has expired. What it is given may be a view of
	// the request.
	Session(accessKeyID, token string) (Key, bool)
}

// Identity is who signed a request, and for what.
type Identity struct {
	AccessKeyID string
	ARN         string
	UserID      string
	Region      string // of the credential scope
	Service     string // of the credential scope, such as "sagemaker"
	Signed      time.Time
	Session     *Session // the device that signed, nil for anybody else
}

// Holder names who holds the key: its ID, or of temporary credentials the
// certificate of the device, which gets others every hour.
func (id Identity) Holder() string {
	if id.Session != nil {
		return id.Session.CertificateID
	}
	return id.AccessKeyID
}

// Limits in time. AWS allows five minutes of clock skew, S3 fifteen.
const (
	skew          = 5 * time.Minute
	skewS3        = 15 * time.Minute
	longestExpiry = 7 * 24 * time.Hour
	defaultExpiry = 15 * time.Minute // of a presigned request that names none; S3 demands one
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	serviceS3 = "s3"
	terminal  = "aws4_request"
	isoBasic  = "20060102T150405Z"
)

// Verifier verifies requests against one keyring. It is safe for concurrent
// use and takes no lock on the way.
type Verifier struct {
	// LongestPresigned is how long a presigned request may be good for; 0 means
	// seven days, which Version 4 does not go beyond.
	LongestPresigned time.Duration

	keys     Keyring
	sessions SessionKeyring // nil if the keyring is none
	services []string
	signing  signingKeys
	scratch  sync.Pool
}

// NewVerifier returns a verifier that accepts requests signed for one of the
// services; with none named, for those that Slipway serves. A keyring that is a
// SessionKeyring has its temporary credentials accepted.
func NewVerifier(keys Keyring, services ...string) *Verifier {
	if len(services) == 0 {
		services = []string{"sagemaker", "s3", "monitoring", "sts", "iot", "execute-api"}
	}
	v := &Verifier{keys: keys, services: slices.Clone(services)}
	v.sessions, _ = keys.(SessionKeyring)
	v.scratch.New = func() any { return &scratch{buf: make([]byte, 0, 2048)} }
	return v
}

// Verify says who signed r, whose whole body is at hand. Every error is an
// *Error, in the words of the service that the request was signed for.
func (v *Verifier) Verify(r Request, body []byte, now time.Time) (Identity, error) {
	sc := v.scratch.Get().(*scratch)
	defer v.putScratch(sc)
	a, key, e := v.admit(r, sc, now)
	if e != nil {
		return Identity{}, e
	}
	if a.service == serviceS3 {
		p, e := payloadOf(r, &a)
		switch {
		case e != nil:
			return Identity{}, e.In(StyleS3)
		case p.streaming():
			return Identity{}, fail(reasonPayload, "A streaming payload is not expected here.").In(StyleS3)
		case p.hash != unsignedPayload && p.hash != hexSum(body):
			return Identity{}, fail(reasonContentHash, "").In(StyleS3)
		}
		id, _, e := v.check(r, sc, &a, key, p.hash)
		return id, asError(e)
	}
	// The hash is always that of the body: a signed x-amz-content-sha256 that
	// says otherwise then makes for another signature.
	var hash [64]byte
	sum := sha256.Sum256(body)
	hexInto(hash[:], sum[:])
	sc.hash = hash
	id, _, e := v.check(r, sc, &a, key, "")
	return id, asError(e)
}

// asError keeps a nil *Error from becoming an error that is not nil.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// admit does all that needs no signature: it reads the authentication, and
// checks scope, clock, key and token.
func (v *Verifier) admit(r Request, sc *scratch, now time.Time) (auth, Key, *Error) {
	a, e := parse(r, sc)
	if e != nil {
		return a, Key{}, e.In(a.style())
	}
	if e = v.admitScope(&a); e == nil {
		e = v.checkClock(&a, now)
	}
	// It chooses the operation: whoever could change it could turn one signed
	// call into another.
	if _, ok := r.Header("x-amz-target"); ok && e == nil && !a.signs("x-amz-target") {
		e = fail(reasonUnsigned, "")
	}
	if e != nil {
		return a, Key{}, e.In(a.style())
	}
	key, e := v.find(a.keyID, a.token, now)
	if e != nil {
		return a, Key{}, e.In(a.style())
	}
	return a, key, nil
}

// find returns the key that a request was signed with, if it carries the token
// that belongs to it, none included, and the key has not expired.
func (v *Verifier) find(keyID, token string, now time.Time) (Key, *Error) {
	key, ok := v.keys.Key(keyID)
	wanted := key.SessionToken
	if !ok && v.sessions != nil && token != "" {
		if key, ok = v.sessions.Session(keyID, token); !ok {
			return Key{}, fail(reasonBadToken, "")
		}
		wanted = token // the session was found by it
	}
	switch {
	case !ok || key.Secret == "":
		return Key{}, fail(reasonUnknownKey, "")
	case !key.Expires.IsZero() && !now.Before(key.Expires):
		return Key{}, fail(reasonExpiredToken, "")
	case !equal(wanted, token):
		return Key{}, fail(reasonBadToken, "")
	}
	return key, nil
}

func (v *Verifier) admitScope(a *auth) *Error {
	if !slices.Contains(v.services, a.service) {
		return WrongService(v.services...)
	}
	if a.day != a.date[:len(a.day)] {
		return fail(reasonScope, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version "+
			"of date from HTTP: '%s' != '%s', from '%s'.",
			a.day, a.date[:len(a.day)], a.date))
	}
	return nil
}

// checkClock applies the rules of time: skew for signed headers, the span of
// validity for presigned requests.
func (v *Verifier) checkClock(a *auth, now time.Time) *Error {
	allowed := skew
	if a.service == serviceS3 {
		allowed = skewS3
	}
	if a.presigned {
		switch end := a.signed.Add(a.expires); {
		case v.LongestPresigned > 0 && a.expires > v.LongestPresigned:
			return fail(
				reasonMalformedQuery, fmt.Sprintf("X-Amz-Expires must not be above %s here.", v.LongestPresigned),
			)
		case a.signed.After(now.Add(allowed)):
			return fail(reasonNotYet, a.notYetText(now, allowed))
		case !now.Before(end):
			return fail(reasonExpiredURL, fmt.Sprintf("Signature expired: %s is now earlier than %s",
				end.Format(isoBasic), now.UTC().Format(isoBasic)))
		}
		return nil
	}
	switch d := now.Sub(a.signed); {
	case d > allowed:
		return fail(reasonSkewed, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)",
			a.signed.Format(isoBasic), now.Add(
				-allowed,
			).UTC().Format(isoBasic), now.UTC().Format(isoBasic), allowed/time.Minute))
	case d < -allowed:
		return fail(reasonSkewed, a.notYetText(now, allowed))
	}
	return nil
}

func (a *auth) notYetText(now time.Time, allowed time.Duration) string {
	return fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)",
		a.signed.Format(
			isoBasic,
		), now.Add(allowed).UTC().Format(isoBasic), now.UTC().Format(isoBasic), allowed/time.Minute)
}

// check computes the signature and compares. An empty hash stands for the one
// in sc. It returns the signing key for what follows the head: signed chunks.
func (v *Verifier) check(r Request, sc *scratch, a *auth, key Key, hash string) (Identity, *signingKey, *Error) {
	sk, cached := v.signing.find(a, key)
	length, _ := r.Header(contentLength)
	good := sc.signedBy(sk, r, a, hash, length)
	if !good && (length == "" || length == "0") && a.signs(contentLength) {
		// Of a request without a body some sign no length and send 0, some the
		// other way round.
		good = sc.signedBy(sk, r, a, hash, map[string]string{"": "0", "0": ""}[length])
	}
	if !good {
		return Identity{}, nil, fail(reasonSignature, "").In(a.style())
	}
	if !cached { // only what a holder of the secret signed gets into the cache
		v.signing.remember(sk, key)
	}
	return Identity{
		AccessKeyID: key.ID, ARN: key.ARN, UserID: key.UserID, Region: sk.region, Service: sk.service, Signed: a.signed,
		Session: key.Session,
	}, sk, nil
}

const contentLength = "content-length"

// signedBy reports whether the signature is right if the length is as given.
func (sc *scratch) signedBy(sk *signingKey, r Request, a *auth, hash, length string) bool {
	sc.canonicalRequest(r, a, hash, length)
	sum := sha256.Sum256(sc.buf)
	sc.stringToSign(a, sum)
	mac := sk.sign(sc.buf)
	var want, got [64]byte
	hexInto(want[:], mac[:])
	copy(got[:], a.signature)
	return len(a.signature) == len(got) && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func (v *Verifier) putScratch(sc *scratch) {
	if cap(sc.buf) > 64<<10 || cap(sc.query) > 64<<10 {
		return // one odd request must not hold its memory for ever
	}
	v.scratch.Put(sc)
}

// equal compares secrets in time that tells nothing but their length.
func equal(a, b string) bool {
	if a == "" && b == "" {
		return true
	}
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// WrongService is the refusal of a request whose credential scope names a
// service other than those that the address serves.
func WrongService(want ...string) *Error {
	return fail(reasonScope, "Credential should be scoped to correct service: '"+strings.Join(want, "', '")+"'.")
}
