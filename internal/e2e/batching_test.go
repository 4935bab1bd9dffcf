package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/internal/config"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// mixers are models of x [n, 4] that look as if their rows could be run together, and
// one whose rows can.
func mixers() map[string]*ox.Graph {
	random := func(name string, dims ...int64) ox.Tensor {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		r := rand.New(rand.NewPCG(7, uint64(n)))
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(r.NormFloat64())
		}
		return ox.Tensor{Name: name, Dims: dims, Data: data}
	}
	graph := func(width int, weights []ox.Tensor, nodes ...ox.Node) *ox.Graph {
		return &ox.Graph{
			Name: "mixer", Nodes: nodes, Weights: weights,
			Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 4}}},
			Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", width}}},
		}
	}
	node := func(op string, in, out []string, attrs ...ox.Attr) ox.Node {
		return ox.Node{Op: op, Inputs: in, Outputs: out, Attrs: attrs}
	}
	axis := func(n int64) ox.Tensor { return ox.Tensor{Name: "axis", Dims: []int64{1}, Data: []int64{n}} }
	return map[string]*ox.Graph{
		"normalised-over-the-batch": graph(4, nil,
			node("ReduceMean", []string{"x"}, []string{"mean"}, ox.Attr{Name: "axes", Value: []int64{0}}),
			node("Sub", []string{"x", "mean"}, []string{"y"})),
		"time-major": graph(3, []ox.Tensor{random("W", 1, 12, 4), random("R", 1, 12, 3), axis(1)},
			node("Unsqueeze", []string{"x", "axis"}, []string{"steps"}),
			node("LSTM", []string{"steps", "W", "R"}, []string{"all"}, ox.Attr{Name: "hidden_size", Value: int64(3)}),
			node("Reshape", []string{"all", "shape"}, []string{"y"})),
		"dense": graph(3, []ox.Tensor{random("w", 4, 3)},
			node("MatMul", []string{"x", "w"}, []string{"y"})),
	}
}

// What one caller gets does not depend on who else calls: through an endpoint, with
// callers of one row and of several at the same time, every answer is bit for bit
// what the request gets alone.
func TestAnswersThroughAnEndpointDoNotDependOnOtherCallers(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	for name, g := range mixers() {
		if name == "time-major" {
			g.Weights = append(g.Weights, ox.Tensor{Name: "shape", Dims: []int64{2}, Data: []int64{-1, 3}})
		}
		c.upload(name+"/model.tar.gz", archive(t, map[string]string{"model.onnx": string(g.Marshal())}))
		must(c.sagemaker.CreateModel(t.Context(), &sagemaker.CreateModelInput{
			ModelName: &name, PrimaryContainer: &types.ContainerDefinition{
				Image: aws.String(config.ONNXImage), ModelDataUrl: aws.String("s3://models/" + name + "/model.tar.gz"),
				// Rows are run together whenever they have to wait, however quick they are.
				Environment: map[string]string{"SLIPWAY_ONNX_BATCH_FROM": "1ns", "SLIPWAY_ONNX_CONCURRENCY": "1"},
			},
		}))(t)
		c.config(name, variant("main", name, 1))
		c.createEndpoint(name, name)
		c.sameAsAlone(name)
	}
}

// sameAsAlone asks many requests one after the other, and then all at once.
func (c *sdk) sameAsAlone(endpoint string) {
	c.t.Helper()
	ask := func(body string) (string, error) {
		out, err := c.runtime.InvokeEndpoint(c.t.Context(), &sagemakerruntime.InvokeEndpointInput{
			EndpointName: &endpoint, ContentType: aws.String("text/csv"), Accept: aws.String("text/csv"),
			Body: []byte(body),
		})
		if err != nil {
			return "", err
		}
		return string(out.Body), nil
	}
	r := rand.New(rand.NewPCG(1, 2))
	alone := map[string]string{}
	for i := range 40 {
		body := ""
		for range 1 + i%3 {
			body += fmt.Sprintf("%g,%g,%g,%g\n", r.NormFloat64(), r.NormFloat64(), r.NormFloat64(), r.NormFloat64())
		}
		alone[body] = must(ask(body))(c.t)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for body, want := range alone { // each in another order
				if got, err := ask(body); err != nil || got != want {
					c.t.Errorf("%s: %q gets %q, %v; alone it got %q", endpoint, body, got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
