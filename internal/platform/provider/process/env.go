package process

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

const (
	envID    = "SLIPWAY_INSTANCE_ID"
	envState = "SLIPWAY_INSTANCE_STATE" // path of the record: marks a process as ours, see states.go
)

// inherited are the only variables that an instance gets from the server, whose
// own environment may hold credentials.
func inherited() []string { return []string{"PATH", "HOME", "TMPDIR", "LANG"} }

// argv fills the placeholders {port} and {model_dir} in the configured command.
func argv(s provider.Spec, modelDir string, port int) ([]string, error) {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return nil, fault.New(fault.Invalid,
			"image %q is not configured: name a command for it under images in the configuration", s.Image)
	}
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{model_dir}", modelDir)
	args := make([]string, len(s.Command))
	for i, a := range s.Command {
		args[i] = fill.Replace(a)
		if strings.IndexByte(args[i], 0) >= 0 {
			return nil, fault.New(fault.Invalid, "the command of image %q contains a NUL byte", s.Image)
		}
	}
	return args, nil
}

// program finds the file to execute.
func program(image, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fault.New(fault.Invalid,
			"image %q: program %q cannot be started: it does not exist or is not executable", image, name).Because(err)
	}
	return filepath.Abs(path) // it is started in another directory
}

// environment returns what the instance sees, later entries of this list winning:
// a few variables of the server, the model's own, the container contract.
func environment(id provider.ID, s provider.Spec, state, modelDir string, port int) ([]string, error) {
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
	for _, k := range inherited() {
		if v, ok := os.LookupEnv(k); ok {
			env[k] = v
		}
	}
	for k, v := range s.Env {
		if err := checkVariable(k, v); err != nil {
			return nil, err
		}
		env[k] = v
	}
	env["SAGEMAKER_BIND_TO_PORT"] = strconv.Itoa(port)
	env["SM_MODEL_DIR"] = modelDir
	env[envID] = string(id)
	env[envState] = state
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list, nil
}

// checkVariable refuses what the kernel cannot take, and the variables by which
// the dynamic loader would run code of the model's choice inside a program that
// the operator chose (model data lands at a path that can be predicted). What an
// image allows beyond is looked at before.
func checkVariable(k, v string) error {
	if k == "" || strings.ContainsAny(k, "=\x00") || strings.IndexByte(v, 0) >= 0 {
		return fault.New(fault.Invalid, "environment variable %q is malformed", k)
	}
	if hosting.LoaderVariable(k) {
		return fault.New(fault.Invalid,
			"environment variable %q is refused: it would load other code into the container's program", k)
	}
	return nil
}
