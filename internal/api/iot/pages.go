package iot

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// pageSize is how long a page is unless the request says otherwise, and the
// longest that the API lets it be.
const pageSize = 250

// listing is one page of a listing by name.
type listing struct {
	pages page.Pages[string]
	after string // the last name of the page before
	limit int
}

func open(op string, s arn.Scope, filter any, token *string, size *int32) (l listing, err error) {
	l.limit = pageSize
	if size != nil {
		l.limit = int(*size)
	}
	l.pages, l.after, err = page.Open[string](op, s, filter, token)
	return l, err
}

// openMarked is open for the operations whose tokens are markers.
func openMarked(op string, s arn.Scope, filter any, marker *string, size *int32) (listing, error) {
	if marker != nil {
		marker = new(strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(*marker), "="))
	}
	return open(op, s, filter, marker, size)
}

// cut returns the rows of a page for which one row more than its limit was
// read, and the token of the next.
func cut[T any](l listing, rows []T, name func(T) string) ([]T, *string) {
	if len(rows) <= l.limit {
		return rows, nil
	}
	rows = rows[:l.limit]
	return rows, l.pages.Next(name(rows[l.limit-1]))
}

// cutNames is cut for names.
func cutNames(l listing, names []string) ([]string, *string) {
	names, next := cut(l, names, func(s string) string { return s })
	return shape.Present(names), next
}

// marker is a token as a marker, which has another alphabet.
func marker(token *string) *string {
	if token == nil {
		return nil
	}
	return new(strings.NewReplacer("-", "+", "_", "/").Replace(*token))
}
