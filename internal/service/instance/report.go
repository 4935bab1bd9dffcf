package instance

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

// report records what happened, as often as it takes.
func (s *supervisor) report(ctx context.Context, r hosting.InstanceReport) error {
	r.ID, r.Attempts = s.row.ID, s.row.Attempts
	if !s.beginReport(ctx) {
		return ctx.Err()
	}
	defer s.endReport()
	s.last = r
	if err := s.writeReport(ctx, r); err != nil {
		return err
	}
	s.row.Status = r.Status
	failpoint.Hit("instance.reported")
	return ctx.Err()
}

// reportAgain records once more what was last reported, if the row, which the
// database has after it ran backwards, says something else.
func (s *supervisor) reportAgain(ctx context.Context, row hosting.InstanceRow) {
	if !s.beginReport(ctx) {
		return
	}
	defer s.endReport()
	if r := s.last; r.Status != row.Status || r.Address != row.Address {
		s.m.Log.WarnContext(ctx, "an instance is not as the database has it, which ran backwards", "instance", row.ID,
			"endpoint", row.Spec.Endpoint, "recorded", row.Status, "is", r.Status)
		_ = s.writeReport(ctx, r) // it fails when ctx ends: the instance is wanted no longer, or nobody looks any more
	}
}

// beginReport waits until nobody else reports; false if ctx ends before.
func (s *supervisor) beginReport(ctx context.Context) bool {
	select {
	case s.reporting <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *supervisor) endReport() { <-s.reporting }

// writeReport tries until the report is written or ctx ends.
func (s *supervisor) writeReport(ctx context.Context, r hosting.InstanceReport) error {
	for {
		wanted, err := s.m.Store.ReportInstance(ctx, r, clock.Now())
		if err == nil {
			s.m.Changed()
			if !wanted {
				s.wish.set(false)
			}
			return nil
		}
		s.m.warn(ctx, "report an instance", err)
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
