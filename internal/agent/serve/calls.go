package serve

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// admit checks a gRPC call by its headers, before anything of its body is kept:
// who calls, and whether one more call may be under way.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	authorization := ""
	if v := info.Header.Get("authorization"); len(v) > 0 {
		authorization = v[0]
	}
	if !s.authorized(callerIn(ctx), authorization) {
		return nil, status.Error(codes.Unauthenticated,
			"the token is missing or wrong: send authorization: Bearer TOKEN")
	}
	if !s.startCall() {
		return nil, status.Error(codes.ResourceExhausted, s.busy())
	}
	// However the stream ends, its context does. Most end well, in intercept, which
	// gives the slot back without a goroutine for it.
	stop := context.AfterFunc(ctx, s.endCall)
	return context.WithValue(ctx, slotKey{}, stop), nil
}

// slotKey finds what keeps the end of a call's context from giving its slot
// back: a func() bool, true if it did.
type slotKey struct{}

func (s *Server) startCall() bool {
	select {
	case s.calls <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *Server) endCall() { <-s.calls }

func (s *Server) busy() string {
	return fmt.Sprintf("the agent is busy: %d calls are under way", s.cfg.MaxCalls)
}

// callerIn returns who made the gRPC call of ctx.
func callerIn(ctx context.Context) *Caller {
	if p, ok := peer.FromContext(ctx); ok {
		if c, ok := p.Addr.(*Caller); ok {
			return c
		}
	}
	return &Caller{} // nobody: not the socket, so that a token is asked for
}

// intercept wraps every gRPC call: its time is bounded, a panic is its own
// failure, and its error becomes a status.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (
	resp any, err error,
) {
	if keep, ok := ctx.Value(slotKey{}).(func() bool); ok {
		defer func() {
			if keep() {
				s.endCall()
			}
		}()
	}
	ctx, cancel := context.WithTimeout(ctx, s.limitOf(info.FullMethod))
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.panicked(ctx, info.FullMethod, p)
		}
	}()
	if resp, err = handler(ctx, req); err != nil {
		return nil, s.refusal(ctx, info.FullMethod, err)
	}
	return resp, nil
}

func (s *Server) limitOf(method string) time.Duration {
	if method == edgemanager.Agent_LoadModel_FullMethodName || method == edgemanager.Agent_UnLoadModel_FullMethodName {
		return s.cfg.LoadTimeout
	}
	return s.cfg.CallTimeout
}

func (s *Server) panicked(ctx context.Context, method string, p any) error {
	if s.records.allow(time.Now()) {
		s.log.ErrorContext(ctx, "a call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	}
	return status.Error(codes.Internal, "the agent failed on this call; its log says more")
}

// refusal is err as callers see it.
func (s *Server) refusal(ctx context.Context, method string, err error) error {
	code, says := statusOf(err)
	s.report(ctx, code, method, err)
	return status.Error(code, says)
}

// report logs what is no caller's doing.
func (s *Server) report(ctx context.Context, code codes.Code, method string, err error) {
	if code != codes.Internal || !s.records.allow(time.Now()) {
		return
	}
	if errors.Is(err, model.ErrFailed) {
		s.log.WarnContext(ctx, "the model failed", "method", method, "err", err)
		return
	}
	s.log.ErrorContext(ctx, "a call failed", "method", method, "err", err)
}

// statuses gives the errors of the agent's parts their status; the first that
// errors.Is finds counts.
var statuses = [...]struct {
	err  error
	code codes.Code
}{
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{model.ErrNotLoaded, codes.NotFound},
	{model.ErrUnavailable, codes.Unavailable},
	{model.ErrBusy, codes.ResourceExhausted},
	{model.ErrNoMemory, codes.ResourceExhausted},
	{model.ErrUnsupported, codes.FailedPrecondition},
	{model.ErrFailed, codes.Internal},
	{capture.ErrDuplicate, codes.AlreadyExists},
	{capture.ErrFull, codes.ResourceExhausted},
	{capture.ErrFuture, codes.OutOfRange},
	{capture.ErrOffline, codes.FailedPrecondition},
	{fault.Invalid, codes.InvalidArgument},
	{fault.NotFound, codes.NotFound},
	{fault.Exists, codes.AlreadyExists},
	{fault.InUse, codes.FailedPrecondition},
	{fault.Conflict, codes.Aborted},
	{fault.Limit, codes.ResourceExhausted},
	{fault.Unavailable, codes.Unavailable},
	{fault.Denied, codes.PermissionDenied},
	{fault.Unsupported, codes.Unimplemented},
}

// statusOf is the status of err and a text for the caller. Applications on the
// device may read what went wrong: it is their device, and a failure without a
// reason was what they suffered from.
func statusOf(err error) (codes.Code, string) {
	if s, ok := status.FromError(err); ok {
		return s.Code(), s.Message()
	}
	for _, v := range statuses {
		if errors.Is(err, v.err) {
			return v.code, text(err)
		}
	}
	return codes.Internal, text(err)
}

// maxText keeps a text within what clients accept as a header.
const maxText = 1024

func text(err error) string {
	t := err.Error()
	if kind, public := fault.Public(err); kind != fault.Internal {
		t = public
	}
	return strings.ToValidUTF8(t[:min(len(t), maxText)], "?")
}

// unaryHealth answers questions after the agent's health; watching it, which
// holds a call for as long as the application likes, is left out.
type unaryHealth struct {
	grpc_health_v1.UnimplementedHealthServer
}

// Check says that the agent serves: it does, or there would be no answer.
func (unaryHealth) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (
	*grpc_health_v1.HealthCheckResponse, error,
) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}
