package serve_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"github.com/slipway-ml/slipway/internal/agent/model"
	em "github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/serve"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// sum answers with one number, so that what is measured is the way in.
type sum struct{ echo }

func (sum) Predict(_ context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	return []tensor.Tensor{
		{Name: "n", Type: tensor.Float32, Shape: []int64{1}, Data: append([]byte(nil), in[0].Data[:4]...)},
	}, nil
}

// plainEcho is gRPC as it comes: the same messages, nothing done with them.
type plainEcho struct {
	em.UnimplementedAgentServer
	whole bool // the answer is as large as the request
}

func (p plainEcho) Predict(_ context.Context, r *em.PredictRequest) (*em.PredictResponse, error) {
	if p.whole {
		return &em.PredictResponse{Tensors: r.Tensors}, nil
	}
	return &em.PredictResponse{Tensors: []*em.Tensor{value(meta("n", em.DataType_FLOAT32, 1), make([]byte, 4))}}, nil
}

func plain(b *testing.B, whole bool) em.AgentClient {
	b.Helper()
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		b.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	em.RegisterAgentServer(g, plainEcho{whole: whole})
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	b.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return em.NewAgentClient(dial(b, "unix:"+l.Addr().String()))
}

// Predict through the socket, by value and by shared memory, beside a gRPC
// server that does nothing with the same messages but answer. "in" answers with one
// number, "both ways" with as much as it got.
func BenchmarkPredict(b *testing.B) {
	w := start(b, func(c *serve.Config) { c.MaxShared = 64 << 20 })
	spec := []tensor.Spec{
		{Name: "x", Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: -1}, {Size: 1024}}},
	}
	sig := tensor.Signature{Inputs: spec, Outputs: spec}
	for _, c := range []struct {
		name  string
		model model.Runner
		whole bool
	}{{"in", sum{echo{sig}}, false}, {"both-ways", echo{sig}, true}} {
		w.models.Swap(c.name, load(c.model, "1"))
		peer := plain(b, c.whole)
		for _, size := range []int{4 << 10, 4 << 20} {
			data := make([]byte, size)
			byValue := []*em.Tensor{value(meta("x", em.DataType_FLOAT32, int32(size/4096), 1024), data)}
			byHandle := []*em.Tensor{
				shared(meta("x", em.DataType_FLOAT32, int32(size/4096), 1024), share(b, data, false), 0, 0),
			}
			run := func(name string, agent em.AgentClient, tensors []*em.Tensor) {
				b.Run(fmt.Sprintf("%s/%dK/%s", c.name, size>>10, name), func(b *testing.B) {
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := agent.Predict(b.Context(),
							&em.PredictRequest{Name: c.name, Tensors: tensors}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			run("plain-grpc", peer, byValue)
			run("value", w.agent, byValue)
			run("shared", w.agent, byHandle)
		}
	}
}
