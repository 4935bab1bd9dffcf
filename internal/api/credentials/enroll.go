package credentials

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/enroll"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
)

// Anybody may ask for an enrollment, so these bound what it costs: how many are
// carried out at once, how many requests there may be in all, after which more
// are refused, and how long reading one may take.
const (
	maxEnrolling = 8
	maxWaiting   = 256
	readTimeout  = 10 * time.Second
)

// NewEnroll returns the handler of POST /enroll, which anybody may reach: what
// is posted has to prove that it comes from who holds a token.
func NewEnroll(ids *identity.Service, log *slog.Logger) http.Handler {
	return &enroller{ids, log, make(chan struct{}, maxWaiting), make(chan struct{}, maxEnrolling)}
}

type enroller struct {
	ids      *identity.Service
	log      *slog.Logger
	admitted chan struct{} // holds a token for each request that waits or runs
	running  chan struct{} // holds a token for each that runs
}

func (e *enroller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := awserr.RequestID(w.Header())
	out, err := e.serve(w, r)
	answer := &awserr.Error{Status: http.StatusOK}
	if err == nil {
		writeJSON(w, out)
	} else {
		answer = awserr.Of(awserr.IoT, "", err)
		awserr.WriteRESTAs(w, "message", answer)
	}
	level, facts := slog.LevelInfo, []slog.Attr{
		slog.String("fleet", out.Config["sagemaker_edge_core_device_fleet_name"]),
		slog.String("device", out.Config["sagemaker_edge_core_device_name"]),
		slog.Int("status", answer.Status), slog.String("message", answer.Message), slog.String("address", r.RemoteAddr),
		slog.String("request_id", id),
	}
	if answer.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		level, facts = slog.LevelError, append(facts, slog.Any("err", err))
	}
	e.log.LogAttrs(r.Context(), level, "device enrolled or refused", facts...)
}

func (e *enroller) serve(w http.ResponseWriter, r *http.Request) (out enroll.Reply, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return out, &awserr.Error{
			Code: "InvalidRequestException", Status: http.StatusMethodNotAllowed, Message: "POST.",
		}
	}
	select {
	case e.admitted <- struct{}{}:
		defer func() { <-e.admitted }()
	default:
		return out, fault.New(fault.Unavailable, "Too many devices are enrolling. Try again.")
	}
	// A server that cannot set it has a limit of its own.
	_ = connlimit.ReadBefore(w, r, time.Now().Add(readTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, enroll.MaxBody))
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return out, awserr.TooLarge(big.Limit)
	}
	if err != nil {
		return out, fault.New(fault.Invalid, "The request body could not be read.").Because(err)
	}
	var in enroll.Request
	if err := json.Unmarshal(body, &in); err != nil {
		return out, fault.New(fault.Invalid, "The request body is not JSON with id, csr and mac.").Because(err)
	}
	select {
	case e.running <- struct{}{}:
		defer func() { <-e.running }()
	case <-r.Context().Done():
		return out, r.Context().Err()
	}
	return e.ids.Enroll(r.Context(), in)
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("credentials: " + err.Error()) // strings and maps of them
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client is gone; nobody to tell
}
