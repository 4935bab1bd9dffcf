// Package edge serves what devices call: GetDeviceRegistration, GetDeployments
// and SendHeartbeat in REST-JSON. It turns the API's structures into the
// domain's, makes one call down, and turns the answer back (edge specification
// §3). Which device a caller may act for, and what a result means, is not its
// job.
package edge

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/restjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	shapes "github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
)

// Fleets is what devices ask and tell. A caller who may not act for the device
// gets a fault.Denied.
type Fleets interface {
	// Registration says whether a device is registered, and for how long it may
	// rely on that. One that nobody knows is not.
	Registration(
		ctx context.Context, s arn.Scope, caller edge.Caller, fleet, device string,
	) (active bool, ttl time.Duration, err error)

	// Deployments returns what a device has to do, the oldest order first.
	Deployments(
		ctx context.Context, s arn.Scope, caller edge.Caller, fleet, device string,
	) ([]edge.Deployment, edge.Hints, error)

	// Heartbeat takes down what a device says of itself.
	Heartbeat(ctx context.Context, s arn.Scope, caller edge.Caller, h edge.Heartbeat) (edge.Hints, error)
}

// maxBody bounds a heartbeat, in bytes.
const maxBody = 256 << 10

// NewHandler serves the three operations. It expects the caller in the
// request's context (access.With). Successes are logged at level Debug: there
// are thousands a second.
func NewHandler(fleets Fleets, log *slog.Logger) *rpc.Handler {
	a := &api{fleets}
	return rpc.NewHandler(
		rpc.Config{
			Service: shapes.API(), Protocols: []rpc.Speaker{restjson.New}, Errors: awserr.SageMakerEdge, Log: log,
			MaxBody: maxBody, Quiet: true,
		},
		rpc.Bind("GetDeviceRegistration", a.registration),
		rpc.Bind("GetDeployments", a.deployments),
		rpc.Bind("SendHeartbeat", a.heartbeat),
	)
}

type api struct{ fleets Fleets }

// caller returns who calls and where the names that it uses live, if it may do
// op for the device at all.
func caller(ctx context.Context, op, fleet, device string) (arn.Scope, edge.Caller, error) {
	c, err := access.From(ctx)
	if err != nil {
		return arn.Scope{}, edge.Caller{}, err
	}
	s := c.Scope()
	resource := s.Device(fleet, device)
	if err := access.Allow(c, "sagemaker:"+op, resource); err != nil {
		return s, edge.Caller{}, err
	}
	if c.Device == nil {
		return s, edge.Caller{}, nil
	}
	// A caller without a thing is an operator to the domain; a device is none,
	// though its certificate may be attached to nothing.
	if c.Device.Thing == "" {
		return s, edge.Caller{}, fault.New(
			fault.Denied, "User: %s is not authorized to perform: sagemaker:%s on resource: %s", c.ARN, op, resource,
		)
	}
	return s, edge.Caller{Thing: c.Device.Thing}, nil
}

// shortTTL is how long a device relies on an answer that says nothing of it.
const shortTTL = time.Minute

func (a *api) registration(
	ctx context.Context, in shapes.GetDeviceRegistrationRequest,
) (out shapes.GetDeviceRegistrationResult, err error) {
	s, c, err := caller(ctx, "GetDeviceRegistration", *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	active, ttl, err := a.fleets.Registration(ctx, s, c, *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	if ttl < time.Second {
		ttl = shortTTL
	}
	out.DeviceRegistration = new(strconv.FormatBool(active))
	out.CacheTTL = new(strconv.FormatInt(int64(ttl/time.Second), 10))
	return out, nil
}

func (a *api) deployments(
	ctx context.Context, in shapes.GetDeploymentsRequest,
) (out shapes.GetDeploymentsResult, err error) {
	s, c, err := caller(ctx, "GetDeployments", *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	c.Mirrors = slices.Contains(in.Understands, edge.UnderstandsMirror)
	all, hints, err := a.fleets.Deployments(ctx, s, c, *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	out.PollAfter, out.HeartbeatAfter = seconds(hints.Poll), seconds(hints.Heartbeat)
	out.Deployments = make([]shapes.EdgeDeployment, 0, len(all)) // there, even if empty
	for _, d := range all {
		out.Deployments = append(out.Deployments, deployment(d))
	}
	return out, nil
}

func deployment(d edge.Deployment) shapes.EdgeDeployment {
	out := shapes.EdgeDeployment{
		DeploymentName: &d.Name, Type: new(shapes.DeploymentTypeModel),
		FailureHandlingPolicy: new(shapes.FailureHandlingPolicy(d.OnFailure)),
		Definitions:           make([]shapes.Definition, 0, len(d.Definitions)),
	}
	for _, m := range d.Definitions {
		def := shapes.Definition{ModelHandle: &m.Handle, State: new(shapes.ModelState(m.State))}
		if m.S3URL != "" {
			def.S3Url = &m.S3URL
			def.Checksum = &shapes.Checksum{Type: new(shapes.ChecksumTypeSha1), Sum: &m.SHA1}
		}
		out.Definitions = append(out.Definitions, def)
	}
	if m := d.Mirror; m != nil {
		out.Mirror = &shapes.Mirror{
			MaxDisagreement: &m.MaxDisagreement, TimeInSeconds: new(m.Time.Seconds()),
			MinimumPairs: new(int64(m.MinPairs)), Share: &m.Share,
		}
		for _, o := range m.Outputs {
			out.Mirror.Outputs = append(out.Mirror.Outputs, shapes.ComparedOutput{
				Name: &o.Name, Tolerance: &o.Tolerance,
			})
		}
	}
	return out
}

// seconds is a hint for the wire: whole seconds, rounded up, and absent if
// there is none.
func seconds(d time.Duration) *int32 {
	if d <= 0 {
		return nil
	}
	return new(int32(min(math.Ceil(d.Seconds()), math.MaxInt32)))
}
