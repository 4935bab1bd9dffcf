package iot

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

// version is the one version that a policy has.
const version = "1"

func (a *api) createPolicy(ctx context.Context, in iot.CreatePolicyRequest) (out iot.CreatePolicyResponse, err error) {
	s, err := scope(ctx, "CreatePolicy", policy(*in.PolicyName))
	if err != nil {
		return out, err
	}
	p := trust.Policy{Scope: s, Name: *in.PolicyName, Document: *in.PolicyDocument}
	err = a.ids.CreatePolicy(ctx, p, tags.In(in.Tags))
	return iot.CreatePolicyResponse{
		PolicyName: &p.Name, PolicyArn: new(p.ARN()), PolicyDocument: &p.Document, PolicyVersionId: new(version),
	}, declared(err)
}

func (a *api) getPolicy(ctx context.Context, in iot.GetPolicyRequest) (out iot.GetPolicyResponse, err error) {
	s, err := scope(ctx, "GetPolicy", policy(*in.PolicyName))
	if err != nil {
		return out, err
	}
	p, err := a.ids.Policy(ctx, s, *in.PolicyName)
	return iot.GetPolicyResponse{
		PolicyName: &p.Name, PolicyArn: new(p.ARN()), PolicyDocument: &p.Document, DefaultVersionId: new(version),
		CreationDate: shape.At(p.Created), LastModifiedDate: shape.At(p.Created),
	}, err
}

func (a *api) deletePolicy(ctx context.Context, in iot.DeletePolicyRequest) (out shape.None, err error) {
	s, err := scope(ctx, "DeletePolicy", policy(*in.PolicyName))
	if err != nil {
		return out, err
	}
	return out, a.ids.DeletePolicy(ctx, s, *in.PolicyName)
}

func (a *api) attachPolicy(ctx context.Context, in iot.AttachPolicyRequest) (out shape.None, err error) {
	s, err := scope(ctx, "AttachPolicy", named(*in.Target))
	if err != nil {
		return out, err
	}
	return out, a.ids.AttachPolicy(ctx, s, *in.PolicyName, *in.Target)
}

func (a *api) detachPolicy(ctx context.Context, in iot.DetachPolicyRequest) (out shape.None, err error) {
	s, err := scope(ctx, "DetachPolicy", named(*in.Target))
	if err != nil {
		return out, err
	}
	return out, a.ids.DetachPolicy(ctx, s, *in.PolicyName, *in.Target)
}

func (a *api) listTargetsForPolicy(
	ctx context.Context, in iot.ListTargetsForPolicyRequest,
) (out iot.ListTargetsForPolicyResponse, err error) {
	s, err := scope(ctx, "ListTargetsForPolicy", policy(*in.PolicyName))
	if err != nil {
		return out, err
	}
	p, err := openMarked("ListTargetsForPolicy", s, *in.PolicyName, in.Marker, in.PageSize)
	if err != nil {
		return out, err
	}
	names, err := a.ids.PolicyTargets(ctx, s, *in.PolicyName, p.after, p.limit+1)
	names, next := cutNames(p, names)
	return iot.ListTargetsForPolicyResponse{Targets: names, NextMarker: marker(next)}, err
}

func (a *api) createRoleAlias(
	ctx context.Context, in iot.CreateRoleAliasRequest,
) (out iot.CreateRoleAliasResponse, err error) {
	s, err := scope(ctx, "CreateRoleAlias", alias(*in.RoleAlias))
	if err != nil {
		return out, err
	}
	r := trust.RoleAlias{
		Scope: s, Name: *in.RoleAlias, RoleARN: *in.RoleArn, Duration: shape.SecondsOf(in.CredentialDurationSeconds),
	}
	err = a.ids.CreateRoleAlias(ctx, r, tags.In(in.Tags))
	return iot.CreateRoleAliasResponse{RoleAlias: &r.Name, RoleAliasArn: new(r.ARN())}, declared(err)
}

func (a *api) describeRoleAlias(
	ctx context.Context, in iot.DescribeRoleAliasRequest,
) (out iot.DescribeRoleAliasResponse, err error) {
	s, err := scope(ctx, "DescribeRoleAlias", alias(*in.RoleAlias))
	if err != nil {
		return out, err
	}
	r, err := a.ids.RoleAlias(ctx, s, *in.RoleAlias)
	out.RoleAliasDescription = &iot.RoleAliasDescription{
		RoleAlias: &r.Name, RoleAliasArn: new(r.ARN()), RoleArn: &r.RoleARN, Owner: &s.Account,
		CredentialDurationSeconds: new(int32(r.Duration / time.Second)), CreationDate: shape.At(r.Created),
		LastModifiedDate: shape.At(r.Modified),
	}
	return out, err
}

func (a *api) updateRoleAlias(
	ctx context.Context, in iot.UpdateRoleAliasRequest,
) (out iot.UpdateRoleAliasResponse, err error) {
	s, err := scope(ctx, "UpdateRoleAlias", alias(*in.RoleAlias))
	if err != nil {
		return out, err
	}
	r, err := a.ids.UpdateRoleAlias(
		ctx, s, *in.RoleAlias, shape.Val(in.RoleArn), shape.SecondsOf(in.CredentialDurationSeconds),
	)
	return iot.UpdateRoleAliasResponse{RoleAlias: &r.Name, RoleAliasArn: new(r.ARN())}, err
}

func (a *api) deleteRoleAlias(
	ctx context.Context, in iot.DeleteRoleAliasRequest,
) (out iot.DeleteRoleAliasResponse, err error) {
	s, err := scope(ctx, "DeleteRoleAlias", alias(*in.RoleAlias))
	if err != nil {
		return out, err
	}
	return out, a.ids.DeleteRoleAlias(ctx, s, *in.RoleAlias)
}

func (a *api) listRoleAliases(
	ctx context.Context, in iot.ListRoleAliasesRequest,
) (out iot.ListRoleAliasesResponse, err error) {
	s, err := scope(ctx, "ListRoleAliases", access.Everything)
	if err != nil {
		return out, err
	}
	up := shape.Val(in.AscendingOrder)
	p, err := openMarked("ListRoleAliases", s, up, in.Marker, in.PageSize)
	if err != nil {
		return out, err
	}
	names, err := a.ids.RoleAliases(ctx, s, p.after, up, p.limit+1)
	names, next := cutNames(p, names)
	return iot.ListRoleAliasesResponse{RoleAliases: names, NextMarker: marker(next)}, err
}
