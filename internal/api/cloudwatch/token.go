package cloudwatch

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/slipway-ml/slipway/internal/wire/shape"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// pager makes and reads the tokens of one listing. A token holds where the page
// before ended, and a digest of the request that it was made for. It needs no
// secret: it only says where to go on in what the caller may list.
type pager struct{ bound []byte }

// newPager binds tokens to an operation, the scope and the request, from which
// the token itself and the page size must be left out.
func newPager(op string, s arn.Scope, request any) (pager, error) {
	key, err := json.Marshal([]any{op, s, request})
	if err != nil {
		return pager{}, fmt.Errorf("encode a request: %w", err)
	}
	sum := sha256.Sum256(key)
	return pager{sum[:12]}, nil
}

type token struct {
	After json.RawMessage `json:"a"`
	Bound []byte          `json:"b"`
}

// read sets after to where a token's page begins, and leaves it alone if there
// is no token. It reports whether the token is one of this listing.
func (p pager) read(s *string, after any) bool {
	if shape.Val(s) == "" {
		return true
	}
	var t token
	b, err := base64.RawURLEncoding.DecodeString(*s)
	if err != nil || json.Unmarshal(b, &t) != nil || string(t.Bound) != string(p.bound) {
		return false
	}
	return json.Unmarshal(t.After, after) == nil
}

// next is the token of the page that begins after what is given.
func (p pager) next(after any) (*string, error) {
	a, err := json.Marshal(after)
	if err != nil {
		return nil, fmt.Errorf("encode a position: %w", err)
	}
	b, err := json.Marshal(token{After: a, Bound: p.bound})
	if err != nil {
		return nil, fmt.Errorf("encode a token: %w", err)
	}
	return new(base64.RawURLEncoding.EncodeToString(b)), nil
}

const badToken = "The token that was given is invalid."
