package engine_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

// BenchmarkPredict measures a call of 4 KiB in and out, one at a time: through
// the engine, and as bytes made beforehand that go to a worker of its own and
// are read and thrown away. The two take turns, so that whatever else the
// machine does strikes both.
func BenchmarkPredict(b *testing.B) {
	c := config(b)
	p := double(b)
	w := load(b, open(b, c), p)
	in := []tensor.Tensor{{Name: "x", Type: tensor.Float32, Shape: []int64{512, 2}, Data: make([]byte, 4096)}}
	direct := directly(b, c.Program, c.Library, p.Dir, in)

	var through, bare []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		direct()
		bare = append(bare, time.Since(began))
		began = time.Now()
		if _, err := w.Predict(b.Context(), in); err != nil {
			b.Fatal(err)
		}
		through = append(through, time.Since(began))
	}
	report := func(name string, d []time.Duration) {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2])/1e3, name+"-p50-µs")
		b.ReportMetric(float64(d[len(d)*99/100])/1e3, name+"-p99-µs")
	}
	report("engine", through)
	report("direct", bare)
}

// directly starts a worker and returns a function that makes one call.
func directly(b *testing.B, program, lib, dir string, in []tensor.Tensor) func() {
	path := filepath.Join(b.TempDir(), "s")
	cmd := exec.CommandContext(b.Context(), program, "--model-dir", dir, "--listen", "unix:"+path, "--lib", lib,
		"--log-level", "error")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var conn net.Conn
	eventually(b, "the worker listens", func() bool {
		var err error
		conn, err = net.Dial("unix", path)
		return err == nil
	})
	b.Cleanup(func() {
		_ = conn.Close()       // only read
		_ = cmd.Process.Kill() // it is ours
		_ = cmd.Wait()         // as above
	})
	head := codec.AppendOIPHead(nil, in, true)
	body := codec.AppendOIPData(head, &in[0])
	request := append([]byte("POST /invocations HTTP/1.1\r\nHost: w\r\nContent-Type: application/octet-stream\r\n"+
		"Inference-Header-Content-Length: "+
		strconv.Itoa(len(head))+"\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
	r := bufio.NewReader(conn)
	call := func() bool {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		return resp.StatusCode == http.StatusOK
	}
	eventually(b, "the worker is ready", call)
	return func() {
		if !call() {
			b.Fatal("the worker refuses")
		}
	}
}
