// Package failpoint kills the process at a named step, so that tests can prove
// what survives a kill -9 there. Code calls Hit at each step worth dying at;
// a test starts the program with SLIPWAY_FAILPOINT=<name>, or <name>:<n> to die
// at the n-th time the step is reached. Without that variable Hit costs one
// comparison. Injecting errors or delays is not its job.
//
// Names read <package>.<step>, such as process.started, and are constants in
// the code that calls Hit: a test that lists them finds them by grep.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Env is the environment variable that arms one fail point.
const Env = "SLIPWAY_FAILPOINT"

type point struct {
	name string
	left atomic.Int64 // hits until death; the only state here, and only in a process meant to die
}

// armed reads the environment once: a process is born to die at one place.
var armed = sync.OnceValue(func() *point { return parse(os.Getenv(Env)) })

// parse understands <name> and <name>:<n>; a missing or malformed n is 1.
func parse(s string) *point {
	p := new(point)
	name, count, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	p.name = name
	p.left.Store(n)
	return p
}

// Hit ends the process with SIGKILL if the fail point name is armed: no
// deferred call runs and nothing is flushed, as when the machine loses it.
func Hit(name string) {
	p := armed()
	if p.name == "" || p.name != name || p.left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // cannot fail for oneself
	select {}                                      // the signal may take a moment to land; no further step may run
}
