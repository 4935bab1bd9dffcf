// Package fleet serves the control plane's operations on device fleets,
// devices, deployment plans and their stages (edge specification §2). It turns
// the API's structures into the domain's, makes one call down, and turns the
// answer back. What may be asked is not its job: package edge decides that.
package fleet

import (
	"context"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

// Ops returns the operations of svc.
func Ops(svc *fleet.Service) []rpc.Op {
	a := &api{svc}
	return []rpc.Op{
		rpc.Bind("CreateDeviceFleet", a.createFleet),
		rpc.Bind("DescribeDeviceFleet", a.describeFleet),
		rpc.Bind("UpdateDeviceFleet", a.updateFleet),
		rpc.Bind("DeleteDeviceFleet", a.deleteFleet),
		rpc.Bind("ListDeviceFleets", a.listFleets),
		rpc.Bind("GetDeviceFleetReport", a.report),
		rpc.Bind("RegisterDevices", a.register),
		rpc.Bind("DeregisterDevices", a.deregister),
		rpc.Bind("UpdateDevices", a.updateDevices),
		rpc.Bind("DescribeDevice", a.describeDevice),
		rpc.Bind("ListDevices", a.listDevices),
		rpc.Bind("CreateEdgeDeploymentPlan", a.createPlan),
		rpc.Bind("DescribeEdgeDeploymentPlan", a.describePlan),
		rpc.Bind("ListEdgeDeploymentPlans", a.listPlans),
		rpc.Bind("DeleteEdgeDeploymentPlan", a.deletePlan),
		rpc.Bind("CreateEdgeDeploymentStage", a.createStage),
		rpc.Bind("DeleteEdgeDeploymentStage", a.deleteStage),
		rpc.Bind("StartEdgeDeploymentStage", a.startStage),
		rpc.Bind("StopEdgeDeploymentStage", a.stopStage),
		rpc.Bind("ListStageDevices", a.listStageDevices),
	}
}

type api struct{ svc *fleet.Service }

func (a *api) createFleet(ctx context.Context, in sagemaker.CreateDeviceFleetRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "CreateDeviceFleet", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	f := edge.Fleet{
		Scope: s, Name: *in.DeviceFleetName, RoleARN: shape.Val(in.RoleArn), Description: shape.Val(in.Description),
		Output: outputIn(in.OutputConfig),
	}
	return out, a.svc.CreateFleet(ctx, f, in.EnableIotRoleAlias, tags.In(in.Tags))
}

func (a *api) describeFleet(
	ctx context.Context, in sagemaker.DescribeDeviceFleetRequest,
) (out sagemaker.DescribeDeviceFleetResponse, err error) {
	s, err := hostingapi.Scope(ctx, "DescribeDeviceFleet", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	f, err := a.svc.Fleet(ctx, s, *in.DeviceFleetName)
	return sagemaker.DescribeDeviceFleetResponse{
		DeviceFleetName: &f.Name, DeviceFleetArn: new(f.ARN()), OutputConfig: outputOut(f.Output),
		Description:  shape.Text(f.Description),
		CreationTime: shape.At(f.Created), LastModifiedTime: shape.At(f.Modified), RoleArn: shape.Text(f.RoleARN),
		IotRoleAlias: shape.Text(f.RoleAliasARN()),
	}, err
}

func (a *api) updateFleet(ctx context.Context, in sagemaker.UpdateDeviceFleetRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "UpdateDeviceFleet", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	return out, a.svc.UpdateFleet(ctx, s, *in.DeviceFleetName, edge.FleetUpdate{
		Output: outputIn(in.OutputConfig), RoleARN: in.RoleArn, Description: in.Description,
		Alias: in.EnableIotRoleAlias,
	})
}

func (a *api) deleteFleet(ctx context.Context, in sagemaker.DeleteDeviceFleetRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "DeleteDeviceFleet", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	return out, a.svc.DeleteFleet(ctx, s, *in.DeviceFleetName)
}

func (a *api) report(
	ctx context.Context, in sagemaker.GetDeviceFleetReportRequest,
) (out sagemaker.GetDeviceFleetReportResponse, err error) {
	s, err := hostingapi.Scope(ctx, "GetDeviceFleetReport", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	f, r, at, err := a.svc.Report(ctx, s, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	out = sagemaker.GetDeviceFleetReportResponse{
		DeviceFleetArn: new(f.ARN()), DeviceFleetName: &f.Name, OutputConfig: outputOut(f.Output),
		Description: shape.Text(f.Description), ReportGenerated: shape.At(at),
		DeviceStats: &sagemaker.DeviceStats{
			ConnectedDeviceCount: new(int64(r.Connected)), RegisteredDeviceCount: new(int64(r.Registered)),
		},
		AgentVersions: []sagemaker.AgentVersion{}, ModelStats: []sagemaker.EdgeModelStat{},
	}
	for _, v := range r.Versions {
		out.AgentVersions = append(out.AgentVersions, sagemaker.AgentVersion{
			Version: new(clipVersion(v.Version)), AgentCount: new(int64(v.Devices)),
		})
	}
	for _, m := range r.Models {
		if !isEntityName(m.Name) {
			continue // no client could ask for it
		}
		out.ModelStats = append(out.ModelStats, sagemaker.EdgeModelStat{
			ModelName: &m.Name, ModelVersion: new(clipVersion(m.Version)), OfflineDeviceCount: new(int64(m.Offline)),
			ConnectedDeviceCount: new(int64(m.Connected)),
			ActiveDeviceCount:    new(int64(m.Active)), SamplingDeviceCount: new(int64(m.Sampling)),
		})
	}
	return out, nil
}

func outputIn(in *sagemaker.EdgeOutputConfig) edge.OutputConfig {
	return edge.OutputConfig{
		S3Location: shape.Val(in.S3OutputLocation), KMSKeyID: shape.Val(in.KmsKeyId),
		PresetType: string(shape.Val(in.PresetDeploymentType)), PresetConfig: shape.Val(in.PresetDeploymentConfig),
	}
}

func outputOut(o edge.OutputConfig) *sagemaker.EdgeOutputConfig {
	out := &sagemaker.EdgeOutputConfig{
		S3OutputLocation: new(o.S3Location), KmsKeyId: shape.Text(o.KMSKeyID),
		PresetDeploymentConfig: shape.Text(o.PresetConfig),
	}
	if o.PresetType != "" {
		out.PresetDeploymentType = new(sagemaker.EdgePresetDeploymentType(o.PresetType))
	}
	return out
}
