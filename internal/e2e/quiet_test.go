package e2e

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-ml/slipway/internal/agent/cloud"
	"github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// meter passes connections on to an address and counts what goes over them.
func meter(t *testing.T, to string) (addr string, count *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	count = new(atomic.Int64)
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close() // the client sees it
				continue
			}
			pass := func(from, to net.Conn) {
				_, _ = io.Copy(io.MultiWriter(to, counter{count}), from) // it ends as its ends do
				_, _ = from.Close(), to.Close()
			}
			go pass(c, up)
			go pass(up, c)
		}
	}()
	return l.Addr().String(), count
}

type counter struct{ *atomic.Int64 }

func (t counter) Write(p []byte) (int, error) {
	t.Add(int64(len(p)))
	return len(p), nil
}

// What a device's day costs on the network: 288 heartbeats on one connection,
// and credentials for an hour at a time, which are renewed after two thirds of
// it. The real sizes of tokens and answers are in it; headers of packets are not.
func TestAHeartbeatOfAnIdleDeviceIsSmall(t *testing.T) {
	f := newField(t)
	cfg, err := config.Load(filepath.Join(f.dir, "agent.json"), "/run/agent.sock", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	server := strings.TrimPrefix(cfg.DataURL(), "https://")
	addr, bytes := meter(t, server)
	at := strings.NewReplacer(server, addr)
	dial := func() *cloud.Client {
		c, err := cloud.New(cloud.Config{
			Credentials: at.Replace(cfg.CredentialsURL()), Endpoint: at.Replace(cfg.DataURL()),
			Objects: at.Replace(cfg.ObjectsURL()),
			Region:  cfg.Region, Fleet: cfg.Fleet, Device: cfg.Device, Thing: cfg.Thing,
			CAFile: cfg.Cloud.CAFile, CertFile: cfg.Cloud.CertFile, KeyFile: cfg.Cloud.KeyFile,
			UserAgent: "slipway-agent/test", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	n := 0
	beat := func(c *cloud.Client) {
		t.Helper()
		n++ // another version, so that every signature is another one
		if _, err := c.Heartbeat(
			t.Context(), edge.Heartbeat{AgentVersion: fmt.Sprintf("0.1.%04d", n), HasModels: true},
		); err != nil {
			t.Fatal(err)
		}
	}
	c := dial()
	beat(c)
	first := bytes.Load()
	const beats = 60
	for range beats {
		beat(c)
	}
	each := (bytes.Load() - first) / beats
	t.Logf("handshake, credentials and the first heartbeat: %d bytes; each further one: %d", first, each)
	if each > 480 {
		t.Errorf("a heartbeat takes %d bytes", each)
	}
}
