package serve

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// CaptureData hands tensors to the capture pipeline.
func (e *edge) CaptureData(ctx context.Context, r *edgemanager.CaptureDataRequest) (
	*edgemanager.CaptureDataResponse, error,
) {
	if e.s.parts.Capture == nil {
		return nil, status.Error(codes.FailedPrecondition, "this agent is not configured to capture data")
	}
	if n := len(r.InputTensors) + len(r.OutputTensors) + len(r.Inputs) + len(r.Outputs); n > e.s.cfg.MaxTensors {
		return nil, fault.New(fault.Invalid,
			"%d tensors and auxiliaries are more than the limit of %d", n, e.s.cfg.MaxTensors)
	}
	info, err := e.s.parts.Models.Info(r.ModelName)
	if err != nil {
		return nil, err
	}
	event := capture.Request{ModelName: r.ModelName, ModelVersion: info.ModelVersion, ID: r.CaptureId}
	if event.Time, err = momentOf(r.InferenceTimestamp, time.Now()); err != nil {
		return nil, err
	}
	// Captured tensors need not be what the model takes: their metadata counts.
	from := source{who: callerIn(ctx), left: e.s.cfg.MaxShared}
	if event.Inputs, err = from.decodeFree(r.InputTensors); err != nil {
		return nil, err
	}
	if event.Outputs, err = from.decodeFree(r.OutputTensors); err != nil {
		return nil, err
	}
	if event.AuxInputs, err = from.auxiliaries(r.Inputs); err != nil {
		return nil, err
	}
	if event.AuxOutputs, err = from.auxiliaries(r.Outputs); err != nil {
		return nil, err
	}
	if err := e.s.parts.Capture.Capture(ctx, event); err != nil {
		return nil, err
	}
	return &edgemanager.CaptureDataResponse{}, nil
}

// skew is how far in the future a time may lie: some clients round it up.
const skew = time.Second

// momentOf reads the time of an inference; without one it is now.
func momentOf(t *edgemanager.Timestamp, now time.Time) (time.Time, error) {
	if t == nil {
		return now, nil
	}
	const last = 253402300799 // the end of the year 9999
	if t.Nanos < 0 || t.Nanos > 999_999_999 || t.Seconds < 0 || t.Seconds > last {
		return now,
			fault.New(fault.Invalid,
				"the inference timestamp is not a time: %d seconds and %d nanoseconds", t.Seconds, t.Nanos)
	}
	at := time.Unix(t.Seconds, int64(t.Nanos))
	if at.After(now.Add(skew)) {
		return now,
			status.Errorf(codes.OutOfRange,
				"the inference timestamp lies %v in the future", at.Sub(now).Round(time.Second))
	}
	if at.After(now) {
		at = now
	}
	return at, nil
}

func (s *source) auxiliaries(as []*edgemanager.AuxilaryData) ([]capture.Auxiliary, error) {
	out := make([]capture.Auxiliary, len(as))
	for i, a := range as {
		encoding, ok := encodings[a.GetEncoding()]
		if !ok {
			return nil,
				fault.New(fault.Invalid,
					"the encoding %d of the auxiliary data %.80q is unknown", a.GetEncoding(), a.GetName())
		}
		data, err := s.bytes(a.GetByteData(), a.GetSharedMemoryHandle(), 0)
		if err != nil {
			return nil, err
		}
		out[i] = capture.Auxiliary{Name: a.GetName(), Encoding: encoding, Data: data}
	}
	return out, nil
}

var encodings = map[edgemanager.Encoding]capture.Encoding{
	edgemanager.Encoding_CSV: capture.CSV, edgemanager.Encoding_JSON: capture.JSON,
	edgemanager.Encoding_NONE: capture.None, edgemanager.Encoding_BASE64: capture.Base64,
}

// GetCaptureDataStatus tells what became of captured data.
func (e *edge) GetCaptureDataStatus(_ context.Context,
	r *edgemanager.GetCaptureDataStatusRequest,
) (*edgemanager.GetCaptureDataStatusResponse, error) {
	unknown := fault.New(fault.NotFound,
		"nothing was captured under the id %.128q since the agent started", r.CaptureId)
	if e.s.parts.Capture == nil {
		return nil, unknown
	}
	st := e.s.parts.Capture.Status(r.CaptureId)
	if st == capture.NotFound {
		return nil, unknown
	}
	return &edgemanager.GetCaptureDataStatusResponse{Status: edgemanager.CaptureDataStatus(st)}, nil
}
