package cli

import (
	"cmp"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/app"
	"github.com/slipway-ml/slipway/internal/config"
)

func newServer() *cobra.Command {
	var s settings
	var accept string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the whole of Slipway in one process",
		Long: `Runs the control plane, the router and the object store in one process on embedded
defaults, until SIGTERM or SIGINT. The first start writes the administrator's keys to
<data-dir>/credentials; 'slipway env' prints them for a shell.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(cmd)
			if err != nil {
				return err
			}
			cfg.Database.Accept = cmp.Or(accept, cfg.Database.Accept)
			return serve(cmd, cfg, func() (config.Config, error) { return s.load(cmd) })
		},
	}
	s.bind(cmd)
	cmd.Flags().StringVar(&accept, "accept-database", "",
		"state of the database to go on with, although the data directory was used with another one")
	return cmd
}

func serve(cmd *cobra.Command, cfg config.Config, load func() (config.Config, error)) error {
	var level slog.LevelVar
	log := newLogger(cmd.ErrOrStderr(), cfg.Log, &level)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP) // from now on it does not end the server
	defer signal.Stop(reload)
	a, err := app.New(cmd.Context(), cfg, log)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := app.ReplaceFile(addressFile(cfg), []byte(a.Addr()+"\n"), 0o600); err != nil {
		log.Warn("'slipway env' will not know the address: it could not be written", "err", err)
	}
	ready := []any{"address", "http://" + a.Addr(), "dataDir", cfg.DataDir}
	if devices := a.DevicesAddr(); devices != "" {
		ready = append(ready, "devices", "https://"+devices)
	}
	log.Info("slipway is ready", ready...)
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-reload:
			}
			cfg, err := load()
			if err != nil {
				log.Error("the configuration stays as it was", "err", err)
				continue
			}
			setLevel(&level, cfg.Log)
			a.Reload(cmd.Context(), cfg)
		}
	})
	return a.Run(cmd.Context())
}

// newKeepLogs is what a server starts before its first instance. Nobody types it.
func newKeepLogs() *cobra.Command {
	return &cobra.Command{
		Use:    app.KeepLogsCommand + " DIR BYTES",
		Short:  "Bound the logs of instances while no server runs (started by the server)",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return app.KeepLogs(cmd.Context(), args[0], args[1])
		},
	}
}

// addressFile is where a server leaves its address for 'slipway env', which
// otherwise could not know the port that a server with port 0 was given.
func addressFile(cfg config.Config) string { return filepath.Join(cfg.DataDir, "address") }
