// Command bench measures what Slipway promises about speed and size, against
// peers that run in the same minutes on the same machine. Figures of different
// machines or days mean little; the ratios mean something.
//
//	go run ./internal/bench [router] [-rounds 3] [-for 5s]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are what a benchmark may be told.
type options struct {
	rounds  int
	length  time.Duration // of one measurement
	swaps   int           // of a model on a device
	profile string        // where to write a CPU profile of our server

	devices, registered int           // simulated, and only registered
	steady              time.Duration // how long devices are watched
}

// benchmarks are what can be measured, in the order in which all are.
var benchmarks = []struct {
	name string
	run  func(ctx context.Context, o options) error
}{
	{"router", benchRouter},
	{"observe", benchObserve},
	{"capture", benchCapture},
	{"evidence", benchEvidence},
	{"control", benchControl},
	{"rollback", benchRollback},
	{"edge", benchEdge},
	{"swap", benchSwap},
	{"batching", benchBatching},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if child, ok := children[args[0]]; ok {
			return child(ctx, args[1:])
		}
	}
	only := ""
	if len(args) > 0 && args[0][0] != '-' {
		only, args = args[0], args[1:]
	}
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.rounds, "rounds", 3, "how often each measurement is repeated; the median counts")
	fs.DurationVar(&o.length, "for", 5*time.Second, "how long one measurement lasts")
	fs.IntVar(&o.swaps, "swaps", 1000, "how often a model is swapped on a device")
	fs.StringVar(&o.profile, "profile", "", "write a CPU profile of our server to this file")
	fs.IntVar(&o.devices, "devices", 100_000, "edge: how many devices are simulated")
	fs.IntVar(&o.registered, "registered", 1_000_000, "edge: how many devices a large fleet has")
	fs.DurationVar(&o.steady, "steady", time.Minute, "edge: how long the fleet is watched")
	if err := fs.Parse(args); err != nil {
		return err
	}
	known := false
	for _, b := range benchmarks {
		if only != "" && only != b.name {
			continue
		}
		known = true
		fmt.Printf("== %s\n", b.name)
		if err := b.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	if !known {
		return fmt.Errorf("there is no benchmark %q", only)
	}
	return nil
}
