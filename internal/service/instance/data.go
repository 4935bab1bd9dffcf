package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// adopted takes over an instance that an earlier server started. What that server
// did otherwise is said and put right now, not when the instance is next started.
func (s *supervisor) adopted(ctx context.Context) {
	if _, err := s.spec(); err != nil {
		s.doubt = "It runs on, but could not be started again: " + public(err)
		s.m.Log.WarnContext(ctx, "an adopted instance could not be started again", "endpoint", s.row.Spec.Endpoint,
			"instance", s.row.ID, "err", err)
	}
	if c := s.row.Spec.Variant.Container; c.ModelData != nil && c.ModelData.Version == "" && s.m.Version != nil {
		d := *c.ModelData
		s.m.wg.Go(func() { s.pinLater(ctx, d) })
	}
}

// pinLater fixes the version of its model data that an instance runs on, until ctx
// ends: the instance serves whether or not the database can be written.
func (s *supervisor) pinLater(ctx context.Context, d hosting.ModelData) {
	const longest = time.Minute
	for pause := time.Second; ; pause = min(2*pause, longest) {
		_, err := s.fix(ctx, d, true)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.m.warn(ctx, "fix the version of the model data of an adopted instance", err)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// pin makes sure that it is fixed which version of its model data the instance
// serves: that of its fleet.
func (s *supervisor) pin(ctx context.Context, served bool) error {
	c := &s.row.Spec.Variant.Container
	if c.ModelData == nil || c.ModelData.Version != "" || s.m.Version == nil {
		return nil
	}
	for {
		d, err := s.fix(ctx, *c.ModelData, served)
		if err == nil {
			c.ModelData = &d
			return nil
		}
		if !errors.Is(err, errNotFixed) {
			return err
		}
		s.m.warn(ctx, "fix the version of model data", err)
		if err := s.sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// errNotFixed is the failure of the database to say or take a version.
var errNotFixed = errors.New("the version is not in the records")

// fix returns d in the version that the instance's fleet serves. If that is not fixed
// yet, it is now.
func (s *supervisor) fix(ctx context.Context, d hosting.ModelData, served bool) (hosting.ModelData, error) {
	fleet, err := s.m.Store.FleetModelData(ctx, s.row.ID)
	if err != nil {
		return d, fmt.Errorf("%w: %w", errNotFixed, err)
	}
	if fleet != nil && fleet.Version != "" {
		return *fleet, nil // wherever the object is by now
	}
	version, err := s.m.Version(ctx, s.row.ID, d, served)
	if err != nil || version == "" {
		return d, err
	}
	if d.Version, err = s.m.Store.PinModelData(ctx, s.row.ID, version); err != nil {
		return d, fmt.Errorf("%w: %w", errNotFixed, err)
	}
	return d, nil
}

// ensure has the provider bring up the instance. If its model data is no longer there
// in the version of the fleet, the same bytes in another one will do.
func (s *supervisor) ensure(ctx context.Context, spec provider.Spec) (provider.Status, error) {
	st, err := s.provider.Ensure(ctx, provider.ID(s.row.ID), spec)
	_, data := errors.AsType[*provider.ModelDataError](err)
	if !data || !errors.Is(err, fault.Invalid) || spec.ModelData.Digest != "" {
		return st, err
	}
	fleet, unknown := s.m.Store.FleetModelData(ctx, s.row.ID)
	if unknown != nil || fleet == nil || fleet.Digest == "" || fleet.Version != spec.ModelData.Version {
		return st, err
	}
	spec.ModelData = fleet
	s.row.Spec.Variant.Container.ModelData = fleet
	return s.provider.Ensure(ctx, provider.ID(s.row.ID), spec)
}

// ready is the report of an instance that passes its health checks at an address.
func (s *supervisor) ready(address string) hosting.InstanceReport {
	r := hosting.InstanceReport{Status: hosting.InstanceReady, Address: address, Detail: s.doubt}
	if d := s.row.Spec.Variant.Container.ModelData; d != nil && d.Version != "" && s.m.Digest != nil {
		r.Digest = s.m.Digest(*d)
	}
	return r
}
