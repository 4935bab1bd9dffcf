// Package jobs serves the compilation and edge packaging jobs of the SageMaker
// API (edge spec §2.12–2.15, §2.25–2.28): it turns the API's structures into the
// domain's, makes one call down, and turns the answer back. What a job may do
// is not its job.
package jobs

import (
	"context"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
)

// Ops returns the operations on jobs. They expect the caller in the request's
// context (access.With).
func Ops(s *packaging.Service) []rpc.Op {
	a := &api{s}
	return []rpc.Op{
		rpc.Bind("CreateCompilationJob", a.createCompilation),
		rpc.Bind("DescribeCompilationJob", a.describeCompilation),
		rpc.Bind("ListCompilationJobs", a.listCompilations),
		rpc.Bind("StopCompilationJob", a.stopCompilation),
		rpc.Bind("DeleteCompilationJob", a.deleteCompilation),
		rpc.Bind("CreateEdgePackagingJob", a.createPackaging),
		rpc.Bind("DescribeEdgePackagingJob", a.describePackaging),
		rpc.Bind("ListEdgePackagingJobs", a.listPackagings),
		rpc.Bind("StopEdgePackagingJob", a.stopPackaging),
	}
}

type api struct{ jobs *packaging.Service }

// listing answers one page of a listing.
type listing struct {
	jobs []*domain.Job
	next *string
}

// defaultPage is how many jobs a page has unless the request says (spec §1.6).
const defaultPage = 100

func (a *api) list(
	ctx context.Context, op, kind string, f domain.Filter, token *string, most *int32,
) (l listing, err error) {
	s, err := hostingapi.Scope(ctx, op, kind, "*")
	if err != nil {
		return l, err
	}
	pages, after, err := page.Open[domain.Cursor](op, s, f, token)
	if err != nil {
		return l, err
	}
	f.After = after
	f.Limit = defaultPage
	if most != nil {
		if *most < 1 {
			// The model has no least value for packaging jobs.
			return l, fault.New(
				fault.Invalid,
				"1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must "+
					"have value greater than or equal to 1",
				*most,
			)
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
