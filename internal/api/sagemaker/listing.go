package sagemaker

import (
	"cmp"
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/wire/page"
)

// listing is one page that a List operation asks for.
type listing struct {
	scope  arn.Scope
	filter hosting.Filter
	pages  page.Pages[hosting.Cursor]
}

// newListing checks the token of a List operation against its filter, which
// has everything else of the request in it.
func newListing(ctx context.Context, op, kind string, token *string, f hosting.Filter) (listing, error) {
	s, err := scopeOfAll(ctx, op, kind)
	if err != nil {
		return listing{}, err
	}
	f.SortBy, f.Limit = cmp.Or(f.SortBy, hosting.ByCreationTime), cmp.Or(f.Limit, 10)
	same := f
	same.Limit = 0 // the page size may change from page to page
	pages, after, err := page.Open[hosting.Cursor](op, s, same, token)
	f.After = after
	return listing{s, f, pages}, err
}

// token is the NextToken after a page; absent if no more rows follow.
func (l listing) token(sums []hosting.Summary, more bool) *string {
	if !more || len(sums) == 0 {
		return nil
	}
	return l.pages.Next(l.filter.Cursor(sums[len(sums)-1]))
}
