package devicetls_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
)

// pipes is a listener whose connections are net.Pipes.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p.conns); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Anybody can make up a certificate, and a device may keep its connection for
// minutes.
func TestAConnectionOnWhichNoDeviceWasRecognisedEndsSoon(t *testing.T) {
	ca := newCA(t)
	config, err := devicetls.Config(ca)
	if err != nil {
		t.Fatal(err)
	}
	cert, issued := device(t, ca)
	stranger, _ := device(t, newCA(t))
	synctest.Test(t, func(t *testing.T) {
		s := devicetls.Server(config, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if devicetls.Client(r) == issued.ID {
				connlimit.Prove(r.Context(), issued.ID)
			}
		}), slog.New(slog.DiscardHandler))
		l := pipes{make(chan net.Conn)}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ServeTLS(devicetls.Limit(l, connlimit.Config{}), "", "") }()
		defer func() { _ = s.Close(); <-done }()

		// ended is closed when the server has closed the connection.
		dial := func(cert tls.Certificate, protocol, say string) (ended chan struct{}) {
			here, there := net.Pipe()
			l.conns <- there
			c := tls.Client(here, &tls.Config{
				InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, NextProtos: []string{protocol},
			})
			t.Cleanup(func() { _ = here.Close() })
			ended = make(chan struct{})
			go func() {
				defer close(ended)
				if err := c.Handshake(); err == nil {
					go fmt.Fprint(c, say)
					_, _ = io.Copy(io.Discard, c)
				}
			}()
			return ended
		}
		const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		known := dial(cert, "http/1.1", get)
		strangers := map[string]chan struct{}{
			"silent":             dial(stranger, "http/1.1", ""),
			"with a request":     dial(stranger, "http/1.1", get),
			"silent in HTTP/2":   dial(stranger, "h2", preface),
			"half of a preface":  dial(stranger, "h2", preface[:10]),
			"without its device": dial(cert, "h2", preface), // it has not said a word
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		for name, ended := range strangers {
			select {
			case <-ended:
			default:
				t.Errorf("%s: the connection goes on", name)
			}
		}
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		select {
		case <-known:
			t.Error("the connection of the device has ended")
		default:
		}
	})
}
