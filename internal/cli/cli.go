// Package cli is the slipway command line: it turns flags and a configuration
// file into one config.Config and runs what was asked for. What the commands
// do is not its job.
package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/demo"
	"github.com/slipway-ml/slipway/internal/platform/build"
	"github.com/slipway-ml/slipway/internal/platform/interrupt"
)

// Main runs the command line of this process and returns its exit code. The
// first SIGINT or SIGTERM asks the command to stop; a second one ends the
// process at once.
func Main() int {
	ctx := interrupt.Context(os.Interrupt, syscall.SIGTERM)
	if err := New().ExecuteContext(ctx); err != nil {
		if code, interrupted := interrupt.Code(ctx, err); interrupted {
			return code // whoever presses Ctrl-C knows it
		}
		if err.Error() != "" {
			fmt.Fprintln(os.Stderr, "slipway:", err)
		}
		if e, ok := errors.AsType[*exit](err); ok {
			return e.code
		}
		return 1
	}
	return 0
}

// New returns the command tree.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Deploy machine-learning models behind the Amazon SageMaker APIs, on your own machines",
		// Main prints the error, once; a failure at run time is no reason to
		// print the usage.
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		Version: build.Version,
	}
	root.SetVersionTemplate(build.Line("slipway") + "\n")
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServer(), newKeepLogs(), newEnv(), newDemo(), newVersion())
	root.AddCommand(
		newDeployments(), newDeployment(), newGate(), newWait(), newPlan(), newEdge(), newDevice(), newSigning(),
		newSimDevices(),
	)
	root.AddCommand(newOrders()...)
	checkArguments(root)
	return root
}

// checkArguments has a command and all below it check their arguments.
func checkArguments(cmd *cobra.Command) {
	if cmd.Args == nil {
		cmd.Args = arguments
	}
	for _, c := range cmd.Commands() {
		checkArguments(c)
	}
}

// settings are the flags that make up a configuration.
type settings struct{ file, listen, dataDir string }

// bindClient names the flags by what they are to a client of a server.
func (s *settings) bindClient(cmd *cobra.Command) {
	s.bind(cmd)
	for name, usage := range map[string]string{
		"listen":   "host:port of the server, if it is another than the data directory remembers",
		"data-dir": "data directory of the server, for its keys and its address",
		"config":   "configuration file of the server (YAML)",
	} {
		cmd.Flags().Lookup(name).Usage = usage
	}
}

func (s *settings) bind(cmd *cobra.Command) {
	d := config.Default()
	cmd.Flags().StringVar(&s.listen, "listen", d.Listen, "host:port to serve on; port 0 takes any free one")
	cmd.Flags().StringVar(&s.dataDir, "data-dir", d.DataDir, "directory that holds all state")
	cmd.Flags().StringVar(&s.file, "config", "", "configuration file (YAML)")
}

// load reads the file, if one is named, and puts the flags that were given
// over it.
func (s *settings) load(cmd *cobra.Command) (config.Config, error) {
	cfg := config.Default()
	if s.file != "" {
		var err error
		if cfg, err = config.Load(s.file); err != nil {
			return cfg, err
		}
	}
	if cmd.Flags().Changed("listen") {
		cfg.Listen = s.listen
	}
	if cmd.Flags().Changed("data-dir") {
		cfg.DataDir = s.dataDir
	}
	return cfg, cfg.Validate()
}

func newDemo() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use: "demo",
		Short: "Update a real model under load by canary, then watch a bad one be rolled back; takes less than a " +
			"minute",
		Long: `Starts a server in a temporary directory, deploys a real ONNX model with the AWS SDK
and sends it the model's test set at a steady rate. A better model replaces it by
canary; then a broken one is tried, and undone by its alarm. Every request is
accounted for. Exits 0 only if the server lost none and every other check held.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "keep the temporary directory, and say where it is")
	cmd.Flags().BoolVar(&o.Plain, "plain", false, "plain lines, even on a terminal")
	return cmd
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), build.Line("slipway"))
			return err
		},
	}
}

// newLogger returns the process's logger; level may change while it is used.
func newLogger(w io.Writer, l config.Log, level *slog.LevelVar) *slog.Logger {
	setLevel(level, l)
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		o.ReplaceAttr = readable
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// readable writes durations as text, such as 899ms: JSON has them in nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// setLevel takes the level of a configuration. Validate has checked it.
func setLevel(level *slog.LevelVar, l config.Log) {
	_ = level.UnmarshalText([]byte(l.Level)) // as it was if it is unknown
}
