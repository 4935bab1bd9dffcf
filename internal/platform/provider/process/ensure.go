package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

const defaultGrace = 30 * time.Second

// Ensure implements provider.Provider. With the model data on this host it takes
// a few milliseconds: two small files and a fork. What it returns has an address.
func (p *Provider) Ensure(ctx context.Context, id provider.ID, s provider.Spec) (provider.Status, error) {
	e, err := p.enter(ctx, id)
	if err != nil {
		return provider.Status{}, fmt.Errorf("ensure instance %s: %w", id, err)
	}
	defer p.leave(e)
	if st, ok := p.runs(e); ok {
		return st, nil
	}
	modelDir, err := p.stage(ctx, e, s)
	if err == nil {
		err = ctx.Err() // it would be started for nobody
	}
	if err == nil {
		err = p.start(ctx, e, s, modelDir)
	}
	if err != nil {
		return provider.Status{}, fmt.Errorf("ensure instance %s: %w", id, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return e.run.status(id), nil
}

func (p *Provider) runs(e *entry) (provider.Status, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.run == nil || e.run.exited {
		return provider.Status{}, false
	}
	return e.run.status(e.id), true
}

// stage brings the model data to this host, within the limit for it and until
// Close, and returns its directory: an empty one for a model without data, as a
// container would have.
func (p *Provider) stage(ctx context.Context, e *entry, s provider.Spec) (dir string, err error) {
	if s.ModelData == nil {
		return p.paths.noModel(), nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.closing, cancel)()
	if s.DownloadTimeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, s.DownloadTimeout)
		defer cancel()
	}
	p.setWaiting(e, "Its model data is being fetched from "+s.ModelData.URI+".")
	defer p.setWaiting(e, "")
	if dir, err = p.cfg.Fetch(ctx, *s.ModelData); err != nil {
		return "", &provider.ModelDataError{Err: err}
	}
	return dir, nil
}

func (p *Provider) setWaiting(e *entry, what string) {
	p.mu.Lock()
	e.waiting = what
	p.mu.Unlock()
}

// start brings up a new process; whatever fails, nothing is left running.
func (p *Provider) start(ctx context.Context, e *entry, s provider.Spec, modelDir string) (err error) {
	port, err := p.ports.Reserve()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.ports.Release(port)
		}
	}()
	l, err := p.prepare(e.id, s, modelDir, port)
	if err != nil {
		return err
	}
	log, err := p.claimLog(ctx, e.id)
	if err != nil {
		return err
	}
	defer log.Close() // the instance has its own copy
	l.attr.Files = []uintptr{0, log.Fd(), log.Fd()}
	if err := os.MkdirAll(l.attr.Dir, 0o700); err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	rec := record{
		ID: e.id, Phase: starting, Boot: p.boot, Port: port, Grace: cmp.Or(s.StopGrace, defaultGrace),
		Began: time.Now().UTC(),
		Image: s.Image, InstanceType: s.InstanceType, Endpoint: s.Endpoint, Variant: s.Variant,
	}
	if s.ModelData != nil {
		rec.ModelDir = modelDir
	}
	if err := p.paths.write(rec); err != nil {
		return err
	}
	p.startKeeper()
	failpoint.Hit(hitIntended)
	r, err := p.fork(l, rec)
	if err != nil {
		return errors.Join(err, p.takeBack(e))
	}
	p.register(e, r)
	p.log.InfoContext(ctx, "instance started", "instance", e.id, "endpoint", s.Endpoint, "variant", s.Variant,
		"pid", r.rec.PID, "port", port)
	return nil
}

// launch is a process about to be.
type launch struct {
	image string
	path  string
	argv  []string
	attr  syscall.ProcAttr
}

func (p *Provider) prepare(id provider.ID, s provider.Spec, modelDir string, port int) (*launch, error) {
	args, err := argv(s, modelDir, port)
	if err != nil {
		return nil, err
	}
	path, err := program(s.Image, args[0])
	if err != nil {
		return nil, err
	}
	env, err := environment(id, s, p.paths.record(id), modelDir, port)
	if err != nil {
		return nil, err
	}
	// The working directory is the instance's own: in the model's directory an
	// interpreter might take its modules from there.
	return &launch{s.Image, path, args, syscall.ProcAttr{Dir: p.paths.work(id), Env: env}}, nil
}

// fork starts the process in a session of its own, so that no signal to the
// server's terminal or group reaches it, and records it.
func (p *Provider) fork(l *launch, rec record) (*run, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	l.attr.Files[0] = null.Fd()
	pidfd := -1
	l.attr.Sys = &syscall.SysProcAttr{Setsid: true}
	if !p.cfg.NoPidfd {
		l.attr.Sys.PidFD = &pidfd
	}
	pid, err := syscall.ForkExec(l.path, l.argv, &l.attr)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) ||
			errors.Is(err, syscall.E2BIG) {
			return nil, fault.New(fault.Invalid, "image %q: program %q cannot be started: %s", l.image, l.path,
				why(err)).
				Because(err)
		}
		return nil, fmt.Errorf("start %s: %w", l.path, err)
	}
	failpoint.Hit(hitForked)
	// It cannot be collected before it is watched: even if it has ended by now,
	// its status is there to be read.
	st, err := child.ReadStat(pid)
	if err == nil {
		rec.Phase, rec.PID, rec.Start = running, pid, st.Start
		err = p.paths.write(rec)
	}
	if err != nil {
		_ = unix.Kill(-pid, unix.SIGKILL) // our uncollected child: the id is surely its own
		_, _ = wait(pid)                  // only its end matters
		if pidfd >= 0 {
			_ = unix.Close(pidfd) // nothing to lose
		}
		return nil, err
	}
	failpoint.Hit(hitRecorded)
	return &run{rec: rec, child: true, pidfd: pidfd, done: make(chan struct{})}, nil
}

// why names the few reasons that a person can mend.
func why(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it, its interpreter or its loader does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "it may not be executed"
	case errors.Is(err, syscall.E2BIG):
		return "its arguments and environment are too long"
	default:
		return "it is not a program for this machine"
	}
}

// takeBack undoes the record of a start that came to nothing.
func (p *Provider) takeBack(e *entry) error {
	p.mu.Lock()
	r := e.run // if any, it has exited and changes no more
	p.mu.Unlock()
	if r == nil {
		return p.erase(e.id)
	}
	rec := r.rec
	rec.Phase, rec.Detail = exited, r.detail
	return p.paths.write(rec)
}

// wait collects a child.
func wait(pid int) (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return ws, err
		}
	}
}
