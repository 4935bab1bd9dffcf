package packaging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
)

// optimizedRecord says what the optimiser was and did.
type optimizedRecord struct {
	Tool   string `json:"tool"` // program and version of the runtime
	Level  string `json:"level"`
	Before string `json:"before_sha256"` // of the model file
	After  string `json:"after_sha256"`
}

type optimized struct {
	record optimizedRecord
	file   string
}

func (o optimized) note() string {
	return fmt.Sprintf("Optimised (%s) by %s: %s became %s.", o.record.Level, o.record.Tool, o.record.Before,
		o.record.After)
}

// replace puts the optimised model in the place of the original, whose data in
// other files it has taken in.
func (o optimized) replace(items []item, model string, external []onnxfile.External) []item {
	items = slices.DeleteFunc(slices.Clone(items), func(i item) bool {
		return slices.ContainsFunc(external, func(e onnxfile.External) bool { return e.Location == i.name })
	})
	for n := range items {
		if items[n].name == model {
			items[n].path = o.file
		}
	}
	return items
}

// optimize has the real runtime optimise a model.
func (s *Service) optimize(ctx context.Context, model, to, level string, g graph) (o optimized, err error) {
	const notDone = "ClientError: The model was not optimised as x-optimize asks: "
	argv, err := s.cfg.Optimizer()
	if err != nil || len(argv) == 0 {
		return o, fail(fmt.Sprintf(notDone+"this server has no slipway-onnx (%v).", err))
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return o, fail(notDone + "slipway-onnx was not found on this server.")
	}
	args := append(slices.Clone(argv[1:]), "optimize", "--model", model, "--out", to, "--level", level)
	stdout, why, err := s.runTool(ctx, model, program, args)
	if err != nil {
		return o, err
	}
	if why != "" {
		return o, fail("ClientError: The model could not be optimised: " + why)
	}
	var said struct {
		Tool    string `json:"tool"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(stdout, &said); err != nil {
		return o, fmt.Errorf("read what %s said: %w", program, err)
	}
	after, err := inspect(to)
	if err != nil {
		return o, err
	}
	if !sameTensors(after.inputs, g.inputs) || !sameTensors(after.outputs, g.outputs) || len(after.external) > 0 {
		return o, fail(
			"ClientError: The optimised model takes or gives something else than the original, so it was not used.",
		)
	}
	o = optimized{file: to, record: optimizedRecord{
		Tool:  strings.TrimSpace(said.Tool + " " + said.Version),
		Level: level,
	}}
	if o.record.Before, err = digestFile(ctx, model); err != nil {
		return o, err
	}
	o.record.After, err = digestFile(ctx, to)
	return o, err
}

// tryLoading has the real runtime load a model, if this server has it: only so
// is it known that the model can be.
func (s *Service) tryLoading(ctx context.Context, model string) error {
	if s.cfg.Optimizer == nil {
		return nil
	}
	argv, err := s.cfg.Optimizer()
	if err != nil || len(argv) == 0 {
		return nil // there is none to try with
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return nil
	}
	args := append(slices.Clone(argv[1:]), "optimize", "--model", model, "--load-only")
	_, why, err := s.runTool(ctx, model, program, args)
	if err != nil || why == "" {
		return err
	}
	return fail(packaging.Reason("Incompatible ONNX model: %s", why))
}

// runTool runs a program that reads a model, in a process of its own: the model
// is hostile, and the runtime native code. Why is what it refused the model for.
func (s *Service) runTool(
	ctx context.Context, model, program string, args []string,
) (out []byte, why string, err error) {
	bounded, cancel := context.WithTimeout(ctx, optimizerTime)
	defer cancel()
	cmd := exec.CommandContext(bounded, program, args...)
	cmd.Env = append(passed(), "HOME="+s.cfg.WorkDir) // the library may want to write there
	// A group of its own, so that nothing that it starts outlives the job.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	stdout, stderr := &clipped{max: 64 << 10}, &clipped{max: 4 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = runLimited(cmd, model)
	switch _, ended := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return stdout.Bytes(), "", nil
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case bounded.Err() != nil:
		return nil, fmt.Sprintf("it took longer than %s.", optimizerTime), nil
	case !ended:
		return nil, "", fmt.Errorf("run %s: %w", program, err)
	}
	return nil, complaint(stderr.String(), err), nil
}

// passed is what the optimiser gets of the server's environment: nothing that
// could be a secret.
func passed() (env []string) {
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "SLIPWAY_ONNXRUNTIME"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// optimizerRoom is the address space that the optimiser has beside ten times
// the model's files, in bytes. A model of some hundred bytes can ask for a
// constant of any size, which would be computed.
const optimizerRoom = 6 << 30

// optimizerTime bounds it in a job that has no bound of its own.
const optimizerTime = 30 * time.Minute

// runLimited runs a program that reads a hostile model, within bounds on memory
// and on what it writes, and as the first that the kernel ends when memory runs
// out.
func runLimited(cmd *exec.Cmd, model string) error {
	room := uint64(optimizerRoom)
	beside, err := os.ReadDir(filepath.Dir(model))
	if err != nil {
		return err
	}
	for _, f := range beside {
		if info, err := f.Info(); err == nil {
			room += 10 * uint64(info.Size())
		}
	}
	// The kernel ends it with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	child.OfferToOOMKiller(pid)
	for _, resource := range []int{unix.RLIMIT_AS, unix.RLIMIT_FSIZE} {
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: room, Max: room}, nil); err != nil &&
			!errors.Is(err, unix.ESRCH) {
			_ = cmd.Cancel() // it is not to run without them
			return errors.Join(fmt.Errorf("limit the optimiser: %w", err), cmd.Wait())
		}
	}
	return cmd.Wait()
}

// sameTensors compares names and types: an optimiser may learn more of shapes.
func sameTensors(a, b []packaging.Tensor) bool {
	face := func(ts []packaging.Tensor) (out [][2]string) {
		for _, t := range ts {
			out = append(out, [2]string{t.Name, t.DataType})
		}
		return out
	}
	return reflect.DeepEqual(face(a), face(b))
}

// complaint is what the tool said last, or how it ended if it said nothing: a
// crash of native code says a lot, and nothing to a caller.
func complaint(said string, err error) string {
	for _, line := range slices.Backward(strings.Split(strings.ToValidUTF8(said, "?"), "\n")) {
		if why, ok := strings.CutPrefix(line, "slipway-onnx: "); ok {
			return why
		}
	}
	return fmt.Sprintf("slipway-onnx ended with %v.", err)
}

// clipped keeps the last max bytes that were written to it.
type clipped struct {
	bytes.Buffer
	max int
}

func (c *clipped) Write(p []byte) (int, error) {
	n := len(p)
	if n > c.max {
		p = p[n-c.max:]
	}
	if over := c.Len() + len(p) - c.max; over > 0 {
		c.Next(over)
	}
	_, err := c.Buffer.Write(p)
	return n, err
}
