package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procStat is what /proc/<pid>/stat says of a process.
type procStat struct {
	state byte
	start uint64 // clock ticks since boot
	exit  int    // wait status of a zombie, -1 if the kernel does not tell
}

// dead reports whether the process ended. A zombie did: where no init collects
// orphans it stays for ever.
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

// parseStat reads the fields after the program's name, which may itself hold
// spaces and parentheses (proc(5)).
func parseStat(b []byte) (procStat, error) {
	_, rest, ok := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(") "))
	f := strings.Fields(string(rest))
	if !ok || len(f) < 20 || len(f[0]) != 1 {
		return procStat{}, fmt.Errorf("unreadable process status %.80q", b)
	}
	start, err := strconv.ParseUint(f[19], 10, 64) // field 22
	if err != nil {
		return procStat{}, fmt.Errorf("unreadable start time: %w", err)
	}
	s := procStat{state: f[0][0], start: start, exit: -1}
	if len(f) >= 50 { // field 52, only for who may trace the process
		if n, err := strconv.Atoi(f[49]); err == nil {
			s.exit = n
		}
	}
	return s, nil
}

// lives reports whether the process that started then is still there.
func lives(pid int, start uint64) bool {
	s, err := readStat(pid)
	if err != nil || s.start != start {
		return false
	}
	if s.state == 'Z' { // only its first thread may have ended
		tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		return err == nil && len(tasks) > 1
	}
	return !s.dead()
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("this machine has no usable /proc: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// marked returns the value of envState in a process's environment, "" if it has
// none or may not be read.
func marked(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if path, ok := bytes.CutPrefix(v, []byte(envState+"=")); ok {
			return string(path)
		}
	}
	return ""
}

// writesTo reports whether the standard output or error of pid is the file.
func writesTo(pid int, file string) bool {
	for _, fd := range []string{"1", "2"} {
		if to, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd", fd)); err == nil && to == file {
			return true
		}
	}
	return false
}

// pids returns every process that can be seen, this one excepted.
func pids() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil && pid > 1 && pid != os.Getpid() {
			list = append(list, pid)
		}
	}
	return list, nil
}

// killIf kills pid if it is what ours says it is. Where the kernel has process
// descriptors, the process that is asked about and the one that is killed are
// the same even if the pid is reused in between.
func killIf(pid int, ours func(pid int) bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if ours(pid) {
			_ = unix.Kill(pid, unix.SIGKILL) // gone already, or the next look finds it again
		}
		return
	}
	defer unix.Close(fd)
	if ours(pid) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // as above
	}
}
