package modelserver

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// lever is a model that doubles its input, with a lever for each way in which
// models behave.
type lever struct {
	sig    tensor.Signature
	rows   tensor.Rows
	before func(in []tensor.Tensor) error // called in each run
	runs   atomic.Int64
	merge  bool // gives one row, however many it takes
	rounds bool // its last digits depend on how many rows there are
	closed atomic.Bool
}

func newLever() *lever {
	rows := func(name string, width int64) tensor.Spec {
		return tensor.Spec{
			Name: name, Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: -1, Symbol: "n"}, {Size: width}},
		}
	}
	return &lever{sig: tensor.Signature{Inputs: []tensor.Spec{rows("x", -1)}, Outputs: []tensor.Spec{rows("y", -1)}}}
}

func (l *lever) Signature() *tensor.Signature { return &l.sig }

func (l *lever) Rows() tensor.Rows { return l.rows }

func (l *lever) Close() error { l.closed.Store(true); return nil }

func (l *lever) Run(in []tensor.Tensor) ([]tensor.Tensor, error) {
	l.runs.Add(1)
	if l.before != nil {
		if err := l.before(in); err != nil {
			return nil, err
		}
	}
	out := tensor.Tensor{Name: "y", Type: tensor.Float32, Shape: append([]int64(nil), in[0].Shape...)}
	factor := 2.0
	if m := in[0].Shape[0]; l.rounds && m > 1 {
		factor = 2.00001
	}
	for i := range in[0].Len() {
		out.Data = binary.LittleEndian.AppendUint32(out.Data, math.Float32bits(float32(factor*in[0].Float(i))))
	}
	if l.merge {
		_, width, _ := out.Rows()
		out.Shape[0], out.Data = 1, out.Data[:4*width]
	}
	return []tensor.Tensor{out}, nil
}

var errNegative = errors.New("the model takes no negative numbers")

func noNegatives(in []tensor.Tensor) error {
	for i := range in[0].Len() {
		if in[0].Float(i) < 0 {
			return errNegative
		}
	}
	return nil
}

func newServer(t *testing.T, m Model, change func(*Options)) *Server {
	t.Helper()
	o := Default()
	if change != nil {
		change(&o)
	}
	s, err := New(o, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	if m != nil {
		attach(s, m)
		t.Cleanup(func() {
			if err := s.Detach(); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

// attach attaches a model whose lever takes effect afterwards: the runs that
// come with loading it are not what the test is about.
func attach(s *Server, m Model) {
	l, ok := m.(*lever)
	if !ok {
		s.Attach(m)
		return
	}
	before := l.before
	l.before = nil
	s.Attach(m)
	l.before = before
	l.runs.Store(0)
}

// ask sends one request to the handler.
func ask(t *testing.T, s *Server, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	return askCtx(t.Context(), s, method, path, body, header...)
}

func askCtx(ctx context.Context, s *Server, method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, req)
	return rec
}

func invokeCSV(t *testing.T, s *Server, body string) *httptest.ResponseRecorder {
	t.Helper()
	return ask(t, s, http.MethodPost, "/invocations", body, "Content-Type", "text/csv")
}
