package bundle_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// verifier lends a key to the DSSE library.
type verifier struct{ *bundle.Key }

func (v verifier) KeyID() (string, error)   { return "", nil }
func (v verifier) Public() crypto.PublicKey { return v.Private.Public() }
func (v verifier) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(v.Private.Public().(ed25519.PublicKey), data, sig) {
		return errors.New("no")
	}
	return nil
}
