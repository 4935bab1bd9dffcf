package engine

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/platform/child"
)

// launch is how to start a worker for one package, any number of times.
type launch struct {
	program  string
	args     []string // with placeholders
	env      map[string]string
	header   map[string]string // of every invocation
	format   Format
	modelDir string
	socket   bool   // it listens on a Unix socket; otherwise on a port
	oipName  string // where its metadata can be asked for; "" if nowhere
}

// modelName is the name that slipway-onnx serves its model under.
const modelName = "model"

// launch decides which program runs p.
func (e *Engine) launch(p model.Package) (*launch, error) {
	if !filepath.IsAbs(p.Dir) {
		return nil, fmt.Errorf("the package's directory must be absolute, not %q", p.Dir)
	}
	l := &launch{modelDir: p.Dir}
	if c, ok := e.cfg.Command[p.Runtime]; ok {
		path, err := exec.LookPath(c.Args[0])
		if err != nil {
			return nil, fmt.Errorf(
				"%w: the program for the runtime %q can't be started: %w", model.ErrUnsupported, p.Runtime,
				err)
		}
		if l.program, err = filepath.Abs(path); err != nil { // it is started in another directory
			return nil, err
		}
		l.args, l.env, l.header, l.format = c.Args[1:], c.Env, c.Header, c.Format
		if l.format == "" {
			l.format = OIPJSON
		}
		l.socket = slices.ContainsFunc(c.Args, func(a string) bool { return strings.Contains(a, "{socket}") })
		if sig := &p.Signature; (l.format == NPY || l.format == CSV) &&
			(len(sig.Inputs) != 1 || len(sig.Outputs) != 1) {
			return nil, fmt.Errorf(
				"%w: %s carries one input and one output; the manifest has %d and %d", model.ErrUnsupported,
				l.format, len(sig.Inputs), len(sig.Outputs))
		}
		return l, nil
	}
	if p.Runtime != ONNX {
		return nil, fmt.Errorf("%w: %q", model.ErrUnsupported, p.Runtime)
	}
	var err error
	if l.program, err = e.cfg.findProgram(); err != nil {
		return nil, err
	}
	l.args = []string{
		"--model-dir", "{model_dir}", "--listen", "unix:{socket}", "--model-name", modelName, "--log-level", "warn",
		"--threads", strconv.Itoa(e.cfg.Threads), "--max-body", strconv.FormatInt(e.cfg.MaxBody+maxHead, 10),
	}
	if e.cfg.Library != "" {
		l.args = append(l.args, "--lib", e.cfg.Library)
	}
	l.format, l.socket, l.oipName = OIPBinary, true, modelName
	return l, nil
}

// place is where one process listens, and what it is told of it.
type place struct {
	network, address string
	port             int
	solo             bool // the program starts no other
	token            string
	args, env        []string
}

// connections returns the connections to a process at that place, none open.
func (l *launch) connections(at place, maxBody int64) *conns {
	c := &conns{network: at.network, address: at.address, maxBody: maxBody}
	if at.port > 0 {
		c.header = "X-Slipway-Worker-Token: " + at.token + "\r\n"
	}
	for _, k := range slices.Sorted(maps.Keys(l.header)) {
		c.header += k + ": " + l.header[k] + "\r\n"
	}
	return c
}

// inherited are the only variables that a worker gets from the agent, whose own
// environment may hold credentials.
func inherited() []string {
	return []string{"PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "SLIPWAY_ONNXRUNTIME"}
}

const (
	envRunDir  = "SLIPWAY_AGENT_RUN_DIR"  // marks a process as a worker of the agent with that run directory
	envRunMark = "SLIPWAY_AGENT_RUN_MARK" // says which directory at that path, in which boot
	envToken   = "SLIPWAY_WORKER_TOKEN"
)

// choosePlace chooses where process number n listens.
func (l *launch) choosePlace(runDir string, n int64) (place, error) {
	at := place{
		network: "unix", address: filepath.Join(runDir, strconv.FormatInt(n, 10)+".sock"), token: rand.Text(),
		solo: l.oipName != "",
	}
	socket := at.address
	if !l.socket {
		var err error
		if at.port, err = child.FreePort(); err != nil { // await makes sure that the worker gets it
			return at, err
		}
		at.network, at.address = "tcp", net.JoinHostPort(child.Loopback, strconv.Itoa(at.port))
	}
	fill := strings.NewReplacer("{port}", strconv.Itoa(at.port), "{model_dir}", l.modelDir, "{socket}", socket)
	at.args = append(at.args, l.program)
	for _, a := range l.args {
		at.args = append(at.args, fill.Replace(a))
	}
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
	for _, k := range inherited() {
		if v, ok := os.LookupEnv(k); ok {
			env[k] = v
		}
	}
	maps.Copy(env, l.env)
	env["SM_MODEL_DIR"], env[envRunDir], env[envToken] = l.modelDir, runDir, at.token
	if at.port > 0 {
		env["SAGEMAKER_BIND_TO_PORT"] = strconv.Itoa(at.port)
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		at.env = append(at.env, k+"="+env[k])
	}
	return at, nil
}
