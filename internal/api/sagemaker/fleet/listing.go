package fleet

import (
	"context"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

// Sizes of pages that were not asked for (edge spec §1.6).
const (
	defaultPage      = 100
	defaultPlansPage = 50
	defaultStages    = 10
)

// limit is the size of a page. The model sets no least value; none and less
// make no sense.
func limit(want *int32, otherwise int) (int, error) {
	switch {
	case want == nil:
		return otherwise, nil
	case *want < 1:
		return 0, fault.New(fault.Invalid, "MaxResults must be at least 1, not %d.", *want)
	}
	return int(*want), nil
}

// ascending reads a SortOrder: newest first unless asked otherwise.
func ascending(o *sagemaker.SortOrder) bool { return shape.Val(o) == sagemaker.SortOrderAscending }

func (a *api) listFleets(
	ctx context.Context, in sagemaker.ListDeviceFleetsRequest,
) (out sagemaker.ListDeviceFleetsResponse, err error) {
	s, err := hostingapi.Scope(ctx, "ListDeviceFleets", arn.KindDeviceFleet, "*")
	if err != nil {
		return out, err
	}
	f := edge.FleetFilter{
		NameContains: shape.Val(in.NameContains),
		Times: edge.Times{
			CreatedAfter: shape.TimeOf(in.CreationTimeAfter), CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
			ModifiedAfter:  shape.TimeOf(in.LastModifiedTimeAfter),
			ModifiedBefore: shape.TimeOf(in.LastModifiedTimeBefore),
		},
		SortBy: edge.SortBy(shape.Val(in.SortBy)), Ascending: ascending(in.SortOrder),
	}
	p, after, err := page.Open[edge.Cursor]("ListDeviceFleets", s, f, in.NextToken)
	if err != nil {
		return out, err
	}
	f.After = after
	if f.Limit, err = limit(in.MaxResults, defaultPage); err != nil {
		return out, err
	}
	fs, more, err := a.svc.ListFleets(ctx, s, f)
	if err != nil {
		return out, err
	}
	out.DeviceFleetSummaries = []sagemaker.DeviceFleetSummary{}
	for _, l := range fs {
		out.DeviceFleetSummaries = append(out.DeviceFleetSummaries, sagemaker.DeviceFleetSummary{
			DeviceFleetArn: new(l.ARN()), DeviceFleetName: &l.Name, CreationTime: shape.At(l.Created),
			LastModifiedTime: shape.At(l.Modified),
		})
	}
	if more {
		out.NextToken = p.Next(f.Cursor(fs[len(fs)-1]))
	}
	return out, nil
}

func (a *api) listPlans(
	ctx context.Context, in sagemaker.ListEdgeDeploymentPlansRequest,
) (out sagemaker.ListEdgeDeploymentPlansResponse, err error) {
	s, err := hostingapi.Scope(ctx, "ListEdgeDeploymentPlans", arn.KindEdgeDeployment, "*")
	if err != nil {
		return out, err
	}
	f := edge.PlanFilter{
		NameContains: shape.Val(in.NameContains), FleetContains: shape.Val(in.DeviceFleetNameContains),
		Times: edge.Times{
			CreatedAfter: shape.TimeOf(in.CreationTimeAfter), CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
			ModifiedAfter:  shape.TimeOf(in.LastModifiedTimeAfter),
			ModifiedBefore: shape.TimeOf(in.LastModifiedTimeBefore),
		},
		SortBy: edge.SortBy(shape.Val(in.SortBy)), Ascending: ascending(in.SortOrder),
	}
	p, after, err := page.Open[edge.Cursor]("ListEdgeDeploymentPlans", s, f, in.NextToken)
	if err != nil {
		return out, err
	}
	f.After = after
	if f.Limit, err = limit(in.MaxResults, defaultPlansPage); err != nil {
		return out, err
	}
	ps, more, err := a.svc.ListPlans(ctx, s, f)
	if err != nil {
		return out, err
	}
	out.EdgeDeploymentPlanSummaries = []sagemaker.EdgeDeploymentPlanSummary{}
	for i := range ps {
		l, c := &ps[i], ps[i].Totals
		out.EdgeDeploymentPlanSummaries = append(out.EdgeDeploymentPlanSummaries, sagemaker.EdgeDeploymentPlanSummary{
			EdgeDeploymentPlanArn: new(l.ARN()), EdgeDeploymentPlanName: &l.Name, DeviceFleetName: &l.Fleet,
			EdgeDeploymentSuccess: shape.Int(c.Success()), EdgeDeploymentPending: shape.Int(c.Pending()),
			EdgeDeploymentFailed: shape.Int(c.Failed),
			CreationTime:         shape.At(l.Created), LastModifiedTime: shape.At(l.Modified),
		})
	}
	if more {
		out.NextToken = p.Next(f.Cursor(ps[len(ps)-1]))
	}
	return out, nil
}

func (a *api) listStageDevices(
	ctx context.Context, in sagemaker.ListStageDevicesRequest,
) (out sagemaker.ListStageDevicesResponse, err error) {
	plan, stage := *in.EdgeDeploymentPlanName, *in.StageName
	s, err := hostingapi.Scope(ctx, "ListStageDevices", arn.KindEdgeDeployment, plan)
	if err != nil {
		return out, err
	}
	f := edge.RowFilter{ExcludeOwnedElsewhere: shape.Val(in.ExcludeDevicesDeployedInOtherStage)}
	pages, after, err := page.Open[edge.Cursor]("ListStageDevices", s, []any{plan, stage, f}, in.NextToken)
	if err != nil {
		return out, err
	}
	f.After = after
	if f.Limit, err = limit(in.MaxResults, defaultPage); err != nil {
		return out, err
	}
	p, err := a.svc.Plan(ctx, s, plan)
	if err != nil {
		return out, err
	}
	rows, more, err := a.svc.StageDevices(ctx, s, plan, stage, f)
	if err != nil {
		return out, err
	}
	out.DeviceDeploymentSummaries = []sagemaker.DeviceDeploymentSummary{}
	for _, r := range rows {
		out.DeviceDeploymentSummaries = append(out.DeviceDeploymentSummaries, sagemaker.DeviceDeploymentSummary{
			EdgeDeploymentPlanArn: new(s.EdgeDeployment(plan)), EdgeDeploymentPlanName: &plan, StageName: &stage,
			DeployedStageName: shape.Text(r.OwnerStage),
			DeviceFleetName:   &p.Fleet, DeviceName: &r.Device, DeviceArn: new(s.Device(p.Fleet, r.Device)),
			DeviceDeploymentStatus:        new(sagemaker.DeviceDeploymentStatus(r.Status)),
			DeviceDeploymentStatusMessage: shape.Text(r.Message),
			Description:                   shape.Text(r.Description), DeploymentStartTime: shape.At(r.Started),
		})
	}
	if more {
		out.NextToken = pages.Next(f.Cursor(rows[len(rows)-1]))
	}
	return out, nil
}
