package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// children are the servers that the benchmark starts as processes of their
// own: this same program under another name.
var children = map[string]func(ctx context.Context, args []string) error{
	"child-upstream": upstreamChild,
	"child-router":   routerChild,
	"child-proxy":    proxyChild,
	"child-script":   scriptChild,
}

const (
	accessKey = "AKIABENCHMARK"
	secretKey = "0123456789012345678901234567890123456789"
	region    = "us-east-1"
	account   = "000000000000"
	invokeAt  = "/endpoints/bench/invocations"
)

// upstreamChild answers every request with its own body.
func upstreamChild(ctx context.Context, _ []string) error {
	s := http1.NewServer(http1.Config{MaxBody: 16 << 20}, "/", func(x *http1.Exchange) {
		body, err := x.Body()
		if err != nil {
			x.Abort()
			return
		}
		x.Start(200, int64(len(body)))
		x.AddHeader("Content-Type", "application/octet-stream")
		_, _ = x.Write(body) // a client that has left needs no answer
	})
	return serve(ctx, s)
}

type keyring struct{}

func (keyring) Key(id string) (sigv4.Key, bool) {
	return sigv4.Key{ID: accessKey, Secret: secretKey}, id == accessKey
}

// verifier says who signed a request.
type verifier interface {
	Admit(r sigv4.Request, now time.Time) (claimed sigv4.Identity, err error)
	Verify(r sigv4.Request, body []byte, now time.Time) (sigv4.Identity, error)
}

// trusting takes every request for one of the administrator's, unseen.
type trusting struct{}

func (trusting) Admit(sigv4.Request, time.Time) (sigv4.Identity, error) {
	return sigv4.Identity{AccessKeyID: accessKey}, nil
}

func (trusting) Verify(sigv4.Request, []byte, time.Time) (sigv4.Identity, error) {
	return sigv4.Identity{AccessKeyID: accessKey, Region: region, Service: "sagemaker"}, nil
}

// newVerifier returns one that verifies, or with open one that does not.
func newVerifier(open bool) verifier {
	if open {
		return trusting{}
	}
	return sigv4.NewVerifier(keyring{}, "sagemaker")
}

// routerChild is our data plane with one endpoint of one instance. It can be
// told to verify no signatures, and to be served by net/http: what it would be
// without either.
func routerChild(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("child-router", flag.ContinueOnError)
	upstream := fs.String("upstream", "", "address of the instance")
	profile := fs.String("profile", "", "where to write a CPU profile")
	open := fs.Bool("open", false, "verify no signatures")
	nethttp := fs.Bool("nethttp", false, "be served by net/http")
	observe := fs.String("observe", "", "have an observer: off, all, shadow or hangs; or two fleets: split, evidence")
	captured := fs.String("capture", "", "a directory to capture every request into")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	reg := prometheus.NewRegistry()
	cfg := router.Config{Registerer: reg}
	if *observe == "evidence" {
		wait, err := weighed(ctx, &cfg)
		if err != nil {
			return err
		}
		defer wait()
	}
	r, err := router.New(cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	fleet := traffic.Fleet{Config: "c", Share: 1, Instances: []traffic.Instance{{ID: "i", Address: *upstream}}}
	if *captured != "" {
		wait, err := captureInto(ctx, r, reg, *captured)
		if err != nil {
			return err
		}
		defer wait()
		fleet.Capture = whole()
	}
	scope := arn.Scope{Region: region, Account: account}
	rt := traffic.Route{Scope: scope, Name: "bench", Variants: []traffic.Variant{{
		Name: "v", Weight: 1, Container: "primary",
		Fleets: []traffic.Fleet{fleet},
	}}}
	if err := observed(r, &rt, *observe); err != nil {
		return err
	}
	r.Set(rt)
	api := runtime.New(runtime.Config{Router: r, Verifier: newVerifier(*open), Account: account})
	if *nethttp {
		return serve(ctx, &http.Server{Handler: api})
	}
	return serve(ctx, http1.NewServer(http1.Config{}, runtime.Prefix, api.Serve))
}

// proxyChild is what the standard library offers: a ReverseProxy, tuned, which
// reads and verifies the body of a request before it passes it on, or not.
func proxyChild(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("child-proxy", flag.ContinueOnError)
	upstream := fs.String("upstream", "", "address of the instance")
	open := fs.Bool("open", false, "verify no signatures, and stream bodies")
	if err := fs.Parse(args); err != nil {
		return err
	}
	v := newVerifier(*open)
	proxy := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: *upstream}) },
		Transport:  &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0), // wrk cuts its last requests off
	}
	return serve(ctx, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !*open {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
			if err == nil {
				_, err = v.Verify(sigv4.FromHTTP(r), body, time.Now())
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	})})
}

// buffers keeps what ReverseProxy copies through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// scriptChild prints a script for wrk, to load a router by hand under a
// profiler: child-script ADDRESS SIZE.
func scriptChild(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: child-script ADDRESS SIZE")
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	script, err := wrkScript(ctx, args[0], size)
	fmt.Print(script)
	return err
}

// served is a server of net/http or of http1.
type served interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
}

// serve listens on a port of the kernel's choice, says which, and serves until
// ctx ends.
func serve(ctx context.Context, s served) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = s.Shutdown(stop)
	<-done
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // a load generator may keep its connections busy
	}
	return err
}

// process is a server that runs beside us.
type process struct {
	cmd  *exec.Cmd
	addr string
}

// startChild starts one of children and waits for its address.
func startChild(name string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{name}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill() // it never got anywhere
		return nil, fmt.Errorf("%s said no address: %w", name, errors.Join(err, cmd.Wait()))
	}
	return &process{cmd, strings.TrimSpace(line)}, nil
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)                                   // it may have ended
	kill := time.AfterFunc(15*time.Second, func() { _ = p.cmd.Process.Kill() }) // as above
	defer kill.Stop()
	_ = p.cmd.Wait() // how it ended is of no interest
}
