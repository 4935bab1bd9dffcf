package agent

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells systemd how the agent is (sd_notify(3)), if it asked to know.
type notifier struct {
	addr  string
	every time.Duration // between two signs of life; 0 if none are wanted
	log   *slog.Logger
}

// newNotifier reads what systemd put into the environment.
func newNotifier(getenv func(string) string, log *slog.Logger) *notifier {
	n := &notifier{addr: getenv("NOTIFY_SOCKET"), log: log}
	if n.addr != "" && n.addr[0] == '@' {
		n.addr = "\x00" + n.addr[1:]
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	pid := getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.every = time.Duration(usec) * time.Microsecond / 3
	}
	return n
}

func (n *notifier) send(state string) {
	if n.addr == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.addr, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(state))
		_ = c.Close() // it was sent, or it was not
	}
	if err != nil {
		n.log.Warn("systemd could not be told", "state", state, "err", err)
	}
}

// watch gives signs of life while alive says so, until ctx ends.
func (n *notifier) watch(ctx context.Context, alive func() bool) {
	if n.addr == "" || n.every <= 0 {
		return
	}
	tick := time.NewTicker(n.every)
	defer tick.Stop()
	for {
		if alive() {
			n.send("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
