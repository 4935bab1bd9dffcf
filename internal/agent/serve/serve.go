// Package serve lets applications on the device use the models that are loaded:
// it speaks the Edge Manager protocol and the Open Inference Protocol (gRPC and
// HTTP) on one Unix socket, and on a loopback port if asked to. It promises
// that every caller is known or has a token, that what calls and connections may
// cost together is bounded, that a failure names its reason, and that a panic
// costs one call. Loading models, and keeping captured data, is not its job.
package serve

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/proto/oip"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

// Loader verifies the unpacked package in dir, an absolute path, and loads it.
// fs.ErrNotExist: there is no package; model.ErrNoMemory: it does not fit. The
// text of any other error tells the application why the package is refused.
type Loader func(ctx context.Context, dir, handle string) (*model.Loaded, error)

// Capture keeps the tensors of inferences; capture.Pipeline is one.
type Capture interface {
	Capture(ctx context.Context, r capture.Request) error
	Status(id string) capture.Status
}

// Parts is what a Server needs of the rest of the agent.
type Parts struct {
	Models  *handles.Table
	Load    Loader  // nil: applications can't load models
	Capture Capture // nil: nothing is captured
	Log     *slog.Logger
}

// Server serves applications.
type Server struct {
	cfg   Config
	parts Parts
	log   *slog.Logger

	listeners []net.Listener
	socket    *socketFile
	splitter  *splitter
	grpc      *grpc.Server
	http      *http.Server
	calls     chan struct{} // one for each call under way
	records   limiter       // of the failures that callers can make us log
	arrivals  limiter       // of their connections
	buffers   oiphttp.Buffers
	memory    memoryPool
}

// New listens on the addresses of cfg; Run serves.
func New(cfg Config, p Parts) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, parts: p, log: p.Log, calls: make(chan struct{}, cfg.MaxCalls)}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(cfg.MaxMessage), grpc.MaxSendMsgSize(cfg.MaxMessage),
		grpc.MaxHeaderListSize(16<<10), grpc.MaxConcurrentStreams(uint32(cfg.MaxCalls)),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(4*window),
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize),
		grpc.ConnectionTimeout(cfg.HandshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 10 * time.Second, PermitWithoutStream: true,
		}),
		grpc.InTapHandle(s.admit), grpc.UnaryInterceptor(s.intercept),
		grpc.WaitForHandlers(true),
	)
	edgemanager.RegisterAgentServer(s.grpc, &edge{s: s, loads: make(chan struct{}, 1)})
	oip.RegisterGRPCInferenceServiceServer(s.grpc, &inference{s: s})
	grpc_health_v1.RegisterHealthServer(s.grpc, unaryHealth{})
	s.http = &http.Server{
		Handler:           s.web(),
		ReadHeaderTimeout: cfg.HandshakeTimeout, ReadTimeout: cfg.CallTimeout, WriteTimeout: 2 * cfg.CallTimeout,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, c.RemoteAddr().(*Caller))
		},
	}
	s.splitter = newSplitter(s)
	if err := s.listen(); err != nil {
		s.closeListeners()
		return nil, err
	}
	return s, nil
}

// Tensors are large: windows and buffers that let one cross in few steps.
const (
	window     = 1 << 20
	bufferSize = 128 << 10
)

func (s *Server) listen() error {
	if s.cfg.Socket != "" {
		l, file, err := listenUnix(s.cfg)
		if err != nil {
			return err
		}
		s.socket, s.listeners = file, append(s.listeners, l)
	}
	if s.cfg.Loopback != "" {
		l, err := listenLoopback(s.cfg.Loopback)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close() // it was open, and now it is not
	}
	if s.socket != nil {
		s.socket.remove()
	}
}

// Loopback returns the address of the loopback port, nil if there is none.
func (s *Server) Loopback() net.Addr {
	for _, l := range s.listeners {
		if l.Addr().Network() == "tcp" {
			return l.Addr()
		}
	}
	return nil
}

// Run serves until ctx ends, then lets calls under way end, for as long as
// Config.Drain, and removes the socket.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(s.listeners)+2)
	for _, l := range s.listeners {
		wg.Go(func() { errs <- s.splitter.accept(l) })
	}
	wg.Go(func() { errs <- s.grpc.Serve(s.splitter.grpc) })
	wg.Go(func() {
		if err := s.http.Serve(s.splitter.http); !errors.Is(err, http.ErrServerClosed) {
			errs <- err
		}
	})
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-errs: // one listener broke: an agent that serves by half is worse than one that restarts
	}
	s.closeListeners()
	s.splitter.close()
	s.drain(context.WithoutCancel(ctx))
	wg.Wait()
	s.splitter.wait()
	return failed
}

func (s *Server) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Drain)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		stop := context.AfterFunc(ctx, s.grpc.Stop)
		s.grpc.GracefulStop()
		stop()
	})
	wg.Go(func() {
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close() // their time is over
		}
	})
	wg.Wait()
}

// authorized tells whether a bearer token of the loopback port is the right one;
// callers on the socket need none.
func (s *Server) authorized(c *Caller, authorization string) bool {
	if c.Socket {
		return true
	}
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(s.cfg.Token)) == 1
}
