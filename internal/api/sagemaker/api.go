// Package sagemaker serves the control plane's hosting operations: it turns the
// API's structures into the domain's, makes one call down, and turns the answer
// back (behaviour specification §2). What may be asked of a model or an
// endpoint is not its job: package hosting decides that.
package sagemaker

import (
	"context"
	"log/slog"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

// NewHandler serves the operations of ctl, and more of other parts, as AWS JSON
// 1.1. It expects the caller in the request's context (access.With). Instance
// types are accepted beyond those that the API knows.
func NewHandler(ctl *control.Control, log *slog.Logger, more []rpc.Op, instanceTypes ...string) *rpc.Handler {
	a := &api{ctl}
	return rpc.NewHandler(
		rpc.Config{
			Service: sagemaker.API(), Protocols: []rpc.Speaker{awsjson.New}, Errors: awserr.SageMaker, Log: log,
			Enums: shape.Enums{"ProductionVariantInstanceType": instanceTypes},
		},
		slices.Concat(more, []rpc.Op{
			rpc.Bind("CreateModel", a.createModel),
			rpc.Bind("DescribeModel", a.describeModel),
			rpc.Bind("ListModels", a.listModels),
			rpc.Bind("DeleteModel", a.deleteModel),
			rpc.Bind("CreateEndpointConfig", a.createEndpointConfig),
			rpc.Bind("DescribeEndpointConfig", a.describeEndpointConfig),
			rpc.Bind("ListEndpointConfigs", a.listEndpointConfigs),
			rpc.Bind("DeleteEndpointConfig", a.deleteEndpointConfig),
			rpc.Bind("CreateEndpoint", a.createEndpoint),
			rpc.Bind("DescribeEndpoint", a.describeEndpoint),
			rpc.Bind("ListEndpoints", a.listEndpoints),
			rpc.Bind("UpdateEndpoint", a.updateEndpoint),
			rpc.Bind("UpdateEndpointWeightsAndCapacities", a.updateWeights),
			rpc.Bind("DeleteEndpoint", a.deleteEndpoint),
			rpc.Bind("AddTags", a.addTags),
			rpc.Bind("ListTags", a.listTags),
			rpc.Bind("DeleteTags", a.deleteTags),
		})...,
	)
}

type api struct{ ctl *control.Control }

// Scope returns where the caller's names live, if the caller may do op to the
// resource of that kind and name.
func Scope(ctx context.Context, op, kind, name string) (arn.Scope, error) {
	return access.Scope(ctx, "sagemaker:"+op, func(s arn.Scope) string { return s.SageMaker(kind, name) })
}

// by is the ARN of who calls, "" if it is not known.
func by(ctx context.Context) string {
	c, _ := access.From(ctx)
	return c.ARN
}

// scopeOfAll is Scope for an operation on all resources of a kind.
func scopeOfAll(ctx context.Context, op, kind string) (arn.Scope, error) {
	return Scope(ctx, op, kind, "*")
}
