package iot

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
)

func (a *api) createKeysAndCertificate(
	ctx context.Context, in iot.CreateKeysAndCertificateRequest,
) (out iot.CreateKeysAndCertificateResponse, err error) {
	s, err := scope(ctx, "CreateKeysAndCertificate", access.Everything)
	if err != nil {
		return out, err
	}
	k, err := a.ids.CreateKeysAndCertificate(ctx, s, shape.Val(in.SetAsActive))
	return iot.CreateKeysAndCertificateResponse{
		CertificateArn: new(k.ARN()), CertificateId: &k.ID, CertificatePem: &k.PEM,
		KeyPair: &iot.KeyPair{PublicKey: &k.Public, PrivateKey: &k.Private},
	}, err
}

func (a *api) describeCertificate(
	ctx context.Context, in iot.DescribeCertificateRequest,
) (out iot.DescribeCertificateResponse, err error) {
	s, err := scope(ctx, "DescribeCertificate", certificate(*in.CertificateId))
	if err != nil {
		return out, err
	}
	c, err := a.ids.Certificate(ctx, s, *in.CertificateId)
	out.CertificateDescription = &iot.CertificateDescription{
		CertificateArn: new(c.ARN()), CertificateId: &c.ID, Status: new(iot.CertificateStatus(c.Status)),
		CertificatePem: &c.PEM,
		OwnedBy:        &s.Account, CreationDate: shape.At(c.Created), LastModifiedDate: shape.At(c.Modified),
		CustomerVersion: new(int32(1)),
		Validity:        &iot.CertificateValidity{NotBefore: shape.At(c.NotBefore), NotAfter: shape.At(c.NotAfter)},
		CertificateMode: new(iot.CertificateModeDefault),
	}
	return out, err
}

func (a *api) updateCertificate(ctx context.Context, in iot.UpdateCertificateRequest) (out shape.None, err error) {
	s, err := scope(ctx, "UpdateCertificate", certificate(*in.CertificateId))
	if err != nil {
		return out, err
	}
	return out, a.ids.SetStatus(ctx, s, *in.CertificateId, trust.Status(*in.NewStatus))
}

func (a *api) deleteCertificate(ctx context.Context, in iot.DeleteCertificateRequest) (out shape.None, err error) {
	s, err := scope(ctx, "DeleteCertificate", certificate(*in.CertificateId))
	if err != nil {
		return out, err
	}
	return out, a.ids.DeleteCertificate(ctx, s, *in.CertificateId, shape.Val(in.ForceDelete))
}

func (a *api) attachThingPrincipal(
	ctx context.Context, in iot.AttachThingPrincipalRequest,
) (out iot.AttachThingPrincipalResponse, err error) {
	s, err := scope(ctx, "AttachThingPrincipal", thing(*in.ThingName))
	if err != nil {
		return out, err
	}
	if shape.Val(in.ThingPrincipalType) == iot.ThingPrincipalTypeExclusiveThing {
		return out, awserr.Unsupported("thingPrincipalType EXCLUSIVE_THING")
	}
	return out, a.ids.AttachThing(ctx, s, *in.ThingName, *in.Principal)
}

func (a *api) detachThingPrincipal(
	ctx context.Context, in iot.DetachThingPrincipalRequest,
) (out iot.DetachThingPrincipalResponse, err error) {
	s, err := scope(ctx, "DetachThingPrincipal", thing(*in.ThingName))
	if err != nil {
		return out, err
	}
	return out, a.ids.DetachThing(ctx, s, *in.ThingName, *in.Principal)
}

func (a *api) listThingPrincipals(
	ctx context.Context, in iot.ListThingPrincipalsRequest,
) (out iot.ListThingPrincipalsResponse, err error) {
	s, err := scope(ctx, "ListThingPrincipals", thing(*in.ThingName))
	if err != nil {
		return out, err
	}
	p, err := open("ListThingPrincipals", s, *in.ThingName, in.NextToken, in.MaxResults)
	if err != nil {
		return out, err
	}
	names, err := a.ids.ThingCertificates(ctx, s, *in.ThingName, p.after, p.limit+1)
	out.Principals, out.NextToken = cutNames(p, names)
	return out, err
}

func (a *api) listPrincipalThings(
	ctx context.Context, in iot.ListPrincipalThingsRequest,
) (out iot.ListPrincipalThingsResponse, err error) {
	s, err := scope(ctx, "ListPrincipalThings", named(*in.Principal))
	if err != nil {
		return out, err
	}
	p, err := open("ListPrincipalThings", s, *in.Principal, in.NextToken, in.MaxResults)
	if err != nil {
		return out, err
	}
	names, err := a.ids.CertificateThings(ctx, s, *in.Principal, p.after, p.limit+1)
	out.Things, out.NextToken = cutNames(p, names)
	return out, err
}
