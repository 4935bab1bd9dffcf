package serve_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// examples is the folder of the clients that people copy.
func examples(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../examples")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// lacks ends a test whose tools are missing: scripts/setup.sh installs them.
// Where SLIPWAY_REQUIRE_CLIENTS is set, that is a failure.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SLIPWAY_REQUIRE_CLIENTS") != "" {
		t.Fatal(what)
	}
	t.Skip("NOT TESTED: ", what)
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// packageDir is one that loader loads.
func packageDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "what"), []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pythonFor finds an interpreter that speaks gRPC, and makes stubs of our
// .proto for it; change edits the .proto first.
func pythonFor(t *testing.T, change func(proto []byte) []byte) (python string, env []string) {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import grpc, google.protobuf").Run() == nil {
			python = p
			break
		}
	}
	plugin, err := exec.LookPath("grpc_python_plugin")
	if python == "" || err != nil {
		lacks(t, "no Python with gRPC: install python3-grpcio, protobuf-compiler and protobuf-compiler-grpc")
	}
	if _, err := exec.LookPath("protoc"); err != nil {
		lacks(t, "no protoc: install protobuf-compiler")
	}
	source, err := os.ReadFile("../../../proto/edgemanager/agent.proto")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "agent.proto"), change(source), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "protoc", "-I", dir, "--python_out="+dir, "--grpc_python_out="+dir,
		"--plugin=protoc-gen-grpc_python="+plugin, "agent.proto")
	return python, []string{
		"PYTHONPATH=" + dir + ":" + filepath.Join(examples(t), "python"), "PYTHONDONTWRITEBYTECODE=1",
	}
}

func TestAPythonApplicationUsesModels(t *testing.T) {
	t.Parallel()
	for names, change := range map[string]func([]byte) []byte{
		"bytes": bytes.Clone,
		"text": func(proto []byte) []byte { // as the first Edge Manager agents had it
			return bytes.Replace(proto, []byte("bytes name = 1"), []byte("string name = 1"), 1)
		},
	} {
		t.Run("with names as "+names, func(t *testing.T) {
			python, env := pythonFor(t, change)
			w := start(t, nil)
			plainModel(w)
			if out := run(t, env, python, "testdata/clients/check.py", w.socket, packageDir(t), names); out != "ok\n" {
				t.Error(out)
			}
		})
	}
}

func TestThePythonExampleRuns(t *testing.T) {
	t.Parallel()
	python, env := pythonFor(t, bytes.Clone)
	w := start(t, nil)
	for _, way := range []string{"--socket=" + w.socket, "--shared-memory"} {
		out := run(t, env, python, filepath.Join(examples(t), "python", "predict.py"), way, "--socket="+w.socket,
			"double", "1", "2", "3", "4")
		if out != "doubled [1, 4] [2.0, 4.0, 6.0, 8.0]\n" {
			t.Error(out)
		}
	}
}

func TestANodeApplicationUsesModels(t *testing.T) {
	t.Parallel()
	node := filepath.Join(examples(t), "node")
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacks(t, "no "+tool+": install nodejs and npm")
		}
	}
	if _, err := os.Stat(filepath.Join(node, "node_modules", ".package-lock.json")); err != nil {
		// The lock file pins what is installed; no package's scripts run.
		run(t, nil, "npm", "ci", "--prefix", node, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	}
	w := start(t, nil)
	plainModel(w)
	if out := run(t, nil, "node", "testdata/clients/check.mjs", examples(t), w.socket, packageDir(t)); out != "ok\n" {
		t.Error(out)
	}
	out := run(t, nil, "node", filepath.Join(node, "predict.mjs"), w.socket, "double", "1", "2", "3", "4")
	if out != "doubled [ 1, 4 ] [ 2, 4, 6, 8 ]\n" {
		t.Error(out)
	}
}
