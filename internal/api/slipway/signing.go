package slipway

import (
	"context"

	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// signingCaller returns who calls, if they may do op to the keys.
func signingCaller(ctx context.Context, op string) (access.Caller, error) {
	return access.Authorize(ctx, "slipway:"+op, access.Everything)
}

func (a *api) createSigningKey(
	ctx context.Context, _ slipway.CreateSigningKeyInput,
) (out slipway.SigningKeysOutput, err error) {
	return a.signing(ctx, "CreateSigningKey", a.jobs.CreateSigning)
}

func (a *api) listSigningKeys(
	ctx context.Context, _ slipway.ListSigningKeysInput,
) (out slipway.SigningKeysOutput, err error) {
	return a.signing(ctx, "ListSigningKeys", a.jobs.Signing)
}

func (a *api) rotateSigningKey(
	ctx context.Context, in slipway.RotateSigningKeyInput,
) (out slipway.SigningKeysOutput, err error) {
	return a.signing(ctx, "RotateSigningKey", func(ctx context.Context) (packaging.Signing, error) {
		return a.jobs.Rotate(ctx, packaging.Rotation{Revoke: shape.Val(in.Revoke), NewRoot: shape.Val(in.NewRoot)})
	})
}

func (a *api) signing(
	ctx context.Context, op string, verb func(context.Context) (packaging.Signing, error),
) (out slipway.SigningKeysOutput, err error) {
	c, err := signingCaller(ctx, op)
	if err != nil {
		return out, err
	}
	s, err := verb(ctx)
	if err != nil {
		return out, err
	}
	out = slipway.SigningKeysOutput{
		Region: new(c.Scope().Region), Roots: []slipway.SigningRoot{}, Keys: []slipway.SigningKey{},
	}
	for _, r := range s.Roots {
		out.Roots = append(out.Roots, slipway.SigningRoot{
			RootId: &r.ID, Trusted: &r.Trusted, CreationTime: shape.At(r.Created), Certificate: &r.Certificate,
		})
	}
	for i, k := range s.Keys {
		status := "RETIRED"
		switch {
		case k.Revoked:
			status = "REVOKED"
		case i == len(s.Keys)-1:
			status = "ACTIVE"
		}
		out.Keys = append(out.Keys, slipway.SigningKey{
			KeyNumber: new(int64(k.Number)), RootId: &k.Root, Status: &status, CreationTime: shape.At(k.Created),
			Certificate: &k.Certificate,
		})
	}
	return out, nil
}
