package packaging

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
)

// Signing is the public half of everything that signs packages.
type Signing struct {
	Roots []packaging.SigningRoot // oldest first
	Keys  []packaging.SigningKey  // oldest first; the last one is in use
}

// Signing returns roots and keys without their private halves; none before
// the first use.
func (s *Service) Signing(ctx context.Context) (out Signing, err error) {
	if out.Roots, err = s.cfg.Store.SigningRoots(ctx); err != nil {
		return out, err
	}
	if out.Keys, err = s.cfg.Store.SigningKeys(ctx); err != nil {
		return out, err
	}
	return out.public(), nil
}

func (s Signing) public() Signing {
	for i := range s.Roots {
		s.Roots[i].PrivateKey = ""
	}
	for i := range s.Keys {
		s.Keys[i].PrivateKey = ""
	}
	return s
}

// CreateSigning makes a root and a first signing key, if there are none.
func (s *Service) CreateSigning(ctx context.Context) (Signing, error) {
	if _, _, err := s.signer(ctx); err != nil {
		return Signing{}, err
	}
	return s.Signing(ctx)
}

// RootsPEM returns the roots that devices shall trust, in PEM: the content of
// their <region>.pem. The first use makes one.
func (s *Service) RootsPEM(ctx context.Context) ([]byte, error) {
	all, err := s.CreateSigning(ctx)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, r := range all.Roots {
		if r.Trusted {
			out = append(out, r.Certificate...)
		}
	}
	return out, nil
}

// Rotation says how keys are rotated.
type Rotation struct {
	// Revoke makes devices refuse packages of the keys before: every one as
	// soon as it has accepted a package that the new key signed.
	Revoke bool
	// NewRoot makes the new key one of a new root. Devices need its certificate
	// before they accept the key. With Revoke the roots before are no longer
	// handed to devices.
	NewRoot bool
}

// Rotate makes a new key sign from now on. Private halves that sign no more
// are forgotten.
func (s *Service) Rotate(ctx context.Context, r Rotation) (Signing, error) {
	if _, _, err := s.signer(ctx); err != nil { // so that there is something to rotate
		return Signing{}, err
	}
	err := s.cfg.Store.Change(ctx, func(tx jobs.Tx) error {
		n, err := tx.NextSigningKey(ctx) // and nobody else rotates
		if err != nil {
			return err
		}
		root, err := newestRoot(ctx, tx)
		if err != nil {
			return err
		}
		if r.NewRoot {
			root = nil
		}
		return issue(ctx, tx, root, n, r)
	})
	if err != nil {
		return Signing{}, err
	}
	s.log.InfoContext(ctx, "signing key rotated", "revoke", r.Revoke, "newRoot", r.NewRoot)
	return s.Signing(ctx)
}

// signer returns the key in use and the least number of a key that devices
// shall trust. The first use makes root and key.
func (s *Service) signer(ctx context.Context) (*bundle.Key, uint64, error) {
	keys, err := s.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return nil, 0, err
	}
	if len(keys) == 0 {
		err := s.cfg.Store.Change(ctx, func(tx jobs.Tx) error {
			n, err := tx.NextSigningKey(ctx) // whoever comes second waits here
			if err != nil {
				return err
			}
			if keys, err = tx.SigningKeys(ctx); err != nil || len(keys) > 0 {
				return err
			}
			if err := issue(ctx, tx, nil, n, Rotation{}); err != nil {
				return err
			}
			keys, err = tx.SigningKeys(ctx)
			return err
		})
		if err != nil {
			return nil, 0, fmt.Errorf("make a signing key: %w", err)
		}
	}
	last := keys[len(keys)-1]
	key, err := loadKey(last)
	if err != nil {
		return nil, 0, fmt.Errorf("signing key %d: %w", last.Number, err)
	}
	return key, packaging.MinKey(keys), nil
}

// issue makes a key under a root, or under a new one if root is nil.
func issue(ctx context.Context, tx jobs.Tx, root *bundle.Authority, number uint64, r Rotation) error {
	at := clock.Now()
	if root == nil {
		var err error
		if root, err = bundle.NewAuthority("Slipway package signing root", at); err != nil {
			return err
		}
		private, err := encodeKey(root.Private)
		if err != nil {
			return err
		}
		if err := tx.InsertSigningRoot(ctx, packaging.SigningRoot{
			ID: rootID(root.Root), Created: at, Trusted: true,
			Certificate: string(bundle.EncodeRoots([]*x509.Certificate{root.Root})), PrivateKey: private,
		}); err != nil {
			return err
		}
		if err := tx.RetireSigningRoots(ctx, rootID(root.Root), r.Revoke); err != nil {
			return err
		}
	}
	k, err := root.NewKey(number, at)
	if err != nil {
		return err
	}
	private, err := encodeKey(k.Private)
	if err != nil {
		return err
	}
	if err := tx.RetireSigningKeys(ctx, number, r.Revoke); err != nil {
		return err
	}
	return tx.InsertSigningKey(ctx, packaging.SigningKey{
		Number: number, Root: rootID(root.Root), Created: at, Certificate: string(
			bundle.EncodeRoots(k.Chain)), PrivateKey: private,
	})
}

// newestRoot returns the root that can still issue keys, or nil.
func newestRoot(ctx context.Context, tx jobs.Tx) (*bundle.Authority, error) {
	roots, err := tx.SigningRoots(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(roots) {
		if r.PrivateKey == "" {
			continue
		}
		private, err := decodeKey(r.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("signing root %s: %w", r.ID, err)
		}
		certs, err := bundle.ParseRoots([]byte(r.Certificate))
		if err != nil || len(certs) != 1 {
			return nil, fmt.Errorf("signing root %s: %w", r.ID, err)
		}
		return &bundle.Authority{Private: private, Root: certs[0]}, nil
	}
	return nil, nil
}

func loadKey(k packaging.SigningKey) (*bundle.Key, error) {
	chain, err := bundle.ParseRoots([]byte(k.Certificate))
	if err != nil {
		return nil, err
	}
	private, err := decodeKey(k.PrivateKey)
	if err != nil {
		return nil, err
	}
	return &bundle.Key{Private: private, Chain: chain}, nil
}

func rootID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:8])
}

const keyType = "PRIVATE KEY"

func encodeKey(k ed25519.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der})), nil
}

func decodeKey(text string) (ed25519.PrivateKey, error) {
	p, _ := pem.Decode([]byte(text))
	if p == nil || p.Type != keyType {
		return nil, errors.New("its private key is not there")
	}
	k, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("its private key is not an Ed25519 key")
	}
	return private, nil
}
