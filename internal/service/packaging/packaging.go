// Package packaging carries out compilation and edge packaging jobs and keeps
// the keys that sign packages. A job is a durable row whose turns are taken by
// loop.Runner: a turn may be taken twice, outputs appear whole or not at all,
// and a job that was asked to stop does. It promises that a COMPLETED job's
// output is there and is what the record says. What a job may do and what
// follows is decided by package domain/packaging; handing packages to devices
// is not its job.
package packaging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/id"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
)

// Config is what a Service is made of.
type Config struct {
	Store   jobs.DB
	Objects *objects.Store
	// Fetch unpacks an archive, which is hostile, from the object store, as
	// artifact.Cache.Fetch does. Tests have it wait.
	Fetch func(ctx context.Context, d hosting.ModelData) (artifact.Model, error)
	// Optimizer returns the command that runs slipway-onnx, without arguments.
	Optimizer func() ([]string, error)
	// ArtifactInUse reports whether an active stage refers to the object; such
	// an object is not overwritten. Nil: none does.
	ArtifactInUse func(ctx context.Context, s3url string) (bool, error)
	WorkDir       string // for temporary files; emptied by New
	Concurrency   int    // jobs at a time; 0 means 2
	Log           *slog.Logger
}

// Service carries out jobs.
type Service struct {
	cfg Config
	log *slog.Logger
	due loop.Wakeup // notified when jobs may have fallen due

	mu   sync.Mutex
	dirs map[string]int // in use, by how many turns
}

// New returns a Service. It removes what a crash left in the work directory.
func New(c Config) (*Service, error) {
	c.Concurrency = cmp.Or(c.Concurrency, 2)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if err := os.MkdirAll(c.WorkDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the work directory of packaging: %w", err)
	}
	left, err := os.ReadDir(c.WorkDir)
	if err != nil {
		return nil, fmt.Errorf("clean the work directory of packaging: %w", err)
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(c.WorkDir, e.Name())); err != nil {
			return nil, fmt.Errorf("clean the work directory of packaging: %w", err)
		}
	}
	return &Service{cfg: c, log: c.Log, due: loop.NewWakeup(), dirs: map[string]int{}}, nil
}

// Dirs returns the directories that Fetch returned and turns still read.
func (s *Service) Dirs() (dirs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.dirs {
		dirs = append(dirs, d)
	}
	return dirs
}

func (s *Service) use(dir string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dirs[dir] += n; s.dirs[dir] == 0 {
		delete(s.dirs, dir)
	}
}

// maxUnfinished is how many jobs may wait or be in work.
const maxUnfinished = 1000

// CreateCompilation records a compilation job and returns its ARN.
func (s *Service) CreateCompilation(
	ctx context.Context, sc arn.Scope, name string, c packaging.Compile, document []byte, tags []hosting.Tag,
) (string, error) {
	if _, _, ok := packaging.SplitS3(c.Input); !ok {
		return "", fault.New(fault.Invalid, "InputConfig.S3Uri must be the s3:// address of an object.")
	}
	if err := checkLocation(c.OutputAt); err != nil {
		return "", err
	}
	if c.Shapes != "" {
		if _, err := packaging.ParseShapes(c.Shapes); err != nil {
			return "", err
		}
	}
	j := &packaging.Job{Kind: packaging.Compilation, Scope: sc, Name: name, Document: document, Compile: &c}
	return s.create(ctx, j, tags, c.MaxTime, nil)
}

// CreatePackaging records a packaging job. The compilation job must be
// COMPLETED (spec §2.12).
func (s *Service) CreatePackaging(
	ctx context.Context, sc arn.Scope, name string, p packaging.Pack, document []byte, tags []hosting.Tag,
) (string, error) {
	if err := checkLocation(p.OutputAt); err != nil {
		return "", err
	}
	j := &packaging.Job{Kind: packaging.Packaging, Scope: sc, Name: name, Document: document}
	return s.create(ctx, j, tags, 0, func(tx jobs.Tx) error {
		p := p
		c, err := tx.Job(ctx, packaging.Compilation, sc, p.CompilationJob)
		if errors.Is(err, fault.NotFound) {
			_, text := fault.Public(err)
			return fault.New(fault.Invalid, "%s", text).Because(err)
		}
		if err != nil {
			return err
		}
		if c.State.Status != packaging.Completed {
			return fault.New(fault.Invalid, "The compilation job '%s' is %s; only a COMPLETED one can be packaged.",
				c.Name, c.State.Status)
		}
		p.Source, p.Target = *c.Compile.Result, c.Compile.Target
		p.Serial, err = tx.NextSerial(ctx)
		j.Pack = &p
		return err
	})
}

func checkLocation(uri string) error {
	bucket, key, ok := packaging.SplitS3(uri + "/x") // a bucket alone is a location
	if !ok || bucket == "" || len(key) > 1000 {
		return fault.New(fault.Invalid, "S3OutputLocation must be an s3:// address.")
	}
	return nil
}

func (s *Service) create(
	ctx context.Context, j *packaging.Job, tags []hosting.Tag, maxTime time.Duration, prepare func(jobs.Tx) error,
) (string, error) {
	j.ID, j.State = id.New("j"), packaging.New(clock.Now(), maxTime)
	err := s.cfg.Store.Change(ctx, func(tx jobs.Tx) error {
		if n, err := tx.UnfinishedJobs(ctx); err != nil {
			return err
		} else if n >= maxUnfinished {
			return fault.New(fault.Limit, "There are %d unfinished jobs; wait until some have ended.", n)
		}
		if prepare != nil {
			if err := prepare(tx); err != nil {
				return err
			}
		}
		if err := tx.InsertJob(ctx, j); err != nil {
			return err
		}
		if err := hosting.CheckTags(nil, tags); err != nil {
			return err
		}
		return tx.PutTags(ctx, j.ARN(), tags)
	})
	if err != nil {
		return "", err
	}
	s.due.Notify()
	return j.ARN(), nil
}

// Job returns a job's record.
func (s *Service) Job(ctx context.Context, k packaging.Kind, sc arn.Scope, name string) (*packaging.Job, error) {
	return s.cfg.Store.Job(ctx, k, sc, name)
}

// List returns a page of jobs and whether more follow.
func (s *Service) List(ctx context.Context, sc arn.Scope, f packaging.Filter) ([]*packaging.Job, bool, error) {
	return s.cfg.Store.ListJobs(ctx, sc, f)
}

// Stop asks a job to stop. One that ended stays as it is.
func (s *Service) Stop(ctx context.Context, k packaging.Kind, sc arn.Scope, name string) error {
	err := s.cfg.Store.Change(ctx, func(tx jobs.Tx) error {
		j, err := tx.Job(ctx, k, sc, name)
		if err != nil {
			return err
		}
		at := clock.Now()
		next, changed := packaging.Stop(j.State, at)
		if !changed {
			return nil
		}
		j.State = next
		return tx.SaveJob(ctx, j, at)
	})
	if err == nil {
		s.due.Notify()
	}
	return err
}

// DeleteCompilation removes the record of a compilation job that ended.
// Artifacts and packaging jobs stay (spec §2.28).
func (s *Service) DeleteCompilation(ctx context.Context, sc arn.Scope, name string) error {
	return s.cfg.Store.Change(ctx, func(tx jobs.Tx) error {
		j, err := tx.Job(ctx, packaging.Compilation, sc, name)
		if err != nil {
			return err
		}
		if !j.State.Status.Terminal() {
			return fault.New(fault.Invalid, "The compilation job '%s' is %s; stop it before you delete it.", name,
				j.State.Status)
		}
		return tx.DeleteJob(ctx, j)
	})
}

// Package returns what a COMPLETED packaging job made; for another one, a
// fault.Invalid.
func (s *Service) Package(ctx context.Context, sc arn.Scope, job string) (packaging.Artifact, error) {
	j, err := s.cfg.Store.Job(ctx, packaging.Packaging, sc, job)
	if err != nil {
		return packaging.Artifact{}, err
	}
	r := j.Pack.Result
	if j.State.Status != packaging.Completed || r == nil {
		return packaging.Artifact{}, fault.New(fault.Invalid, "The edge packaging job '%s' is %s, not COMPLETED.", job,
			j.State.Status)
	}
	return packaging.Artifact{
		Job: job, S3URL: r.URI, SHA1: r.SHA1, SHA256: r.SHA256, Size: r.Size,
		ModelName: j.Pack.ModelName, ModelVersion: j.Pack.ModelVersion, Serial: j.Pack.Serial,
	}, nil
}

// SetFloor makes devices refuse, as soon as they accepted a package made from
// now on, packages of the model with a smaller serial. A floor never falls.
func (s *Service) SetFloor(ctx context.Context, sc arn.Scope, model string, serial int64) error {
	if serial < 0 {
		return fault.New(fault.Invalid, "A serial is not negative.")
	}
	return s.cfg.Store.Change(ctx, func(tx jobs.Tx) error { return tx.SetFloor(ctx, sc, model, uint64(serial)) })
}

// Serial returns the model and the serial of what a COMPLETED packaging job
// made.
func (s *Service) Serial(ctx context.Context, sc arn.Scope, job string) (model string, serial int64, err error) {
	a, err := s.Package(ctx, sc, job)
	return a.ModelName, int64(a.Serial), err
}
