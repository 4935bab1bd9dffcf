package engine

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
)

// A worker that loads beside one that serves must not take the processor from
// it: while it loads, it runs only when nobody else wants to (SCHED_IDLE). Not
// every user may take that back: it needs CAP_SYS_NICE or a nice limit that
// admits 0 (LimitNICE=+0 in a systemd unit). Without, workers load like any
// other process.

const schedOther = 0

// How long a worker has the lowest priority: on a machine that is never idle it
// would never be ready, or gone, otherwise.
const (
	whileLoading = 5 * time.Second
	whileEnding  = time.Second
)

// canLowerPriority tells whether this process may lower its priority and restore
// it. It tries on a thread that ends with the attempt if it can't.
func canLowerPriority() bool {
	result := make(chan bool)
	go func() {
		runtime.LockOSThread()
		if setPolicy(0, unix.SCHED_IDLE) != nil {
			runtime.UnlockOSThread() // it is as it was
			result <- false
			return
		}
		back := setPolicy(0, schedOther) == nil
		if back {
			runtime.UnlockOSThread()
		}
		result <- back
	}()
	return <-result
}

// setPolicy sets the policy of a thread, 0 for this one. It is the older of two
// system calls: the other one does not show its policy to a seccomp filter, so
// that a unit with RestrictRealtime= may refuse it.
func setPolicy(tid, policy int) error {
	var priority int32 // struct sched_param
	_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(tid), uintptr(policy),
		uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		return errno
	}
	return nil
}

// schedule gives all threads of processes a policy. Threads that begin meanwhile
// inherit it from those that have it, so that a second pass finds the last.
func schedule(pids []int, policy int, passes int) {
	for range passes {
		for _, pid := range pids {
			for _, tid := range child.Threads(pid) {
				_ = setPolicy(tid, policy) // it has just ended
			}
		}
	}
}

// lowerPriority makes the process, but not its children, run only when no other
// wants to, for so long at most.
func (p *process) lowerPriority(most time.Duration) {
	schedule([]int{p.pid}, unix.SCHED_IDLE, 1)
	p.restore = time.AfterFunc(most, func() {
		if !p.ended() {
			schedule(p.members(), schedOther, 2)
		}
	})
}

// restorePriority ends what lowerPriority began.
func (p *process) restorePriority() {
	if p.restore != nil && p.restore.Stop() && !p.ended() {
		schedule(p.members(), schedOther, 2)
	}
}

// Yield makes the worker run only when no other work of the device wants to, from
// now on and also while and after it starts again, or ends that; where the system does not allow
// to take it back, nothing happens.
func (w *Worker) Yield(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.yields = on && w.e.mayLowerPriority
	policy := schedOther
	if w.yields {
		policy = unix.SCHED_IDLE
	}
	if !w.e.mayLowerPriority {
		return
	}
	for _, p := range []*process{w.cur.Load(), w.coming} {
		if p != nil && !p.ended() {
			schedule(p.members(), policy, 2)
		}
	}
}

// Memory returns the bytes that the worker holds, files that it maps left out; 0
// if it is not running.
func (w *Worker) Memory() int64 { return w.rss() }
