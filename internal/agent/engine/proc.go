package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pids returns every process that can be seen, this one excepted.
func pids() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()                // only read
	names, _ := d.Readdirnames(-1) // what could be read is something
	var list []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil && pid > 1 && pid != os.Getpid() {
			list = append(list, pid)
		}
	}
	return list
}

// group returns the processes of a group.
func group(pgid int) []int {
	var list []int
	for _, pid := range pids() {
		if g, err := unix.Getpgid(pid); err == nil && g == pgid {
			list = append(list, pid)
		}
	}
	return list
}

// memoryOf returns the bytes that processes hold for themselves: pages of
// files, such as the library's, can be had again and are left out.
func memoryOf(pids []int) (sum int64) {
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			continue // it has just ended
		}
		for _, field := range []string{"RssAnon:", "RssShmem:"} {
			if _, rest, ok := bytes.Cut(b, []byte(field)); ok {
				sum += kibibytes(rest)
			}
		}
	}
	return sum
}

// kibibytes reads "   1234 kB\n…" as bytes.
func kibibytes(b []byte) int64 {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(string(line), "kB")), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// endLeftovers kills the workers of an agent that used the run directory before
// and was killed, and removes its sockets. The kernel has ended the workers
// themselves by then; what they started may have stayed.
func endLeftovers(runDir string) (ended int) {
	mark := []byte(envRunDir + "=" + runDir + "\x00")
	for _, pid := range pids() {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil || !bytes.Contains(append(env, 0), mark) {
			continue
		}
		if unix.Kill(pid, unix.SIGKILL) == nil {
			ended++
		}
	}
	sockets, _ := filepath.Glob(filepath.Join(runDir, "*.sock")) // the pattern is good
	for _, s := range sockets {
		_ = os.Remove(s) // a socket of that number is refused otherwise, and the error says so
	}
	return ended
}

// listens tells whether a process of the group holds the listening socket of a
// port on this machine. Between the choice of the port and the worker's bind
// somebody else may have taken it, who may well answer /ping.
func listens(pgid, port int) bool {
	sockets := map[string]bool{}
	suffix := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // no IPv6
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			const local, state, inode, listen = 1, 3, 9, "0A" // proc(5)
			c := strings.Fields(lines.Text())
			if len(c) > inode && c[state] == listen && strings.HasSuffix(c[local], suffix) {
				sockets["socket:["+c[inode]+"]"] = true
			}
		}
		_ = f.Close() // only read
	}
	for _, pid := range group(pgid) {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has just ended
		}
		for _, fd := range fds {
			if link, err := os.Readlink(dir + "/" + fd.Name()); err == nil && sockets[link] {
				return true
			}
		}
	}
	return false
}
