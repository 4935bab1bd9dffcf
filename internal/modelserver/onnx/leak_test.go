//go:build cgo

package onnx_test

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// anonymous returns the process's own memory in KiB.
func anonymous(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("!!! NOT TESTED: the system does not tell what memory a process has")
	}
	_, after, _ := strings.Cut(string(b), "RssAnon:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// With the library's telemetry on, each failed run left 4 KiB behind.
func TestFailedRunsLeaveNothingInMemory(t *testing.T) {
	g := identity(tensor.Int64, "n")
	g.Weights = []ox.Tensor{{Name: "table", Dims: []int64{2}, Data: []int64{10, 20}}}
	g.Nodes = []ox.Node{{Op: "Gather", Inputs: []string{"table", "x"}, Outputs: []string{"y"}}}
	m := load(t, g)
	fail := func(times int) {
		in := []tensor.Tensor{
			{Name: "x", Type: tensor.Int64, Shape: []int64{1}, Data: binary.LittleEndian.AppendUint64(nil, 5)},
		}
		for range times {
			if _, err := m.Run(in); err == nil {
				t.Fatal("index 5 of 2 was found")
			}
		}
	}
	fail(1000)
	before := anonymous(t)
	fail(10000)
	if grown := anonymous(t) - before; grown > 16<<10 {
		t.Errorf("10,000 failed runs took %d KiB", grown)
	}
}
