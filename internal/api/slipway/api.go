// Package slipway serves the operations that the SageMaker API lacks: what
// became of a deployment, what one would do, and stepping in while it runs.
// They are spoken like the SageMaker API's (AWS JSON 1.1, signed for the service
// sagemaker) under the target prefix Slipway. It turns structures into the
// domain's, makes one call down, and turns the answer back; deciding is not its
// job.
package slipway

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// Service returns the table of the operations. What PlanUpdateEndpoint takes
// is the very structure that UpdateEndpoint takes.
func Service() *shape.Service {
	s := *slipway.API()
	s.Operations = slices.Clone(s.Operations)
	s.Operation("PlanUpdateEndpoint").Input = sagemaker.UpdateEndpointInput{}.Shape()
	return &s
}

// Services are what the operations call.
type Services struct {
	Control   *control.Control
	Fleet     *fleet.Service
	Packaging *packaging.Service
	Identity  *identity.Service
}

// NewHandler serves the operations over the services. It expects the caller in
// the request's context (access.With).
func NewHandler(s Services, log *slog.Logger) *rpc.Handler {
	a := &api{s.Control, s.Fleet, s.Packaging, s.Identity}
	return rpc.NewHandler(
		rpc.Config{Service: Service(), Protocols: []rpc.Speaker{awsjson.New}, Errors: awserr.SageMaker, Log: log},
		rpc.Bind("ListDeployments", a.listDeployments),
		rpc.Bind("DescribeDeployment", a.describeDeployment),
		rpc.Bind("DescribeGates", a.describeGates),
		rpc.Bind("PlanUpdateEndpoint", a.planUpdateEndpoint),
		rpc.Bind("PauseDeployment", a.order("PauseDeployment", rollout.Pause)),
		rpc.Bind("ResumeDeployment", a.order("ResumeDeployment", rollout.Resume)),
		rpc.Bind("PromoteDeployment", a.order("PromoteDeployment", rollout.Promote)),
		rpc.Bind("AbortDeployment", a.order("AbortDeployment", rollout.Abort)),
		rpc.Bind("SetEdgePolicy", a.setEdgePolicy),
		rpc.Bind("DescribeEdgeDeployment", a.describeEdgeDeployment),
		rpc.Bind("SetEdgePackageFloor", a.setPackageFloor),
		rpc.Bind("CreateSigningKey", a.createSigningKey),
		rpc.Bind("ListSigningKeys", a.listSigningKeys),
		rpc.Bind("RotateSigningKey", a.rotateSigningKey),
		rpc.Bind("CreateDeviceEnrollment", a.createEnrollment),
		rpc.Bind("ListDeviceIdentities", a.listIdentities),
		rpc.Bind("RevokeDevice", a.revokeDevice),
	)
}

type api struct {
	ctl    *control.Control
	fleets *fleet.Service
	jobs   *packaging.Service
	ids    *identity.Service
}

// caller returns who calls, if they may do op to the endpoint.
func caller(ctx context.Context, op, endpoint string) (access.Caller, error) {
	return access.Authorize(ctx, "slipway:"+op, func(s arn.Scope) string { return s.Endpoint(endpoint) })
}

func (a *api) listDeployments(
	ctx context.Context, in slipway.ListDeploymentsInput,
) (out slipway.ListDeploymentsOutput, err error) {
	c, err := caller(ctx, "ListDeployments", *in.EndpointName)
	if err != nil {
		return out, err
	}
	pages, after, err := page.Open[record.Cursor]("ListDeployments", c.Scope(), *in.EndpointName, in.NextToken)
	if err != nil {
		return out, err
	}
	p := record.Page{Limit: int(cmp.Or(shape.Val(in.MaxResults), 10)), After: after}
	rs, more, err := a.ctl.Deployments(ctx, c.Scope(), *in.EndpointName, p)
	if err != nil {
		return out, err
	}
	for _, r := range rs {
		out.Deployments = append(out.Deployments, summary(r))
	}
	if more {
		out.NextToken = pages.Next(rs[len(rs)-1].Cursor())
	}
	if in.NextToken == nil { // they do not belong to a page
		events, err := a.ctl.Events(ctx, c.Scope(), *in.EndpointName, p.Limit)
		if err != nil {
			return out, err
		}
		out.Events = eventsOf(events)
	}
	return out, nil
}

func (a *api) describeDeployment(
	ctx context.Context, in slipway.DescribeDeploymentInput,
) (out slipway.DescribeDeploymentOutput, err error) {
	c, err := access.From(ctx)
	if err != nil {
		return out, err
	}
	r, err := a.ctl.Deployment(ctx, c.Scope(), hosting.DeploymentID(*in.DeploymentId))
	if err != nil {
		return out, err
	}
	if _, err := caller(ctx, "DescribeDeployment", r.Name); err != nil {
		return out, err
	}
	out = detail(r, time.Now())
	trouble, err := a.ctl.OldTrouble(ctx, c.Scope(), r)
	out.PreviousFleetTrouble = shape.Text(trouble)
	return out, err
}

func (a *api) planUpdateEndpoint(
	ctx context.Context, in sagemaker.UpdateEndpointInput,
) (out slipway.PlanUpdateEndpointOutput, err error) {
	u, err := hostingapi.Update(ctx, "PlanUpdateEndpoint", in)
	if err != nil {
		return out, err
	}
	p, err := a.ctl.PlanUpdate(ctx, u)
	if err != nil {
		return out, err
	}
	e := p.Endpoint
	out = slipway.PlanUpdateEndpointOutput{
		EndpointName: &e.Name, EndpointArn: new(e.ARN()), PreviousEndpointConfigName: &e.ConfigName,
		EndpointConfigName: new(e.Deployment.To()), Plan: plan(p.Forecast, true),
	}
	for _, f := range p.Findings {
		out.Findings = append(
			out.Findings, slipway.Finding{Severity: new(string(f.Severity)), Code: &f.Code, Message: &f.Message},
		)
	}
	return out, nil
}

// order returns the operation that tells a deployment in progress something.
func (a *api) order(op string, v rollout.Verb) func(context.Context, slipway.OrderInput) (slipway.OrderOutput, error) {
	return func(ctx context.Context, in slipway.OrderInput) (out slipway.OrderOutput, err error) {
		c, err := caller(ctx, op, *in.EndpointName)
		if err != nil {
			return out, err
		}
		endpoint, id, err := a.ctl.Order(
			ctx, control.OrderInput{Scope: c.Scope(), Name: *in.EndpointName, Verb: v, By: c.ARN},
		)
		return slipway.OrderOutput{EndpointArn: &endpoint, DeploymentId: new(string(id))}, err
	}
}
