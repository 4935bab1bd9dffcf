package child

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Listens reports whether a process that we started holds the socket that
// listens on a TCP port: the leader itself or one of its members (Group or
// Session), for a launcher may leave the listening to a child. Between the
// choice of a port and the child's bind somebody else may have taken it, and
// that somebody may well answer health checks.
func Listens(port, leader int, members func(leader int) ([]int, error)) (bool, error) {
	sockets, err := listening(port)
	if err != nil || len(sockets) == 0 {
		return false, err
	}
	if holds(leader, sockets) { // mostly; there is no need to look at every process
		return true, nil
	}
	all, err := members(leader)
	for _, pid := range all {
		if holds(pid, sockets) {
			return true, nil
		}
	}
	return false, err
}

// listening returns the sockets that listen on a TCP port, as the names that
// they have among a process's descriptors.
func listening(port int) (map[string]bool, error) {
	found := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			const local, state, inode, listen = 1, 3, 9, "0A" // proc(5)
			c := strings.Fields(lines.Text())
			if len(c) > inode && c[state] == listen && strings.HasSuffix(c[local], fmt.Sprintf(":%04X", port)) {
				found["socket:["+c[inode]+"]"] = true
			}
		}
		err = lines.Err()
		_ = f.Close() // only read
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// holds reports whether a process has one of the sockets open.
func holds(pid int, sockets map[string]bool) bool {
	fds, _ := os.ReadDir(dir(pid) + "/fd") // it has ended
	for _, fd := range fds {
		if link, err := os.Readlink(dir(pid) + "/fd/" + fd.Name()); err == nil && sockets[link] {
			return true
		}
	}
	return false
}
