package sagemaker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// listing is one page that a List operation asks for.
type listing struct {
	scope  arn.Scope
	filter hosting.Filter
	bound  []byte // what the page's token is good for
}

// page is what a token holds: where the page before ended, and a digest of the
// operation, the scope, the filter and the order that it was made for. Tokens
// need no secret: they only say where to go on in what the caller may list.
type page struct {
	Cursor hosting.Cursor `json:"c"`
	Bound  []byte         `json:"b"`
}

// newListing checks the token of a List operation against its filter, which
// has everything else of the request in it.
func newListing(ctx context.Context, op, kind string, token *string, f hosting.Filter) (listing, error) {
	s, err := scopeOfAll(ctx, op, kind)
	if err != nil {
		return listing{}, err
	}
	if f.SortBy == "" {
		f.SortBy = hosting.ByCreationTime
	}
	if f.Limit == 0 {
		f.Limit = 10
	}
	same := f
	same.Limit = 0 // the page size may change from page to page
	key, err := json.Marshal([]any{op, s, same})
	if err != nil {
		return listing{}, fmt.Errorf("encode filter: %w", err)
	}
	sum := sha256.Sum256(key)
	l := listing{scope: s, filter: f, bound: sum[:12]}
	if val(token) == "" {
		return l, nil
	}
	var p page
	b, err := base64.RawURLEncoding.DecodeString(*token)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || string(p.Bound) != string(l.bound) || p.Cursor.Name == "" {
		return listing{}, badToken().Because(err)
	}
	l.filter.After = p.Cursor
	return l, nil
}

func badToken() *fault.Error { return fault.New(fault.Invalid, "Invalid pagination token.") }

// token is the NextToken after a page; absent if no more rows follow.
func (l listing) token(sums []hosting.Summary, more bool) *string {
	if !more || len(sums) == 0 {
		return nil
	}
	b, err := json.Marshal(page{l.filter.Cursor(sums[len(sums)-1]), l.bound})
	if err != nil {
		return nil // strings and numbers: it cannot fail
	}
	return new(base64.RawURLEncoding.EncodeToString(b))
}

// at is t for the domain; the zero time if it was absent.
func at(t *shape.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
