package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// Listens implements provider.Listener: whether a process of the instance
// itself holds the listening socket of its port. Between the choice of a port
// and the instance's bind somebody else may have taken it, and that somebody
// may well answer health checks.
func (p *Provider) Listens(_ context.Context, id provider.ID) (bool, error) {
	p.mu.Lock()
	e := p.entries[id]
	if e == nil || e.run == nil || e.run.exited {
		p.mu.Unlock()
		return false, nil
	}
	pid, port := e.run.rec.PID, e.run.rec.Port
	p.mu.Unlock()
	sockets, err := listening(port)
	if err != nil || len(sockets) == 0 {
		return false, err
	}
	if holds(pid, sockets) {
		return true, nil
	}
	all, err := pids() // a launcher may have left the listening to a child
	if err != nil {
		return false, err
	}
	for _, other := range all {
		if sid, err := unix.Getsid(other); err == nil && sid == pid && holds(other, sockets) {
			return true, nil
		}
	}
	return false, nil
}

// listening returns the sockets that listen on a TCP port, as the names that
// they have among a process's descriptors.
func listening(port int) (map[string]bool, error) {
	found := map[string]bool{}
	suffix := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			const local, state, inode, listen = 1, 3, 9, "0A" // proc(5)
			c := strings.Fields(lines.Text())
			if len(c) > inode && c[state] == listen && strings.HasSuffix(c[local], suffix) {
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
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended
	}
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "/" + fd.Name()); err == nil && sockets[link] {
			return true
		}
	}
	return false
}
