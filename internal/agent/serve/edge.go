package serve

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// edge speaks the Edge Manager protocol (spec §7.1).
type edge struct {
	edgemanager.UnimplementedAgentServer
	s     *Server
	loads chan struct{} // one model is loaded at a time: each needs its memory

	mu      sync.Mutex
	loading map[string]bool // names that are being given
}

// nameShape is what a model may be called.
var nameShape = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9])*$`)

const maxName = 256

// Predict runs a model.
func (e *edge) Predict(ctx context.Context, r *edgemanager.PredictRequest) (*edgemanager.PredictResponse, error) {
	if len(r.Tensors) > e.s.cfg.MaxTensors {
		return nil, fault.New(fault.Invalid,
			"%d tensors are more than the limit of %d", len(r.Tensors), e.s.cfg.MaxTensors)
	}
	var outs []tensor.Tensor
	err := e.s.parts.Models.Call(ctx, r.Name, func(l *model.Loaded) error {
		memory := callMemory{from: &e.s.memory}
		from := source{who: callerIn(ctx), left: e.s.cfg.MaxShared, alloc: memory.alloc}
		in, err := from.decode(r.Tensors, &l.Info.Signature)
		if err != nil {
			return err
		}
		if outs, err = l.Predict(ctx, in); err != nil {
			return err
		}
		memory.release(outs)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &edgemanager.PredictResponse{Tensors: encode(outs)}, nil
}

// LoadModel loads a package from a folder.
func (e *edge) LoadModel(ctx context.Context, r *edgemanager.LoadModelRequest) (*edgemanager.LoadModelResponse, error) {
	if len(r.Name) > maxName || !nameShape.MatchString(r.Name) {
		return nil,
			fault.New(fault.Invalid,
				"the name %.80q must be letters, digits and inner hyphens, at most %d", r.Name, maxName)
	}
	if e.s.parts.Load == nil {
		return nil, status.Error(codes.Unimplemented, "this agent loads no models for applications")
	}
	dir, err := folder(r.Url)
	if err != nil {
		return nil, err
	}
	if !e.reserve(r.Name) {
		return nil, nameInUse(r.Name)
	}
	defer e.free(r.Name)
	select {
	case e.loads <- struct{}{}:
		defer func() { <-e.loads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l, err := e.s.parts.Load(ctx, dir, r.Name)
	who := callerIn(ctx)
	if err != nil {
		e.s.log.WarnContext(ctx, "load refused", "model", r.Name, "dir", dir, "caller", who, "err", err)
		return nil, loadStatus(err)
	}
	if !e.s.parts.Models.Add(r.Name, l) {
		_ = l.Close(ctx) // nobody has called it
		return nil, nameInUse(r.Name)
	}
	e.s.log.InfoContext(ctx, "model loaded for an application", "model", r.Name, "dir", dir, "caller", who)
	info, err := e.s.parts.Models.Info(r.Name)
	if err != nil {
		return nil, err
	}
	return &edgemanager.LoadModelResponse{Model: describe(&info)}, nil
}

// folder finds the folder of a package by what an application calls its url.
func folder(url string) (string, error) {
	missing := fault.New(fault.NotFound, "there is no folder %.256q on this device", url)
	path := strings.TrimPrefix(url, "file://")
	if path == "" || strings.Contains(path, "://") || strings.ContainsRune(path, 0) {
		return "", missing
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", missing.Because(err)
	}
	if at, err := os.Stat(path); err != nil || !at.IsDir() {
		return "", missing.Because(err)
	}
	return path, nil
}

// reserve keeps name for a load, unless it means something or is being given.
func (e *edge) reserve(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.s.parts.Models.Info(name); !errors.Is(err, model.ErrNotLoaded) || e.loading[name] {
		return false
	}
	if e.loading == nil {
		e.loading = map[string]bool{}
	}
	e.loading[name] = true
	return true
}

func (e *edge) free(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.loading, name)
}

func nameInUse(name string) error {
	return fault.New(fault.Exists, "the name %q is in use: unload that model first, or choose another name", name)
}

// loadStatus gives the errors of loading their statuses; what is not told
// apart is the package's fault.
func loadStatus(err error) error {
	code, says := statusOf(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = codes.NotFound
	case code == codes.Canceled, code == codes.DeadlineExceeded, code == codes.ResourceExhausted,
		code == codes.AlreadyExists, code == codes.NotFound:
	default:
		code = codes.FailedPrecondition
	}
	return status.Error(code, says)
}

// UnLoadModel frees a model and its name, after the calls under way.
func (e *edge) UnLoadModel(ctx context.Context, r *edgemanager.UnLoadModelRequest) (
	*edgemanager.UnLoadModelResponse, error,
) {
	old := e.s.parts.Models.Swap(r.Name, nil)
	if old == nil {
		return nil, fault.New(fault.NotFound,
			"no model is loaded under the name %.256q", r.Name).Because(model.ErrNotLoaded)
	}
	e.s.log.InfoContext(ctx, "model unloaded for an application", "model", r.Name, "caller", callerIn(ctx))
	// The name is gone already: an impatient caller must not leave the memory
	// behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.s.cfg.CallTimeout)
	defer cancel()
	if err := old.Close(ctx); err != nil {
		return nil, status.Error(codes.Internal, "the model was removed, but closing it failed: "+text(err))
	}
	return &edgemanager.UnLoadModelResponse{}, nil
}

// ListModels tells of all models. Nothing is asked of the models themselves,
// so that a broken one does no harm.
func (e *edge) ListModels(context.Context, *edgemanager.ListModelsRequest) (*edgemanager.ListModelsResponse, error) {
	infos := e.s.parts.Models.List()
	out := &edgemanager.ListModelsResponse{Models: make([]*edgemanager.Model, len(infos))}
	for i := range infos {
		out.Models[i] = describe(&infos[i])
	}
	return out, nil
}

// DescribeModel tells of one model.
func (e *edge) DescribeModel(_ context.Context,
	r *edgemanager.DescribeModelRequest,
) (*edgemanager.DescribeModelResponse, error) {
	info, err := e.s.parts.Models.Info(r.Name)
	if err != nil {
		return nil, err
	}
	return &edgemanager.DescribeModelResponse{Model: describe(&info)}, nil
}

func describe(i *model.Info) *edgemanager.Model {
	return &edgemanager.Model{
		// A folder may be called anything; strings of the protocol may not.
		Url:                   strings.ToValidUTF8(i.Dir, "\uFFFD"),
		Name:                  strings.ToValidUTF8(i.Handle, "\uFFFD"),
		InputTensorMetadatas:  metadata(i.Signature.Inputs),
		OutputTensorMetadatas: metadata(i.Signature.Outputs),
	}
}
