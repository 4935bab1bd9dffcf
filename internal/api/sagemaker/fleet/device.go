package fleet

import (
	"context"
	"regexp"
	"sync"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

// entityName is what the control plane accepts as a name. The data plane is
// more generous, so a device may have said what no client may read (§3.3).
var entityName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$`)
})

func isEntityName(s string) bool { return len(s) <= 63 && entityName().MatchString(s) }

// maxVersion is how long a version may be in the control plane's answers, in bytes.
const maxVersion = 30

// clipVersion is a version for the control plane (§3.3).
func clipVersion(version string) string {
	if len(version) > maxVersion {
		return version[:maxVersion] // the pattern knows only ASCII
	}
	return version
}

func (a *api) register(ctx context.Context, in sagemaker.RegisterDevicesRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "RegisterDevices", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	devices := make([]edge.Device, 0, len(in.Devices))
	for _, d := range in.Devices {
		devices = append(devices, edge.Device{
			Scope: s, Fleet: *in.DeviceFleetName, Name: *d.DeviceName, Description: shape.Val(d.Description),
			Thing: shape.Val(d.IotThingName),
		})
	}
	return out, a.svc.Register(ctx, s, *in.DeviceFleetName, devices, tags.In(in.Tags))
}

func (a *api) deregister(ctx context.Context, in sagemaker.DeregisterDevicesRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "DeregisterDevices", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	return out, a.svc.Deregister(ctx, s, *in.DeviceFleetName, in.DeviceNames)
}

func (a *api) updateDevices(ctx context.Context, in sagemaker.UpdateDevicesRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "UpdateDevices", arn.KindDeviceFleet, *in.DeviceFleetName)
	if err != nil {
		return out, err
	}
	updates := make([]edge.DeviceUpdate, 0, len(in.Devices))
	for _, d := range in.Devices {
		updates = append(
			updates, edge.DeviceUpdate{Name: *d.DeviceName, Description: d.Description, Thing: d.IotThingName},
		)
	}
	return out, a.svc.UpdateDevices(ctx, s, *in.DeviceFleetName, updates)
}

// describeDevice has one page of models: a heartbeat bounds how many there are.
func (a *api) describeDevice(
	ctx context.Context, in sagemaker.DescribeDeviceRequest,
) (out sagemaker.DescribeDeviceResponse, err error) {
	s, err := hostingapi.Scope(
		ctx, "DescribeDevice", arn.KindDeviceFleet, *in.DeviceFleetName+"/device/"+*in.DeviceName,
	)
	if err != nil {
		return out, err
	}
	if shape.Val(in.NextToken) != "" {
		return out, page.Invalid()
	}
	d, err := a.svc.Device(ctx, s, *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	out = sagemaker.DescribeDeviceResponse{
		DeviceArn: new(d.ARN()), DeviceName: &d.Name, Description: shape.Text(d.Description), DeviceFleetName: &d.Fleet,
		IotThingName:     shape.Text(d.Thing),
		RegistrationTime: shape.At(d.Registered), LatestHeartbeat: shape.At(d.Heartbeat),
		AgentVersion: shape.Text(clipVersion(d.AgentVersion)),
	}
	for _, m := range d.Models {
		if isEntityName(m.Name) {
			out.Models = append(out.Models, sagemaker.EdgeModel{
				ModelName: &m.Name, ModelVersion: new(clipVersion(m.Version)),
				LatestSampleTime: shape.At(m.LatestSample), LatestInference: shape.At(m.LatestInference),
			})
		}
	}
	return out, nil
}

func (a *api) listDevices(
	ctx context.Context, in sagemaker.ListDevicesRequest,
) (out sagemaker.ListDevicesResponse, err error) {
	s, err := hostingapi.Scope(ctx, "ListDevices", arn.KindDeviceFleet, "*")
	if err != nil {
		return out, err
	}
	f := edge.DeviceFilter{
		Fleet: shape.Val(in.DeviceFleetName), Model: shape.Val(in.ModelName),
		HeartbeatAfter: shape.TimeOf(in.LatestHeartbeatAfter),
	}
	p, after, err := page.Open[edge.Cursor]("ListDevices", s, f, in.NextToken)
	if err != nil {
		return out, err
	}
	f.After = after
	if f.Limit, err = limit(in.MaxResults, defaultPage); err != nil {
		return out, err
	}
	ds, more, err := a.svc.ListDevices(ctx, s, f)
	if err != nil {
		return out, err
	}
	out.DeviceSummaries = []sagemaker.DeviceSummary{}
	for _, d := range ds {
		sum := sagemaker.DeviceSummary{
			DeviceName: &d.Name, DeviceArn: new(d.ARN()), Description: shape.Text(d.Description),
			DeviceFleetName: &d.Fleet, IotThingName: shape.Text(d.Thing),
			RegistrationTime: shape.At(d.Registered), LatestHeartbeat: shape.At(d.Heartbeat),
			AgentVersion: shape.Text(clipVersion(d.AgentVersion)),
		}
		for _, m := range d.Models {
			if isEntityName(m.Name) {
				sum.Models = append(sum.Models, sagemaker.EdgeModelSummary{
					ModelName: &m.Name, ModelVersion: new(clipVersion(m.Version)),
				})
			}
		}
		out.DeviceSummaries = append(out.DeviceSummaries, sum)
	}
	if more {
		out.NextToken = p.Next(f.Cursor(ds[len(ds)-1]))
	}
	return out, nil
}
