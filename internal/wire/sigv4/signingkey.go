package sigv4

import (
	"crypto/sha256"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// signingKey is the key that one secret yields for a day, region and service.
type signingKey struct {
	keyScope
	secret string // the one it was made from: a rotated secret must not pass
	key    [32]byte
}

// keyScope is what a signing key is cached under.
type keyScope struct{ keyID, day, region, service string }

// maxSigningKeys bounds the cache: a few keys, regions and services a day.
const maxSigningKeys = 1024

// Memo keeps the signing key that a key last yielded, for keys that are too many
// for the verifier's own cache. Whoever keeps the Key keeps it in memory.
type Memo struct{ last atomic.Pointer[signingKey] }

// signingKeys caches signing keys. Readers take no lock; writers copy.
type signingKeys struct {
	known atomic.Pointer[map[keyScope]*signingKey]

	mu sync.Mutex // serialises writers
}

// find returns the signing key for a, made anew if it is not known.
func (c *signingKeys) find(a *auth, key Key) (sk *signingKey, cached bool) {
	scope := keyScope{a.keyID, a.day, a.region, a.service}
	if key.Memo != nil {
		sk = key.Memo.last.Load()
	} else if m := c.known.Load(); m != nil {
		sk = (*m)[scope]
	}
	if sk != nil && sk.keyScope == scope && sk.secret == key.Secret {
		return sk, true
	}
	return newSigningKey(a, key), false
}

func (c *signingKeys) remember(sk *signingKey, key Key) {
	if key.Memo != nil {
		key.Memo.last.Store(sk)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var next map[keyScope]*signingKey
	if m := c.known.Load(); m != nil && len(*m) < maxSigningKeys {
		next = maps.Clone(*m)
	} else {
		next = make(map[keyScope]*signingKey) // full: begin again
	}
	next[sk.keyScope] = sk
	c.known.Store(&next)
}

func newSigningKey(a *auth, key Key) *signingKey {
	date := mac([]byte("AWS4"+key.Secret), []byte(a.day))
	region := mac(date[:], []byte(a.region))
	service := mac(region[:], []byte(a.service))
	return &signingKey{
		// Copies: the parts of a are views of a request's buffer.
		keyScope: keyScope{key.ID, strings.Clone(a.day), strings.Clone(a.region), strings.Clone(a.service)},
		secret:   key.Secret,
		key:      mac(service[:], []byte(terminal)),
	}
}

func (sk *signingKey) sign(msg []byte) [32]byte { return mac(sk.key[:], msg) }

// mac is HMAC-SHA256 for short messages, without the allocations of hmac.New.
// The property test holds it against the SDK's signer.
func mac(key, msg []byte) [32]byte {
	const block = 64
	if len(key) > block {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	var stack [512]byte
	inner := append(stack[:0], make([]byte, block)...)
	copy(inner, key)
	var outer [block + 32]byte
	for i := range block {
		outer[i] = inner[i] ^ 0x5c
		inner[i] ^= 0x36
	}
	inner = append(inner, msg...)
	sum := sha256.Sum256(inner)
	copy(outer[block:], sum[:])
	return sha256.Sum256(outer[:])
}

// hexSum is the lower-case hex SHA-256 of b.
func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	var h [64]byte
	hexInto(h[:], sum[:])
	return string(h[:])
}
