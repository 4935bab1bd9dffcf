package store

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
)

// EdgeARN returns the ARN of an edge resource as it has it itself; see FindName.
func (tx *Tx) EdgeARN(ctx context.Context, s arn.Scope, kind, name string) (string, error) {
	missing := NoResource(s.SageMaker(kind, name))
	if kind == arn.KindDeviceFleet {
		fleet, device := arn.CutDevice(name)
		id, own, err := tx.FindName(ctx, `select id, name from fleet where region = $2`, fleet, s.Region)
		if err != nil || own == "" {
			return "", orElse(err, missing)
		}
		if device == "" {
			return s.DeviceFleet(own), nil
		}
		_, member, err := tx.FindExactName(ctx, `select id, name from device where fleet_id = $2`, device, id)
		if err != nil || member == "" {
			return "", orElse(err, missing)
		}
		return s.Device(own, member), nil
	}
	query, args := "", []any{s.Region}
	if k, ok := packaging.Resource(kind); ok {
		query, args = `select 0, name from job where region = $2 and kind = $3`, append(args, string(k))
	} else if kind == arn.KindEdgeDeployment {
		query = `select id, name from edge_plan where region = $2`
	} else {
		return "", missing
	}
	_, own, err := tx.FindName(ctx, query, name, args...)
	if err != nil || own == "" {
		return "", orElse(err, missing)
	}
	return s.SageMaker(kind, own), nil
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
