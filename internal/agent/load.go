package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/golden"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/mirror"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// runGolden runs the golden cases of a package.
func runGolden(ctx context.Context, r model.Runner, text []byte) error {
	cases, err := golden.Parse(text)
	if err != nil {
		return err
	}
	return golden.Run(ctx, r, cases)
}

// mirrors lets models run beside those of a table.
type mirrors struct {
	table  *handles.Table
	budget *mirror.Budget // of all of them together
}

// Begin implements device.Mirrors.
func (m mirrors) Begin(handle string, fresh model.Runner, asked *edge.Mirror) (device.Mirroring, error) {
	r, err := mirror.Begin(m.table, handle, fresh, asked, m.budget)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// goldenTime bounds the golden cases of a package that an application loads.
const goldenTime = time.Minute

// load loads a package that an application unpacked, after the same tests as
// one that was deployed. What the device learnt about old packages does not
// count: who may write to its folders may load from them.
func (a *Agent) load(ctx context.Context, folder, handle string) (*model.Loaded, error) {
	dir, err := a.copyPackage(ctx, folder)
	if err != nil {
		return nil, err
	}
	r, m, err := a.loadCopy(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &model.Loaded{Runner: copied{r, dir}, Info: model.Info{
		Handle: handle, ModelName: m.Metadata.ModelName, ModelVersion: m.Metadata.ModelVersion, Dir: folder,
		Signature: r.Signature(), LoadedAt: time.Now(),
	}}, nil
}

// loadVerified loads a package and runs its golden cases.
func (a *Agent) loadVerified(ctx context.Context, dir string, m *bundle.Manifest) (model.Runner, error) {
	p := model.Package{
		Dir: dir, ModelName: m.Metadata.ModelName, ModelVersion: m.Metadata.ModelVersion, Runtime: m.Metadata.Runtime,
		Signature: device.Signature(m),
	}
	r, err := timed{a.engine, a.metrics.loaded}.Load(ctx, p)
	if err != nil {
		return nil, err
	}
	if _, has := m.File(bundle.GoldenName); has {
		checking, cancel := context.WithTimeout(ctx, goldenTime)
		defer cancel()
		if _, err := golden.Check(checking, dir, r); err != nil {
			return nil,
				errors.Join(fmt.Errorf("the model failed its golden inputs: %w", err),
					r.Close(context.WithoutCancel(checking)))
		}
	}
	return r, nil
}

// noServer is the server of an agent that has none.
type noServer struct{ device.Cloud }

// Registration says that the device is not registered, and may ask again in a
// day; nothing else is asked then.
func (noServer) Registration(context.Context) (bool, time.Duration, error) {
	return false, 24 * time.Hour, nil
}

// Deployments offers none.
func (noServer) Deployments(context.Context) ([]edge.Deployment, edge.Hints, error) {
	return nil, edge.Hints{}, nil
}

// Heartbeat goes nowhere.
func (noServer) Heartbeat(context.Context, edge.Heartbeat) (edge.Hints, error) {
	return edge.Hints{}, nil
}

// socketFree refuses a path that is taken. A socket that a crash left behind is
// replaced later, unless it is to be kept; one that somebody listens on never.
func socketFree(path string, keep bool) error {
	switch _, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for the socket: %w", err)
	case keep:
		return fmt.Errorf("%s exists already; -f replaces a socket that nobody listens on", path)
	}
	return nil
}
