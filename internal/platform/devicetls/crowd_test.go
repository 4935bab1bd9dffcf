package devicetls_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
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
		CurvePreferences: []tls.CurveID{tls.X25519}, // quick
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

// crowd is a listener of devices behind one address, and those who come to it.
type crowd struct {
	t      *testing.T
	l      pipes
	cert   tls.Certificate
	turned atomic.Int64
	stop   func()
}

// newCrowd starts a server in a bubble. Whoever makes a request is a device.
func newCrowd(t *testing.T, config *tls.Config, cert tls.Certificate, c connlimit.Config) *crowd {
	w := &crowd{t: t, l: pipes{make(chan net.Conn)}, cert: cert}
	s := devicetls.Server(config, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		connlimit.Prove(r.Context(), r.Header.Get("Device"))
	}), slog.New(slog.DiscardHandler))
	c.Turned = func(connlimit.Reason) { w.turned.Add(1) }
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(devicetls.Limit(w.l, c), "", "") }()
	w.stop = func() { synctest.Wait(); _ = s.Close(); <-done }
	return w
}

// come has all devices come at once, and again as soon as they are turned away,
// and returns how long it takes until all of them are in.
func (w *crowd) come(devices int) time.Duration {
	start := time.Now()
	var in sync.WaitGroup
	conns := make(chan net.Conn, devices)
	for i := range devices {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		in.Go(func() {
			for range 200 {
				c, err := w.l.ask(w.cert, fmt.Sprint("device ", i), 300*time.Millisecond)
				if err == nil {
					conns <- c
					return
				}
				time.Sleep(500*time.Millisecond + time.Duration(r.Int64N(int64(time.Second))))
			}
			w.t.Errorf("device %d did not get in", i)
		})
	}
	in.Wait()
	took := time.Since(start)
	// First their ends: the server would hold its lock while it says goodbye.
	close(conns)
	for c := range conns {
		_ = c.Close()
	}
	return took
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
		w := newCrowd(t, config, cert, connlimit.Config{Max: 4 * devices, PerAddress: places})
		// Each place serves ten of them, a handshake and a request after the other.
		took := w.come(devices)
		if took > time.Minute {
			t.Errorf("it took %s", took)
		}
		t.Logf("all were in after %s; %d times one was turned away", took, w.turned.Load())
		w.stop()
	})
}

// flood has somebody keep so many connections open from the devices' address, of
// which each says the same and no more, and is opened anew when it ends. The
// returned function ends that.
func (w *crowd) flood(attackers int, say []byte) (end func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for range attackers {
		all.Go(func() {
			for {
				here, there := net.Pipe()
				select {
				case w.l.conns <- there:
				case <-done:
					return
				}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = here.Write(say)
					_, _ = io.Copy(io.Discard, here)
				}()
				select {
				case <-ended:
				case <-done:
				}
				_ = here.Close()
				<-ended
				time.Sleep(100 * time.Millisecond) // as far as he is away
			}
		})
	}
	return func() { close(done); all.Wait() }
}

// firstFlight returns what a client says first.
func firstFlight(t *testing.T) []byte {
	here, there := net.Pipe()
	c := tls.Client(here, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}})
	go func() { _ = c.Handshake() }()
	hello := make([]byte, 16<<10)
	n, err := there.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	_ = there.Close()
	return hello[:n]
}

// A stranger behind the address of 600 devices holds as many connections as there
// are places for those who have shown nothing, and opens new ones as soon as one
// ends. All devices get in nevertheless, within half a minute.
func TestAStrangerBehindTheSameAddressKeepsNoDeviceOut(t *testing.T) {
	const devices, places = 600, 1024
	ca := newCA(t)
	config, err := devicetls.Config(ca)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := device(t, ca)
	hello := firstFlight(t)
	for name, say := range map[string][]byte{
		"silent": nil, "half of a first message": hello[:len(hello)/2], "all of it, and no more": hello,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCrowd(t, config, cert, connlimit.Config{PerAddress: places})
				end := w.flood(places, say)
				time.Sleep(2 * time.Second)
				took := w.come(devices)
				if took > 30*time.Second {
					t.Errorf("it took %s", took)
				}
				t.Logf("all were in after %s; %d times one was turned away", took, w.turned.Load())
				end()
				w.stop()
			})
		})
	}
}
