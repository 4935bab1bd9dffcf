// Package page makes and reads the NextToken of listings. A token holds where
// the page before ended and a digest of the request that it was made for, so
// that it fits no other (edge specification §1.6). It needs no secret: it only
// says where to go on in what the caller may list anyway.
//
// What a cursor means is not its job, nor is how many rows make a page.
package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Pages are the pages of one listing. C is the cursor: the sort value and the
// name of a page's last row, in fields that JSON can hold.
type Pages[C any] struct{ bound []byte }

// Of returns the pages of what op lists in a scope. The filter is everything
// else that was asked for, except for the token itself and the page size, which
// may change from page to page. It fails only if JSON cannot hold the filter.
func Of[C any](op string, s arn.Scope, filter any) (Pages[C], error) {
	key, err := json.Marshal([]any{op, s, filter})
	if err != nil {
		return Pages[C]{}, fmt.Errorf("encode a filter: %w", err)
	}
	sum := sha256.Sum256(key)
	return Pages[C]{sum[:12]}, nil
}

// Open is Of and After in one: the pages of a listing, and where the page that
// a token asks for begins.
func Open[C any](op string, s arn.Scope, filter any, next *string) (p Pages[C], after C, err error) {
	if p, err = Of[C](op, s, filter); err == nil {
		after, err = p.After(next)
	}
	return p, after, err
}

// token is what a NextToken is made of.
type token[C any] struct {
	Cursor *C     `json:"c"`
	Bound  []byte `json:"b"`
}

// After returns the cursor that a token holds: the zero one if there is no
// token. A token of another listing, or none at all, is a fault.Invalid.
func (p Pages[C]) After(next *string) (after C, err error) {
	if next == nil || *next == "" {
		return after, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*next)
	if err != nil {
		return after, Invalid().Because(err)
	}
	var t token[C]
	if err := json.Unmarshal(b, &t); err != nil {
		return after, Invalid().Because(err)
	}
	if t.Cursor == nil || !bytes.Equal(t.Bound, p.bound) {
		return after, Invalid()
	}
	return *t.Cursor, nil
}

// Next is the token of the page after one that ends with last. It panics on a
// cursor that JSON cannot hold.
func (p Pages[C]) Next(last C) *string {
	b, err := json.Marshal(token[C]{&last, p.bound})
	if err != nil {
		panic("page: " + err.Error())
	}
	return new(base64.RawURLEncoding.EncodeToString(b))
}

// Invalid is the refusal of a token.
func Invalid() *fault.Error { return fault.New(fault.Invalid, "Invalid pagination token.") }
