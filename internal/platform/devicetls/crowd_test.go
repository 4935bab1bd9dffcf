package devicetls_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
)

// slow is a connection over a network on which everything takes its time.
type slow struct {
	net.Conn
	by time.Duration
}

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(s.by)
	return s.Conn.Write(p)
}

// ask makes one request as a device, and keeps the connection if it is answered.
func (p pipes) ask(cert tls.Certificate, name string, by time.Duration) (net.Conn, error) {
	here, there := net.Pipe()
	p.conns <- there
	c := tls.Client(slow{here, by}, &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"},
	})
	var resp *http.Response
	_, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: h\r\nDevice: %s\r\n\r\n", name)
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(c), nil)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err != nil {
		_ = here.Close()
	}
	return here, err
}

// After a restart all devices come at once, many of them from one address, and come
// again as soon as they are turned away. Their handshakes take long: the server has
// few cores and the network is far. All of them get in, each in a few tries.
func TestACrowdBehindOneAddressGetsInAfterARestart(t *testing.T) {
	const devices, places = 600, 60
	ca := newCA(t)
	config, err := devicetls.Config(ca)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := device(t, ca)
	synctest.Test(t, func(t *testing.T) {
		s := devicetls.Server(config, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			connlimit.Prove(r.Context(), r.Header.Get("Device"))
		}), slog.New(slog.DiscardHandler))
		l := pipes{make(chan net.Conn)}
		var turned atomic.Int64
		limited := devicetls.Limit(l, connlimit.Config{
			Max: 4 * devices, PerAddress: places, Turned: func(connlimit.Reason) { turned.Add(1) },
		})
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ServeTLS(limited, "", "") }()

		start := time.Now()
		var in sync.WaitGroup
		conns := make(chan net.Conn, devices)
		for i := range devices {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			in.Go(func() {
				for range 200 {
					c, err := l.ask(cert, fmt.Sprint("device ", i), 300*time.Millisecond)
					if err == nil {
						conns <- c
						return
					}
					time.Sleep(500*time.Millisecond + time.Duration(r.Int64N(int64(time.Second))))
				}
				t.Errorf("device %d did not get in", i)
			})
		}
		in.Wait()
		// Each place serves ten of them, a handshake and a request after the other.
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		t.Logf("all were in after %s; %d times one was turned away", time.Since(start), turned.Load())
		// First their ends: the server would hold its lock while it says goodbye.
		close(conns)
		for c := range conns {
			_ = c.Close()
		}
		synctest.Wait()
		_ = s.Close()
		<-done
	})
}
