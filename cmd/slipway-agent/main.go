// Command slipway-agent keeps the models of one device: it takes signed packages
// from a Slipway server, serves them to applications on a Unix socket, and never
// loses a model that worked.
//
//	slipway-agent --config FILE                 run (FILE: Edge Manager's, or a bundle's agent.json)
//	slipway-agent -a SOCKET -c FILE [-f]        the same, with Edge Manager's flags
//	slipway-agent enroll --token TOKEN --dir D  get an identity; then: slipway-agent --config D/agent.json
//
// It logs JSON on standard error, and exits with 1 and a reason if it cannot go on.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/slipway-ml/slipway/internal/agent"
	"github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/agent/enroll"
	"github.com/slipway-ml/slipway/internal/platform/build"
	"github.com/slipway-ml/slipway/internal/platform/interrupt"
)

func main() {
	// Edge Manager's unit stops its agent with SIGHUP (spec §7.2).
	ctx := interrupt.Context(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		code, interrupted := interrupt.Code(ctx, err)
		if !interrupted && !errors.Is(err, flag.ErrHelp) { // whoever interrupts it knows that
			fmt.Fprintf(os.Stderr, "slipway-agent: %v\n", err)
		}
		os.Exit(code)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == "enroll":
		return runEnroll(ctx, args[1:], stdin, stderr)
	case len(args) == 1 && args[0] == "version":
		return printVersion(stdout)
	}
	return runAgent(ctx, args, stdout, stderr)
}

func printVersion(stdout io.Writer) error {
	_, err := fmt.Fprintln(stdout, build.Line("slipway-agent"))
	return err
}

// runEnroll spends a token. One given as - is read from standard input, so that
// no list of processes shows it.
func runEnroll(ctx context.Context, args []string, stdin io.Reader, stderr io.Writer) error {
	fs := flag.NewFlagSet("slipway-agent enroll", flag.ContinueOnError)
	fs.SetOutput(stderr)
	token := fs.String("token", "", "what 'slipway device enroll' printed; - reads it from standard input")
	dir := fs.String("dir", "", "directory for the identity and agent.json")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *token == "" || *dir == "" || fs.NArg() > 0 {
		return errors.New("enroll needs --token and --dir, and nothing else")
	}
	if *token == "-" {
		line, err := firstLine(ctx, stdin)
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		*token = line
	}
	if err := enroll.Run(ctx, *token, *dir); err != nil {
		return err
	}
	fmt.Fprintf(stderr,
		"enrolled; start with: slipway-agent --config %s/%s\n", strings.TrimRight(*dir, "/"), enroll.ConfigFile)
	return nil
}

// firstLine reads until the end of a line. Nothing interrupts a read from a terminal:
// when ctx ends first, it is left to end with the program.
func firstLine(ctx context.Context, in io.Reader) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(in, 16<<10)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		done <- read{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func runAgent(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("slipway-agent", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var path, socket string
	fs.StringVar(&path, "config", "", "configuration file")
	fs.StringVar(&path, "c", "", "the same")
	fs.StringVar(&socket, "a", "", "path of the socket for applications, in place of the configuration's")
	force := fs.Bool("f", false, "replace a socket file that nobody listens on; with -a it is an error otherwise")
	version := fs.Bool("version", false, "print the version")
	switch err := fs.Parse(args); {
	case err != nil:
		return err
	case *version:
		return printVersion(stdout)
	case path == "" || fs.NArg() > 0:
		return errors.New("a configuration is needed: --config FILE")
	}
	keep := socket != "" && !*force
	if socket != "" {
		abs, err := filepath.Abs(socket)
		if err != nil {
			return err
		}
		socket = abs
	}
	cfg, err := config.Load(path, socket, os.Getenv)
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return err
	}
	// Little garbage is kept: an agent is idle nearly always, and its memory is
	// its models'.
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(cfg.AgentMemory)
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	a, err := agent.New(ctx, cfg, agent.Options{KeepSocket: keep, Log: log})
	if err != nil {
		return err
	}
	defer a.Close(context.WithoutCancel(ctx))
	debug.FreeOSMemory() // what starting took
	return a.Run(ctx)
}
