// Package child knows what Linux tells of processes that this program started,
// and of what those started: whether one still runs, what it takes, whether it
// is the one that listens on a port. A process id alone names nobody for long,
// so whoever keeps one keeps the start time beside it.
//
// Starting processes, restarting them and deciding when one has to end is not
// its job: package process does that for instances, agent/engine for workers.
package child

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PIDs returns every process that can be seen, except for this one and init.
func PIDs() ([]int, error) {
	all, err := numbers("/proc")
	list := all[:0]
	for _, pid := range all {
		if pid > 1 && pid != os.Getpid() {
			list = append(list, pid)
		}
	}
	return list, err
}

// Group returns the processes of a process group.
func Group(leader int) ([]int, error) { return members(leader, unix.Getpgid) }

// Session returns the processes of a session, whatever groups they are in.
func Session(leader int) ([]int, error) { return members(leader, unix.Getsid) }

func members(leader int, of func(pid int) (int, error)) (list []int, err error) {
	all, err := PIDs()
	for _, pid := range all {
		if l, err := of(pid); err == nil && l == leader {
			list = append(list, pid)
		}
	}
	return list, err
}

// Threads returns the threads of a process, none if it has ended.
func Threads(pid int) []int {
	list, _ := numbers(dir(pid) + "/task") // it has ended
	return list
}

// Env returns a variable of the environment that a process was started with, ""
// if it has none or may not be read. Its children inherit it: a variable with a
// value of its own marks a process and all that comes of it.
func Env(pid int, key string) string {
	b, err := os.ReadFile(dir(pid) + "/environ")
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if value, ok := strings.CutPrefix(string(v), key+"="); ok {
			return value
		}
	}
	return ""
}

// Opened looks at what a process has open, cwd or fd/N: the path at which it lies
// now, "" if that cannot be seen, and whether it is the very file or directory at
// own, not a copy of it.
func Opened(pid int, link, own string) (path string, same bool) {
	link = dir(pid) + "/" + link
	path, err := os.Readlink(link)
	if err != nil {
		return "", false
	}
	has, err := os.Stat(link) // what is open, whatever lies at its path by now
	if err != nil {
		return path, false
	}
	is, err := os.Stat(own)
	return path, err == nil && os.SameFile(has, is)
}

// Kill sends SIGKILL to the process if it is ours, and reports whether it did.
// Where the kernel has process descriptors, the process that is asked about and
// the one that is killed are the same even if the number is given away between.
func Kill(pid int, ours func(pid int) bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return ours(pid) && unix.Kill(pid, unix.SIGKILL) == nil
	}
	defer unix.Close(fd)
	return ours(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// OfferToOOMKiller has the kernel choose the process before its parent when
// memory runs out. It is a wish: without the right to say so it runs as it is.
func OfferToOOMKiller(pid int) {
	_ = os.WriteFile(dir(pid)+"/oom_score_adj", []byte("500"), 0) // see above
}

func dir(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// numbers returns the entries of a directory that are numbers.
func numbers(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close() // only read
	names, err := d.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	if err != nil {
		err = fmt.Errorf("list %s: %w", dir, err)
	}
	return list, err
}
