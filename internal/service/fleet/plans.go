package fleet

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// errLater is what verbs about plans answer until their rows are there.
func errLater() error { return fault.New(fault.Unsupported, "Deployment plans are not supported.") }

// CreatePlan records a new plan, which does nothing before a stage is started.
func (s *Service) CreatePlan(ctx context.Context, p edge.Plan, tags []hosting.Tag) (string, error) {
	return "", errLater()
}

// Plan returns a plan with all its stages.
func (s *Service) Plan(ctx context.Context, sc arn.Scope, name string) (*edge.Plan, error) {
	return nil, errLater()
}

// ListPlans returns a page of plans without their stages, and whether more follow.
func (s *Service) ListPlans(ctx context.Context, sc arn.Scope, f edge.PlanFilter) ([]edge.Plan, bool, error) {
	return nil, false, errLater()
}

// DeletePlan removes a plan none of whose stages is active.
func (s *Service) DeletePlan(ctx context.Context, sc arn.Scope, name string) error {
	return errLater()
}

// AddStages appends stages to a plan, all or none.
func (s *Service) AddStages(ctx context.Context, sc arn.Scope, plan string, stages []edge.Stage) error {
	return errLater()
}

// DeleteStage removes a stage that is not active.
func (s *Service) DeleteStage(ctx context.Context, sc arn.Scope, plan, stage string) error {
	return errLater()
}

// StartStage starts a stage, or starts it again.
func (s *Service) StartStage(ctx context.Context, sc arn.Scope, plan, stage string) error {
	return errLater()
}

// StopStage stops a stage that runs.
func (s *Service) StopStage(ctx context.Context, sc arn.Scope, plan, stage string) error {
	return errLater()
}

// StageDevices returns a page of a stage's devices, and whether more follow.
func (s *Service) StageDevices(ctx context.Context, sc arn.Scope, plan, stage string, f edge.RowFilter) ([]edge.StageDevice, bool, error) {
	return nil, false, errLater()
}

// SetPolicy sets what Slipway does with a plan on its own.
func (s *Service) SetPolicy(ctx context.Context, sc arn.Scope, plan string, p edge.Policy, by string) error {
	return errLater()
}

// History returns a plan's record, oldest first.
func (s *Service) History(ctx context.Context, sc arn.Scope, plan string) ([]edge.PlanEvent, error) {
	return nil, errLater()
}

// Registration says whether a device is registered, and for how long it may
// believe that.
func (s *Service) Registration(ctx context.Context, sc arn.Scope, caller edge.Caller, fleet, device string) (active bool, ttl time.Duration, err error) {
	return false, 0, errLater()
}

// Deployments returns what a device is to do.
func (s *Service) Deployments(ctx context.Context, sc arn.Scope, caller edge.Caller, fleet, device string) ([]edge.Deployment, edge.Hints, error) {
	return nil, edge.Hints{}, errLater()
}

// Heartbeat records what a device says of itself.
func (s *Service) Heartbeat(ctx context.Context, sc arn.Scope, caller edge.Caller, h edge.Heartbeat) (edge.Hints, error) {
	return edge.Hints{}, errLater()
}

// Run owns the writing of what devices say; it returns when ctx has ended.
func (s *Service) Run(ctx context.Context) { <-ctx.Done() }

// Turn takes a turn of the stage called key.
func (s *Service) Turn(ctx context.Context, key string) (time.Time, error) {
	return time.Time{}, errLater()
}
