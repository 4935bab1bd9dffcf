package packaging

import "time"

// SigningRoot is a certificate authority for signing keys: what devices trust.
type SigningRoot struct {
	ID          string
	Created     time.Time
	Trusted     bool   // exported to devices
	Certificate string // PEM
	PrivateKey  string // PEM; "" once it is no longer trusted
}

// SigningKey signs packages. The one with the highest number is in use.
type SigningKey struct {
	Number      uint64
	Root        string
	Created     time.Time
	Revoked     bool
	Certificate string // PEM
	PrivateKey  string // PEM; "" once it is revoked
}

// MinKey returns the least number of a key that devices shall still trust: all
// below the newest revoked key and itself are refused.
func MinKey(keys []SigningKey) uint64 {
	var n uint64
	for _, k := range keys {
		if k.Revoked {
			n = max(n, k.Number+1)
		}
	}
	return n
}
