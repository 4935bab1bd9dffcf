// Package jobs serves the compilation and edge packaging jobs of the SageMaker
// API (edge spec §2.12–2.15, §2.25–2.28): it turns the API's structures into the
// domain's, makes one call down, and turns the answer back. What a job may do
// is not its job.
package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

// Ops returns the operations on jobs. They expect the caller in the request's
// context (access.With).
func Ops(s *packaging.Service) []awsjson.Op {
	a := &api{s}
	return []awsjson.Op{
		awsjson.Bind("CreateCompilationJob", a.createCompilation),
		awsjson.Bind("DescribeCompilationJob", a.describeCompilation),
		awsjson.Bind("ListCompilationJobs", a.listCompilations),
		awsjson.Bind("StopCompilationJob", a.stopCompilation),
		awsjson.Bind("DeleteCompilationJob", a.deleteCompilation),
		awsjson.Bind("CreateEdgePackagingJob", a.createPackaging),
		awsjson.Bind("DescribeEdgePackagingJob", a.describePackaging),
		awsjson.Bind("ListEdgePackagingJobs", a.listPackagings),
		awsjson.Bind("StopEdgePackagingJob", a.stopPackaging),
	}
}

type api struct{ jobs *packaging.Service }

// scope returns where the caller's names live, if the caller may do op to the
// job of that kind and name.
func scope(ctx context.Context, op, kind, name string) (arn.Scope, error) {
	return access.Scope(ctx, "sagemaker:"+op, func(s arn.Scope) string { return s.SageMaker(kind, name) })
}

// when is t for the wire, and absent if it has not come.
func when(t time.Time) *shape.Time {
	if t.IsZero() {
		return nil
	}
	return shape.At(t)
}

func tags(in []sagemaker.Tag) (out []hosting.Tag) {
	for _, t := range in {
		out = append(out, hosting.Tag{Key: shape.Val(t.Key), Value: shape.Val(t.Value)})
	}
	return out
}

// echo keeps a request, to be echoed.
func echo(in shape.Value) []byte { return shape.Append(nil, in) }

// stored decodes a request that was accepted once. That it cannot be read is
// not the caller's mistake, so the cause must not pass for one.
func stored(doc []byte, into shape.Value) error {
	if err := shape.Decode(doc, into); err != nil {
		return fmt.Errorf("decode a stored %s: %v", into.Shape().Name, err)
	}
	return nil
}

// listing answers one page of a listing.
type listing struct {
	jobs []*domain.Job
	next *string
}

// defaultPage is how many jobs a page has unless the request says (spec §1.6).
const defaultPage = 100

func (a *api) list(ctx context.Context, op, kind string, f domain.Filter, token *string, most *int32) (l listing, err error) {
	s, err := scope(ctx, op, kind, "*")
	if err != nil {
		return l, err
	}
	pages, err := page.Of[domain.Cursor](op, s, f)
	if err != nil {
		return l, err
	}
	if f.After, err = pages.After(token); err != nil {
		return l, err
	}
	f.Limit = defaultPage
	if most != nil {
		if *most < 1 {
			// The model has no least value for packaging jobs.
			return l, fault.New(fault.Invalid, "1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1", *most)
		}
		f.Limit = int(*most)
	}
	js, more, err := a.jobs.List(ctx, s, f)
	if err != nil {
		return l, err
	}
	l.jobs = js
	if more && len(js) > 0 {
		l.next = pages.Next(f.Cursor(js[len(js)-1]))
	}
	return l, nil
}
