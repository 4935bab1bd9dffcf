package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
)

// agent is a slipway-agent in a process of its own, on a device of its own as
// far as it can tell.
type agent struct {
	name   string
	log    string
	socket string
	short  string // a folder for the socket where the demo's own has too long a name
	cmd    *exec.Cmd
	exited chan error // gets what the process ended with, once
	conn   *grpc.ClientConn
	client edgemanager.AgentClient
}

// maxSocket is how long the path of an agent's socket may be, in bytes.
const maxSocket = 78

// enroll gives a device its identity and starts its agent.
func (d *show) enroll(ctx context.Context, dir, name string) (*agent, error) {
	home := filepath.Join(dir, name)
	if _, err := d.server.run(ctx, "device", "enroll", fleetName, name, "--bundle", home); err != nil {
		return nil, err
	}
	program := filepath.Join(filepath.Dir(d.server.program), "slipway-agent")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("the demo needs slipway-agent beside slipway: %w", err)
	}
	a := &agent{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan error, 1)}
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if a.socket = filepath.Join(home, "agent.sock"); len(a.socket) > maxSocket {
		if a.short, err = os.MkdirTemp("/tmp", "slipway-"); err != nil {
			return nil, err
		}
		a.socket = filepath.Join(a.short, "s")
	}
	a.cmd = exec.Command(program, "-f", "-a", a.socket, "--config", filepath.Join(home, "agent.json"))
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	go func() { a.exited <- a.cmd.Wait() }()
	if a.conn, err = grpc.NewClient(
		"unix:"+a.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
	); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	a.client = edgemanager.NewAgentClient(a.conn)
	return a, nil
}

// stop ends the agent in order, by force after 20 s.
func (a *agent) stop() error {
	var err error
	if a.conn != nil {
		err = a.conn.Close()
	}
	if a.short != "" {
		defer os.RemoveAll(a.short)
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case ended := <-a.exited:
		if ended != nil {
			return fmt.Errorf("the agent of %s did not end well: %w\n%s", a.name, ended, tail(a.log))
		}
		return err
	case <-time.After(20 * time.Second):
		_ = a.cmd.Process.Kill() // as above
		<-a.exited
		return fmt.Errorf("the agent of %s did not stop within 20 s\n%s", a.name, tail(a.log))
	}
}

// read asks the device's own model which digit an image shows.
func (a *agent) read(ctx context.Context, pixels []float32) (int, error) {
	raw := make([]byte, 0, 4*len(pixels))
	for _, p := range pixels {
		bits := math.Float32bits(p)
		raw = append(raw, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
	}
	out, err := a.client.Predict(ctx, &edgemanager.PredictRequest{Name: endpoint, Tensors: []*edgemanager.Tensor{{
		TensorMetadata: &edgemanager.TensorMetadata{
			Name: []byte("image"), DataType: edgemanager.DataType_FLOAT32, Shape: []int32{1, int32(len(pixels))},
		},
		Data: &edgemanager.Tensor_ByteData{ByteData: raw},
	}}})
	if err != nil {
		return 0, err
	}
	for _, t := range out.Tensors {
		if string(t.TensorMetadata.GetName()) == "label" && len(t.GetByteData()) >= 1 {
			return int(t.GetByteData()[0]), nil
		}
	}
	return 0, fmt.Errorf("the answer has no label: %v", out)
}

// application predicts on every device without pause and keeps the account.
type application struct {
	images [][]float32
	labels []int

	mu                 sync.Mutex
	sent, right, wrong int
	lost               int
	firstLost          error
	slowest            time.Duration

	halt context.CancelFunc
	wg   sync.WaitGroup
}

// pace is how often an application predicts on each device.
const pace = 10 * time.Millisecond

func startApplication(ctx context.Context, agents []*agent, images [][]float32, labels []int) *application {
	app := &application{images: images, labels: labels}
	ctx, app.halt = context.WithCancel(ctx)
	for _, a := range agents {
		app.wg.Go(func() { app.run(ctx, a) })
	}
	return app
}

func (ap *application) run(ctx context.Context, a *agent) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		// Not ctx: what is under way at the end is waited for.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		got, err := a.read(call, ap.images[i%len(ap.images)])
		cancel()
		ap.count(err, got == ap.labels[i%len(ap.labels)], time.Since(began))
	}
}

func (ap *application) count(err error, right bool, took time.Duration) {
	ap.mu.Lock()
	defer ap.mu.Unlock()
	ap.sent++
	ap.slowest = max(ap.slowest, took)
	switch {
	case err != nil:
		ap.lost++
		if ap.firstLost == nil {
			ap.firstLost = err
		}
	case right:
		ap.right++
	default:
		ap.wrong++
	}
}

// tally returns the account so far and begins a new one; what was lost stays.
func (ap *application) tally() (sent, right int, slowest time.Duration) {
	ap.mu.Lock()
	defer ap.mu.Unlock()
	sent, right, slowest = ap.sent, ap.right, ap.slowest
	ap.sent, ap.right, ap.wrong, ap.slowest = 0, 0, 0, 0
	return sent, right, slowest
}

func (ap *application) finish() {
	ap.halt()
	ap.wg.Wait()
}

// awaitModel waits until the device answers for the handle.
func (a *agent) awaitModel(ctx context.Context, image []float32) error {
	for {
		_, err := a.read(ctx, image)
		if err == nil {
			return nil
		}
		if c := status.Code(err); c != codes.NotFound && c != codes.Unavailable {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has no model: %w\n%s", a.name, err, tail(a.log))
		case err := <-a.exited:
			a.exited <- err
			return fmt.Errorf("the agent of %s ended: %w\n%s", a.name, err, tail(a.log))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
