package edge

import (
	"context"
	"math"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	shapes "github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
)

// Bounds on what is taken down of one heartbeat. Metrics beyond theirs are
// dropped; more models than that are no device's.
const (
	maxMetrics = 1000
	maxModels  = 500
	maxResults = 100
	maxName    = 255 // characters of a name that a device reports
)

func (a *api) heartbeat(
	ctx context.Context, in shapes.SendHeartbeatRequest,
) (out shapes.SendHeartbeatResult, err error) {
	s, c, err := caller(ctx, "SendHeartbeat", *in.DeviceFleetName, *in.DeviceName)
	if err != nil {
		return out, err
	}
	h, err := beat(in)
	if err != nil {
		return out, err
	}
	hints, err := a.fleets.Heartbeat(ctx, s, c, h)
	if err != nil {
		return out, err
	}
	out.PollAfter, out.HeartbeatAfter = seconds(hints.Poll), seconds(hints.Heartbeat)
	return out, nil
}

// beat reads a heartbeat. Metrics never make it fail: what makes no sense is
// dropped and counted (spec §3.3 rule 2). Names of models are taken as the
// device says them, whatever pattern the API has for them.
func beat(in shapes.SendHeartbeatRequest) (edge.Heartbeat, error) {
	h := edge.Heartbeat{
		Fleet: *in.DeviceFleetName, Device: *in.DeviceName, AgentVersion: *in.AgentVersion,
		HasModels: in.Models != nil, // an empty list says that nothing is loaded
	}
	if n := len(in.Models); n > maxModels {
		return h, fault.New(fault.Invalid, "A heartbeat can report at most %d models, not %d.", maxModels, n)
	}
	metrics(&h, in.AgentMetrics)
	for _, m := range in.Models {
		h.Models = append(h.Models, edge.LoadedModel{
			Name: name(m.ModelName), Version: name(m.ModelVersion), LatestSample: shape.TimeOf(m.LatestSampleTime),
			LatestInference: shape.TimeOf(m.LatestInference),
		})
		metrics(&h, m.ModelMetrics)
	}
	if in.DeploymentResult != nil {
		r, err := result(*in.DeploymentResult)
		if err != nil {
			return h, err
		}
		h.Result = &r
	}
	if n := len(in.Comparisons); n > maxResults {
		return h, fault.New(fault.Invalid, "A heartbeat can report at most %d comparisons, not %d.", maxResults, n)
	}
	for _, c := range in.Comparisons {
		if c.Comparison != nil {
			h.Comparisons = append(h.Comparisons, edge.DeviceComparison{
				Deployment: shape.Val(c.DeploymentName), Handle: shape.Val(c.ModelHandle),
				Comparison: *comparison(c.Comparison),
			})
		}
	}
	return h, nil
}

// metrics takes down those of doc that are metrics.
func metrics(h *edge.Heartbeat, doc shape.Document) {
	if doc != nil && !doc.IsList() {
		h.Dropped++
	}
	for e := range doc.Elements {
		m, ok := metric(e)
		if !ok || len(h.Metrics) >= maxMetrics {
			h.Dropped++
			continue
		}
		h.Metrics = append(h.Metrics, m)
	}
}

// metric reads one, and reports whether it is one that means something.
func metric(doc shape.Document) (edge.Metric, bool) {
	var m shapes.EdgeMetric
	if shape.Decode(doc, &m) != nil || shape.Validate(m, nil) != nil {
		return edge.Metric{}, false
	}
	if m.MetricName == nil || m.Value == nil || math.IsNaN(*m.Value) || math.IsInf(*m.Value, 0) {
		return edge.Metric{}, false
	}
	return edge.Metric{
		Dimension: shape.Val(m.Dimension), Name: *m.MetricName, Value: *m.Value, At: shape.TimeOf(m.Timestamp),
	}, true
}

func result(in shapes.DeploymentResult) (edge.Result, error) {
	if n := len(in.DeploymentModels); n > maxResults {
		return edge.Result{}, fault.New(
			fault.Invalid, "A deployment can report at most %d models, not %d.", maxResults, n,
		)
	}
	r := edge.Result{
		Deployment: shape.Val(in.DeploymentName), Status: shape.Val(in.DeploymentStatus),
		Message: shape.Val(in.DeploymentStatusMessage),
		Start:   shape.TimeOf(in.DeploymentStartTime), End: shape.TimeOf(in.DeploymentEndTime),
	}
	for _, m := range in.DeploymentModels {
		r.Models = append(r.Models, edge.ModelResult{
			Handle: shape.Val(m.ModelHandle), Name: name(m.ModelName), Version: name(m.ModelVersion),
			Desired: string(shape.Val(m.DesiredState)), State: string(shape.Val(m.State)),
			Status: string(shape.Val(m.Status)),
			Reason: shape.Val(m.StatusReason), RollbackFailure: shape.Val(m.RollbackFailureReason),
			Comparison: comparison(m.Comparison),
		})
	}
	return r, nil
}

// comparison reads what a device says of one; counts that make no sense are none.
func comparison(in *shapes.Comparison) *edge.Comparison {
	if in == nil {
		return nil
	}
	count := func(n *int64) int64 { return max(0, shape.Val(n)) }
	took := func(s *float64) time.Duration { return edge.SecondsOf(shape.Val(s)) }
	return &edge.Comparison{
		Finding: edge.Finding(shape.Val(in.Finding)), Old: name(in.PreviousModelVersion), Since: shape.TimeOf(in.Since),
		Ran: took(in.RanInSeconds), OldBytes: count(in.PreviousMemory), NewBytes: count(in.Memory),
		Evidence: shape.Val(in.Evidence),
		Pairs: edge.Pairs{
			Compared: count(in.Compared), Differing: count(in.Differing), Failed: count(in.Failed),
			Late: count(in.Late), OldFailed: count(in.PreviousFailed), Shed: count(in.Shed),
			Repeated: count(in.Repeated),
			Apart:    count(in.Incomparable), OldTime: took(in.PreviousTimeInSeconds), NewTime: took(in.TimeInSeconds),
		},
	}
}

// name is what a device calls a model, cut to what is kept.
func name(s *string) string {
	n := 0
	for i := range shape.Val(s) {
		if n++; n > maxName {
			return (*s)[:i]
		}
	}
	return shape.Val(s)
}
