package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// copiesDir is where, below the data root, the packages lie that applications
// had loaded. Nothing in it outlives the agent.
const copiesDir = "applications"

// What a package may take that an application brings, if the configuration says
// nothing, and what is left free on the disk, in bytes.
const (
	copySize    = 4 << 30
	copyFiles   = 1100 // a package has at most 1,000 and its head
	copyReserve = 64 << 20
)

// clearCopies removes what an agent before this one copied.
func (a *Agent) clearCopies() error {
	return os.RemoveAll(filepath.Join(a.cfg.DataRoot, copiesDir))
}

// copyPackage copies the files of a folder to a directory of the agent's own. The
// folder is its application's, who may change it at any time: what is verified
// has to be what is loaded, also when a worker starts again.
func (a *Agent) copyPackage(ctx context.Context, folder string) (dir string, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return "", err
	}
	defer root.Close() // only read
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return "", err
	}
	if len(entries) > copyFiles {
		return "", fmt.Errorf("the folder has %d files, more than a package may have", len(entries))
	}
	above := filepath.Join(a.cfg.DataRoot, copiesDir)
	if err := os.MkdirAll(above, 0o700); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(above, "package-"); err != nil {
		return "", err
	}
	left := int64(copySize)
	if a.cfg.MaxPackage > 0 {
		left = a.cfg.MaxPackage
	}
	for _, e := range entries {
		if err == nil {
			err = a.copyFile(ctx, root, e.Name(), dir, &left)
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// copyFile copies one file of at most left bytes.
func (a *Agent) copyFile(ctx context.Context, root *os.Root, name, dir string, left *int64) error {
	// A pipe must not hold the agent up.
	from, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close() // only read
	info, err := from.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q in the folder is not a file", name)
	case info.Size() > *left:
		return errors.New("the folder has more in it than a package may have")
	case uint64(info.Size())+copyReserve > a.root.Free():
		return fmt.Errorf("the disk has too little room for a copy of %q", name)
	}
	to, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, untrusted.NewReader(ctx, io.LimitReader(from, info.Size())))
	*left -= n
	return errors.Join(err, to.Close())
}

// copied is a model whose package is the agent's copy; it goes with the model.
type copied struct {
	model.Runner
	dir string
}

// Close closes the model and removes its package.
func (c copied) Close(ctx context.Context) error {
	return errors.Join(c.Runner.Close(ctx), os.RemoveAll(c.dir))
}

// loadCopy loads the package in dir, which is the agent's own copy.
func (a *Agent) loadCopy(ctx context.Context, dir string) (model.Runner, bundle.Manifest, error) {
	m, err := a.verifier.Check(ctx, os.DirFS(dir))
	if err != nil {
		return nil, m, err
	}
	r, err := a.loadVerified(ctx, dir, &m)
	return r, m, err
}
