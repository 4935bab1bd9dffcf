package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
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
		x.Begin(200, int64(len(body)))
		x.AddHeader("Content-Type", "application/octet-stream")
		_, _ = x.Write(body) // a client that has left needs no answer
	})
	return serve(ctx, s)
}

type keyring struct{}

func (keyring) Key(id string) (sigv4.Key, bool) {
	return sigv4.Key{ID: accessKey, Secret: secretKey}, id == accessKey
}

// routerChild is our data plane with one endpoint of one instance.
func routerChild(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("child-router", flag.ContinueOnError)
	upstream := fs.String("upstream", "", "address of the instance")
	profile := fs.String("profile", "", "where to write a CPU profile")
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
	r, err := router.New(router.Config{Registerer: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	defer r.Close()
	scope := arn.Scope{Region: region, Account: account}
	r.Set(traffic.Route{Scope: scope, Name: "bench", Variants: []traffic.Variant{{
		Name: "v", Weight: 1, Container: "primary",
		Fleets: []traffic.Fleet{{Config: "c", Share: 1, Instances: []traffic.Instance{{ID: "i", Address: *upstream}}}},
	}}})
	api := runtime.New(runtime.Config{Router: r, Verifier: sigv4.NewVerifier(keyring{}, "sagemaker"), Account: account})
	return serve(ctx, http1.NewServer(http1.Config{}, runtime.Prefix, api.Serve))
}

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

// serve listens on a port of the kernel's choice, says which, and serves until
// ctx ends.
func serve(ctx context.Context, s *http1.Server) error {
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
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(3*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // how it ended is of no interest
}
