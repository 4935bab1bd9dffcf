package slipway

import (
	"cmp"
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// fleetCaller returns the caller's scope, if the caller may do op to a device
// of the fleet, or to all of them if device is "".
func fleetCaller(ctx context.Context, op, fleet, device string) (arn.Scope, error) {
	return access.Scope(ctx, "slipway:"+op, func(s arn.Scope) string {
		if device != "" {
			return s.Device(fleet, device)
		}
		return s.DeviceFleet(fleet)
	})
}

// usualTTL is how long a token is good unless the request says otherwise.
const usualTTL = time.Hour

func (a *api) createEnrollment(
	ctx context.Context, in slipway.CreateDeviceEnrollmentInput,
) (out slipway.CreateDeviceEnrollmentOutput, err error) {
	s, err := fleetCaller(ctx, "CreateDeviceEnrollment", *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	ttl := usualTTL
	if in.TtlInSeconds != nil {
		ttl = time.Duration(*in.TtlInSeconds) * time.Second
	}
	t, err := a.ids.Invite(ctx, s, *in.DeviceFleetName, *in.DeviceName, ttl)
	return slipway.CreateDeviceEnrollmentOutput{Token: new(t.String()), ExpirationTime: shape.At(t.Expires)}, err
}

func (a *api) listIdentities(
	ctx context.Context, in slipway.ListDeviceIdentitiesInput,
) (out slipway.ListDeviceIdentitiesOutput, err error) {
	s, err := fleetCaller(ctx, "ListDeviceIdentities", *in.DeviceFleetName, "")
	if err != nil {
		return out, err
	}
	pages, after, err := page.Open[string]("ListDeviceIdentities", s, *in.DeviceFleetName, in.NextToken)
	if err != nil {
		return out, err
	}
	limit := int(cmp.Or(shape.Val(in.MaxResults), 100))
	all, more, err := a.ids.Identities(ctx, s, *in.DeviceFleetName, after, limit)
	if err != nil {
		return out, err
	}
	out.DeviceIdentities = []slipway.DeviceIdentity{}
	for _, i := range all {
		out.DeviceIdentities = append(out.DeviceIdentities, identityOut(i))
	}
	if more {
		out.NextToken = pages.Next(all[len(all)-1].Device)
	}
	return out, nil
}

func identityOut(i identity.Identity) slipway.DeviceIdentity {
	out := slipway.DeviceIdentity{DeviceName: &i.Device, Certificates: []slipway.DeviceCertificate{}}
	if i.Thing != "" {
		out.IotThingName = &i.Thing
	}
	if !i.Heard.IsZero() {
		out.LatestHeartbeat = shape.At(i.Heard)
	}
	for _, c := range i.Certificates {
		out.Certificates = append(out.Certificates, slipway.DeviceCertificate{
			CertificateId: &c.ID, Status: new(string(c.Status)), CreationTime: shape.At(c.Created),
			Enrolled: &c.Enrolled,
		})
	}
	return out
}

func (a *api) revokeDevice(
	ctx context.Context, in slipway.RevokeDeviceInput,
) (out slipway.RevokeDeviceOutput, err error) {
	s, err := fleetCaller(ctx, "RevokeDevice", *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	ended, err := a.ids.Revoke(ctx, s, *in.DeviceFleetName, *in.DeviceName)
	return slipway.RevokeDeviceOutput{CertificateIds: shape.Present(ended)}, err
}
