// Package iot serves the part of the AWS IoT API that provisioning devices for
// SageMaker Edge Manager takes (edge spec §5.3): it turns the API's structures
// into the domain's, makes one call down, and turns the answer back. What a
// certificate allows, and giving out credentials, is not its job.
package iot

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/restjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
)

// NewHandler serves the operations over ids. It expects the caller in the
// request's context (access.With).
func NewHandler(ids *identity.Service, log *slog.Logger) *rpc.Handler {
	a := &api{ids}
	return rpc.NewHandler(
		rpc.Config{Service: iot.API(), Protocols: []rpc.Speaker{restjson.New}, Errors: awserr.IoT, Log: log},
		rpc.Bind("CreateThingType", a.createThingType),
		rpc.Bind("DescribeThingType", a.describeThingType),
		rpc.Bind("CreateThing", a.createThing),
		rpc.Bind("DescribeThing", a.describeThing),
		rpc.Bind("DeleteThing", a.deleteThing),
		rpc.Bind("ListThings", a.listThings),
		rpc.Bind("CreateKeysAndCertificate", a.createKeysAndCertificate),
		rpc.Bind("DescribeCertificate", a.describeCertificate),
		rpc.Bind("UpdateCertificate", a.updateCertificate),
		rpc.Bind("DeleteCertificate", a.deleteCertificate),
		rpc.Bind("AttachThingPrincipal", a.attachThingPrincipal),
		rpc.Bind("DetachThingPrincipal", a.detachThingPrincipal),
		rpc.Bind("ListThingPrincipals", a.listThingPrincipals),
		rpc.Bind("ListPrincipalThings", a.listPrincipalThings),
		rpc.Bind("CreatePolicy", a.createPolicy),
		rpc.Bind("GetPolicy", a.getPolicy),
		rpc.Bind("DeletePolicy", a.deletePolicy),
		rpc.Bind("AttachPolicy", a.attachPolicy),
		rpc.Bind("DetachPolicy", a.detachPolicy),
		rpc.Bind("ListTargetsForPolicy", a.listTargetsForPolicy),
		rpc.Bind("CreateRoleAlias", a.createRoleAlias),
		rpc.Bind("DescribeRoleAlias", a.describeRoleAlias),
		rpc.Bind("UpdateRoleAlias", a.updateRoleAlias),
		rpc.Bind("DeleteRoleAlias", a.deleteRoleAlias),
		rpc.Bind("ListRoleAliases", a.listRoleAliases),
		rpc.Bind("DescribeEndpoint", a.describeEndpoint),
	)
}

type api struct{ ids *identity.Service }

// scope returns where the caller's names live, if the caller may do op to the
// resource, which is named from the scope on.
func scope(ctx context.Context, op string, resource func(arn.Scope) string) (arn.Scope, error) {
	return access.Scope(ctx, "iot:"+op, resource)
}

func thing(name string) func(arn.Scope) string {
	return func(s arn.Scope) string { return trust.Thing{Scope: s, Name: name}.ARN() }
}

func thingType(name string) func(arn.Scope) string {
	return func(s arn.Scope) string { return trust.ThingType{Scope: s, Name: name}.ARN() }
}

func certificate(id string) func(arn.Scope) string {
	return func(s arn.Scope) string { return trust.CertificateARN(s, identity.CanonicalID(id)) }
}

func policy(name string) func(arn.Scope) string {
	return func(s arn.Scope) string { return trust.Policy{Scope: s, Name: name}.ARN() }
}

func alias(name string) func(arn.Scope) string {
	return func(s arn.Scope) string { return trust.AliasARN(s, name) }
}

// named is the resource that the request itself names by its ARN.
func named(resource string) func(arn.Scope) string {
	return func(arn.Scope) string { return resource }
}

// declared gives a refusal the members and the name that the model has for it,
// where its kind does not tell.
func declared(err error) error {
	_, sentence := fault.Public(err)
	if t, ok := errors.AsType[*identity.Taken](err); ok {
		return &awserr.Error{
			Code: "ResourceAlreadyExistsException", Status: http.StatusConflict, Message: sentence,
			Members: map[string]any{"resourceId": t.ID, "resourceArn": t.ARN},
		}
	}
	if errors.Is(err, trust.ErrMalformed) {
		return &awserr.Error{Code: "MalformedPolicyException", Status: http.StatusBadRequest, Message: sentence}
	}
	return err
}

// describeEndpoint tells where the device listener is. Both of the kinds that
// provisioning tools ask for are there; others are not served.
func (a *api) describeEndpoint(
	ctx context.Context, in iot.DescribeEndpointRequest,
) (out iot.DescribeEndpointResponse, err error) {
	if _, err := scope(ctx, "DescribeEndpoint", access.Everything); err != nil {
		return out, err
	}
	switch kind := shape.Val(in.EndpointType); kind {
	case "", "iot:Data", "iot:Data-ATS", "iot:CredentialProvider":
	default:
		return out, fault.New(
			fault.Invalid,
			"The endpoint type is not one of iot:CredentialProvider, iot:Data-ATS and iot:Data, which are served.",
		)
	}
	at := a.ids.Endpoint()
	if at == "" {
		return out, fault.New(fault.Invalid, "There is no endpoint for devices: the device listener is off.")
	}
	out.EndpointAddress = &at
	return out, nil
}
