package serve

import (
	"context"
	"strings"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/agent/proto/oip"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

// What the agent says of itself in the Open Inference Protocol.
const (
	serverName = "slipway-agent"
	platform   = "slipway_package"
)

// inference speaks the Open Inference Protocol over gRPC. A model is called by
// its handle; its version may be left out.
type inference struct {
	oip.UnimplementedGRPCInferenceServiceServer
	s *Server
}

// ServerLive says that the agent answers.
func (*inference) ServerLive(context.Context, *oip.ServerLiveRequest) (*oip.ServerLiveResponse, error) {
	return &oip.ServerLiveResponse{Live: true}, nil
}

// ServerReady says that the agent takes requests: it does as long as it runs.
func (*inference) ServerReady(context.Context, *oip.ServerReadyRequest) (*oip.ServerReadyResponse, error) {
	return &oip.ServerReadyResponse{Ready: true}, nil
}

// ModelReady tells whether a model is loaded in the version that is asked for.
func (o *inference) ModelReady(_ context.Context, r *oip.ModelReadyRequest) (*oip.ModelReadyResponse, error) {
	_, err := o.s.info(r.Name, r.Version)
	return &oip.ModelReadyResponse{Ready: err == nil}, nil
}

// ServerMetadata tells what the agent is.
func (o *inference) ServerMetadata(context.Context, *oip.ServerMetadataRequest) (*oip.ServerMetadataResponse, error) {
	return &oip.ServerMetadataResponse{
		Name: serverName, Version: o.s.cfg.Version, Extensions: []string{"binary_tensor_data"},
	}, nil
}

// ModelMetadata tells what a model takes and gives.
func (o *inference) ModelMetadata(_ context.Context, r *oip.ModelMetadataRequest) (*oip.ModelMetadataResponse, error) {
	i, err := o.s.info(r.Name, r.Version)
	if err != nil {
		return nil, err
	}
	return &oip.ModelMetadataResponse{
		Name: plain(r.Name), Versions: []string{plain(i.ModelVersion)}, Platform: platform,
		Inputs: oipMetadata(i.Signature.Inputs), Outputs: oipMetadata(i.Signature.Outputs),
	}, nil
}

func oipMetadata(specs []tensor.Spec) []*oip.ModelMetadataResponse_TensorMetadata {
	ms := make([]*oip.ModelMetadataResponse_TensorMetadata, len(specs))
	for i := range specs {
		ms[i] = &oip.ModelMetadataResponse_TensorMetadata{
			Name: plain(specs[i].Name), Datatype: specs[i].Type.OIP(), Shape: oiphttp.Shape(&specs[i]),
		}
	}
	return ms
}

// plain makes a name fit to be a string of the protocol, which must be UTF-8.
func plain(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// info describes a model in the version that is asked for, "" for any.
func (s *Server) info(name, version string) (model.Info, error) {
	i, err := s.parts.Models.Info(name)
	if err == nil {
		err = isVersion(&i, name, version)
	}
	return i, err
}

func isVersion(i *model.Info, name, version string) error {
	if version != "" && version != i.ModelVersion {
		return fault.New(fault.NotFound,
			"version %.80q of the model %.256q is not loaded; it is version %q", version, name, i.ModelVersion)
	}
	return nil
}

// ModelInfer runs a model.
func (o *inference) ModelInfer(ctx context.Context, r *oip.ModelInferRequest) (*oip.ModelInferResponse, error) {
	if len(r.Inputs) > o.s.cfg.MaxTensors {
		return nil, fault.New(fault.Invalid,
			"%d inputs are more than the limit of %d", len(r.Inputs), o.s.cfg.MaxTensors)
	}
	var resp *oip.ModelInferResponse
	err := o.s.parts.Models.Call(ctx, r.ModelName, func(l *model.Loaded) error {
		if err := isVersion(&l.Info, r.ModelName, r.ModelVersion); err != nil {
			return err
		}
		in, err := decodeOIP(r, &l.Info.Signature)
		if err != nil {
			return err
		}
		outs, err := l.Predict(ctx, in)
		if err != nil {
			return err
		}
		outs, err = selected(r.Outputs, outs)
		if err != nil {
			return err
		}
		resp = &oip.ModelInferResponse{ModelName: plain(r.ModelName), ModelVersion: plain(l.ModelVersion), Id: r.Id}
		encodeOIP(resp, outs, len(r.RawInputContents) > 0)
		return nil
	})
	return resp, err
}

// selected returns the outputs that are wanted, in that order; all if the
// caller does not choose.
func selected(want []*oip.ModelInferRequest_InferRequestedOutputTensor, outs []tensor.Tensor) ([]tensor.Tensor, error) {
	if len(want) == 0 {
		return outs, nil
	}
	if len(want) > len(outs) {
		return nil, fault.New(fault.Invalid, "more outputs are asked for than the %d that the model gives", len(outs))
	}
	chosen := make([]tensor.Tensor, 0, len(want))
	for _, w := range want {
		at := -1
		for i := range outs {
			if plain(outs[i].Name) == w.GetName() {
				at = i
			}
		}
		if at < 0 {
			return nil, fault.New(fault.Invalid, "the model has no output %.256q", w.GetName())
		}
		chosen = append(chosen, outs[at])
	}
	return chosen, nil
}
