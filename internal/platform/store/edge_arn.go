package store

import (
	"context"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
)

// EdgeARN returns the ARN of an edge resource as it has it itself. A name is
// looked for as it is written, then in any letters if that means one resource
// only: some tools lower the case of what they put into an ARN (edge spec §1.4).
// Devices, of which there may be a million, are found by their own letters.
func (tx *Tx) EdgeARN(ctx context.Context, s arn.Scope, kind, name string) (string, error) {
	missing := fault.New(fault.NotFound, "Could not find resource %q.", s.SageMaker(kind, name))
	if kind == arn.KindDeviceFleet {
		fleet, device := arn.CutDevice(name)
		id, own, err := tx.resource(ctx, `select id, name from fleet where region = $1`, s.Region, fleet, exactly, inAnyLetters)
		if err != nil || own == "" {
			return "", orElse(err, missing)
		}
		if device == "" {
			return s.DeviceFleet(own), nil
		}
		_, member, err := tx.resource(ctx, `select id, name from device where fleet_id = $1`, id, device, exactly)
		if err != nil || member == "" {
			return "", orElse(err, missing)
		}
		return s.Device(own, member), nil
	}
	if k, ok := packaging.Resource(kind); ok {
		return tx.jobARN(ctx, k, s, name, missing)
	}
	table := map[string]string{arn.KindEdgeDeployment: "edge_plan"}[kind]
	if table == "" {
		return "", missing
	}
	_, own, err := tx.resource(ctx, `select id, name from `+table+` where region = $1`, s.Region, name, exactly, inAnyLetters)
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

// The ways to compare a name with the second argument.
const (
	exactly      = ` and name = $2`
	inAnyLetters = ` and lower(name) = lower($2)`
)

// resource finds a name among those of a query of one argument; "" if there is
// none, or more than one that differ in case only.
func (tx *Tx) resource(ctx context.Context, query string, arg any, name string, ways ...string) (id int64, own string, err error) {
	for _, cond := range ways {
		rows, err := tx.QueryContext(ctx, query+cond+` limit 2`, arg, name)
		if err != nil {
			return 0, "", Wrap("find a resource", err)
		}
		n := 0
		for rows.Next() {
			n++
			if err := rows.Scan(&id, &own); err != nil {
				_ = rows.Close() // the scan's error is told
				return 0, "", fmt.Errorf("find a resource: %w", err)
			}
		}
		if err := rows.Close(); err != nil {
			return 0, "", Wrap("find a resource", err)
		}
		if n == 1 {
			return id, own, nil
		}
	}
	return 0, "", nil
}
