// Command slipway-onnx serves one ONNX model under the SageMaker container
// contract (/ping, /invocations) and the Open Inference Protocol (/v2).
//
//	slipway-onnx [serve] --model-dir DIR --port PORT
//	slipway-onnx optimize --model F --out F --level basic|extended|all
//
// What a model may ask for comes from the environment, too: --max-batch is
// SLIPWAY_ONNX_MAX_BATCH, and so on; the port and the model directory come from
// SAGEMAKER_BIND_TO_PORT and SM_MODEL_DIR as in any container. Where it listens,
// which library it loads and what it logs are the operator's: arguments alone.
// It exits with 1 and a reason on standard error if the model can't be served.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-ml/slipway/internal/modelserver"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/platform/build"
	"github.com/slipway-ml/slipway/internal/platform/interrupt"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
)

func main() {
	ctx := interrupt.Context(syscall.SIGTERM, syscall.SIGINT)
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 0 && args[0] == "optimize":
		err = optimize(ctx, args[1:], os.Getenv, os.Stdout, os.Stderr)
	case len(args) == 1 && slices.Contains([]string{"version", "--version", "-version"}, args[0]):
		_, err = fmt.Println(build.Line("slipway-onnx"))
	default:
		err = run(ctx, args, os.Getenv, os.Stderr)
	}
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "slipway-onnx: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		os.Exit(1)
	}
}

// config is what the flags and the environment say.
type config struct {
	modelDir, host, listen, lib, logLevel string
	port, threads                         int
	server                                modelserver.Options
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (config, error) {
	c := config{server: modelserver.Default()}
	if len(args) > 0 && args[0] == "serve" { // what a platform appends to the image's entry point
		args = args[1:]
	}
	fs := flag.NewFlagSet("slipway-onnx", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&c.modelDir, "model-dir", "/opt/ml/model",
		"directory with model.onnx, or 1/model.onnx (env SM_MODEL_DIR)")
	fs.StringVar(&c.host, "host", "127.0.0.1", "address to listen on")
	fs.IntVar(&c.port, "port", 8080, "port to listen on, 0 for a free one (env SAGEMAKER_BIND_TO_PORT)")
	fs.StringVar(&c.listen, "listen", "",
		"unix:PATH to listen on a socket that only this user can open, instead of a port")
	fs.StringVar(&c.lib, "lib", "",
		"ONNX Runtime library, or its directory; default lib/ beside the program, then SLIPWAY_ONNXRUNTIME, then "+
			"the system's")
	fs.IntVar(&c.threads, "threads", 1, "threads inside one run of the model; 0 for all cores")
	fs.StringVar(&c.server.Name, "model-name", c.server.Name, "name of the model in /v2/models/NAME")
	fs.IntVar(&c.server.Concurrency, "concurrency", c.server.Concurrency, "runs of the model at one time")
	fs.IntVar(&c.server.Queue, "queue", c.server.Queue, "requests that may wait beyond those; more get 503")
	fs.IntVar(&c.server.MaxBatch, "max-batch", c.server.MaxBatch,
		"rows of different requests to run together when they have to wait anyway; 1 turns it off")
	fs.DurationVar(&c.server.BatchFrom, "batch-from", c.server.BatchFrom,
		"how long a row must take alone before running rows together pays")
	fs.Int64Var(&c.server.MaxBody, "max-body", c.server.MaxBody, "bytes of a request body")
	fs.StringVar(&c.server.CustomAttributes, "custom-attributes", "",
		"X-Amzn-SageMaker-Custom-Attributes of every answer, to tell which model gave it")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")

	errs := []error{fromEnvironment(fs, getenv)}
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	if c.port < 0 || c.port > 65535 {
		errs = append(errs, fmt.Errorf("the port must be 0 to 65535, not %d", c.port))
	}
	if path, ok := strings.CutPrefix(c.listen, "unix:"); c.listen != "" && (!ok || path == "") {
		errs = append(errs, fmt.Errorf("listen must be unix:PATH, not %q", c.listen))
	}
	if c.threads < 0 || c.threads > 1024 {
		errs = append(errs, fmt.Errorf("the threads must be 0 to 1024, not %d", c.threads))
	}
	errs = append(errs, c.server.Validate())
	return c, errors.Join(errs...)
}

// fromEnvironment sets the flags that may come from there. The environment of an
// instance is its model's: one that could name a library to load would run code
// of its choice. A variable that is not read is refused, not ignored.
func fromEnvironment(fs *flag.FlagSet, getenv func(string) string) error {
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name, read := "SLIPWAY_ONNX_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")), true
		switch f.Name {
		case "model-dir":
			name = "SM_MODEL_DIR"
		case "port":
			name = "SAGEMAKER_BIND_TO_PORT"
		case "host", "listen", "lib", "log-level":
			read = false
		}
		v := getenv(name)
		if v == "" {
			return
		}
		if !read {
			errs = append(errs, fmt.Errorf("the environment variable %s is not read: give --%s", name, f.Name))
		} else if err := fs.Set(f.Name, v); err != nil {
			errs = append(errs, fmt.Errorf("the environment variable %s is %q: %w", name, v, err))
		}
	})
	return errors.Join(errs...)
}

// libraries lists where ONNX Runtime may be, the likeliest first.
func libraries(flagValue, env string) []string {
	const file = "libonnxruntime.so.1"
	at := func(path string) string {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return filepath.Join(path, file)
		}
		return path
	}
	if flagValue != "" {
		return []string{at(flagValue)}
	}
	var found []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		if lib := filepath.Join(filepath.Dir(exe), "lib", file); exists(lib) {
			found = append(found, lib)
		}
	}
	if env != "" {
		found = append(found, at(env))
	}
	return append(found, file, "libonnxruntime.so")
}

// listen opens the port or the socket. Whoever can open the socket may use the
// model, so that nobody else may even before its mode is set.
func listen(c *config) (net.Listener, error) {
	path, ok := strings.CutPrefix(c.listen, "unix:")
	if !ok {
		return net.Listen("tcp", net.JoinHostPort(c.host, strconv.Itoa(c.port)))
	}
	defer syscall.Umask(syscall.Umask(0o077))
	return net.Listen("unix", path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	c, err := parse(args, getenv, stderr)
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return fmt.Errorf("the log level %q is not debug, info, warn or error", c.logLevel)
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	srv, err := modelserver.New(c.server, log)
	if err != nil {
		return err
	}
	// Looked for first: a directory without a model needs no library to refuse.
	file, err := onnxfile.Find(c.modelDir)
	if err != nil {
		return err
	}
	ln, err := listen(&c)
	if err != nil {
		return err
	}
	log.Info("listening", "address", ln.Addr().String(), "file", file)
	return srv.Run(ctx, ln, func() (modelserver.Model, error) {
		rt, err := onnx.Start(libraries(c.lib, getenv("SLIPWAY_ONNXRUNTIME")))
		if err != nil {
			return nil, err
		}
		m, err := rt.Load(file, onnx.Options{Threads: c.threads})
		if err != nil {
			return nil, fmt.Errorf("the model %s can't be loaded: %w", file, err)
		}
		log.Info("runtime loaded", "onnxruntime", rt.Version(), "threads", c.threads)
		return m, nil
	})
}
