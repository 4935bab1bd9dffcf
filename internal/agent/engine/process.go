package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/platform/child"
)

// process is one run of a worker's program.
type process struct {
	*conns
	at   place
	pid  int
	solo bool // it has no children, ever
	tail tail
	done chan struct{} // closed when it and its group have ended; how is set before
	how  string

	oomBefore int64
	restore   *time.Timer // of its priority; nil if that was never lowered

	mu    sync.Mutex
	gone  bool   // its number may soon be another's
	asked string // why this package ended it; "" if it did not
}

// startProcess starts the program in a group of its own. The kernel kills it when the
// thread that started it ends, so that thread is kept for as long as it runs.
func startProcess(at place, dir string, c *conns) (*process, error) {
	p := &process{conns: c, at: at, solo: at.solo, done: make(chan struct{}), oomBefore: child.OOMKills()}
	cmd := &exec.Cmd{
		Path: at.args[0], Args: at.args, Env: at.env, Dir: dir, Stdout: &p.tail, Stderr: &p.tail,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		WaitDelay:   time.Second, // a process that left the group may hold the pipe
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
			// The kernel is to choose the worker when memory runs out, not the agent.
			child.OfferToOOMKiller(p.pid)
		}
		started <- err
		if err != nil {
			return
		}
		p.end(cmd)
	}()
	if err := <-started; err != nil {
		if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("%w: %w", model.ErrNoMemory, err)
		}
		return nil, err
	}
	return p, nil
}

// end waits for the process and cleans up after it. Its children end with it: while it
// is uncollected, its group's number can't belong to anybody else.
func (p *process) end(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	_ = unix.Kill(-p.pid, unix.SIGKILL) // mostly there is nobody left
	p.gone = true
	p.mu.Unlock()
	_ = cmd.Wait() // its state says how it ended
	p.how = p.describeEnd(cmd.ProcessState)
	p.conns.close()
	if p.at.network == "unix" {
		_ = os.Remove(p.at.address) // it removed it itself if it ended well
	}
	close(p.done)
}

// describeEnd says in words how the process ended.
func (p *process) describeEnd(s *os.ProcessState) string {
	how := s.String()
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		how = "killed by signal " + strconv.Itoa(int(ws.Signal()))
		if ws.Signal() == syscall.SIGKILL && p.why() == "" && child.OOMKills() > p.oomBefore {
			how = outOfMemory
		}
	}
	if why := p.why(); why != "" {
		how += " because " + why
	}
	if last := p.tail.last(); last != "" {
		how += ": " + last
	}
	return how
}

const outOfMemory = "killed by the kernel for lack of memory"

func (p *process) lacksMemory() bool { return strings.HasPrefix(p.how, outOfMemory) }

// kill ends the process at once; why is what the log will say of it.
func (p *process) kill(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked == "" && !p.gone {
		p.asked = why
	}
	p.signal(unix.SIGKILL)
}

// signal sends s to the process's group while it is there; mu is held.
func (p *process) signal(s syscall.Signal) {
	if !p.gone {
		_ = unix.Kill(-p.pid, s) // it ends just now
	}
}

func (p *process) why() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// stop asks the process to end and, after the grace, insists.
func (p *process) stop(grace time.Duration) {
	p.mu.Lock()
	p.signal(unix.SIGTERM)
	p.mu.Unlock()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.kill("it did not end when asked to")
		<-p.done
	}
}

// members returns the process and what it started, while it runs.
func (p *process) members() []int {
	if p.solo {
		return []int{p.pid}
	}
	pids, _ := child.Group(p.pid) // what could be seen is something
	return pids
}

// memory returns the bytes that the process and what it started hold for
// themselves: pages of files, such as the library's, can be had again and are
// left out.
func (p *process) memory() (sum int64) {
	for _, pid := range p.members() {
		sum += child.Memory(pid, "RssAnon", "RssShmem")
	}
	return sum
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// await returns when the process answers /ping, or says why it never will.
func (p *process) await(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNotReady)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := p.ping(ctx)
		if err == nil && p.at.port > 0 {
			err = p.checkListens()
		}
		if err == nil {
			return nil
		}
		t := time.NewTimer(pause)
		select {
		case <-p.done:
			t.Stop()
			if p.lacksMemory() {
				return fmt.Errorf("%w: the worker was %s", model.ErrNoMemory, p.how)
			}
			return fmt.Errorf("the worker ended before it was ready: %s", p.how)
		case <-ctx.Done():
			t.Stop()
			if errors.Is(context.Cause(ctx), errNotReady) {
				return fmt.Errorf("%w within %s; at last: %w", errNotReady, timeout, err)
			}
			return ctx.Err()
		case <-t.C:
		}
	}
}

// checkListens refuses somebody else who took the port between its choice and
// the worker's bind, and who may well answer /ping.
func (p *process) checkListens() error {
	itself, err := child.Listens(p.at.port, p.pid, child.Group)
	if err == nil && !itself {
		err = errors.New("somebody else listens on its port")
	}
	return err
}

var errNotReady = errors.New("the worker was not ready")

// tail keeps the end of what a worker prints.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	b = b[max(0, n-tailSize):]
	if over := len(t.text) + len(b) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	t.text = append(t.text, b...)
	return n, nil
}

// last returns the last line, of at most 500 bytes.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := bytes.TrimSpace(t.text)
	line = line[bytes.LastIndexByte(line, '\n')+1:]
	return strings.ToValidUTF8(string(line[:min(len(line), 500)]), "?")
}
