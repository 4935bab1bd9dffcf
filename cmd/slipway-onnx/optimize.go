package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/platform/interrupt"
)

// optimize rewrites a model as ONNX Runtime's own optimiser would run it, and
// says on standard output by what:
//
//	slipway-onnx optimize --model F --out F --level basic
//
// When ctx ends, the program does, with the code of its cause: the library, which is
// at work, cannot be asked to stop.
func optimize(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("slipway-onnx optimize", flag.ContinueOnError)
	fs.SetOutput(stderr)
	model := fs.String("model", "", "model file to read")
	out := fs.String("out", "", "model file to write")
	level := fs.String("level", string(onnx.Basic),
		"basic (standard operators only), extended or all (for machines like this one)")
	loadOnly := fs.Bool("load-only", false, "only try whether the model can be loaded, and write nothing")
	lib := fs.String("lib", "", "ONNX Runtime library, or its directory")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *model == "" || *out == "" && !*loadOnly {
		return errors.New("--model and --out are required")
	}
	// Under another name first: what has the right name is whole.
	draft := *out + ".tmp"
	stop := context.AfterFunc(ctx, func() {
		_ = os.Remove(draft) // there may be none
		code, _ := interrupt.Code(ctx, ctx.Err())
		os.Exit(code)
	})
	defer stop()
	rt, err := onnx.Start(libraries(*lib, getenv("SLIPWAY_ONNXRUNTIME")))
	if err != nil && *loadOnly {
		_, err = fmt.Fprintf(stderr, "the model was not tried: %v\n", err)
		return err
	}
	if err != nil {
		return err
	}
	if *loadOnly {
		m, err := rt.Load(*model, onnx.Options{Threads: 1})
		if err != nil {
			return err
		}
		return m.Close()
	}
	if err := rt.Optimize(*model, draft, onnx.Level(*level)); err != nil {
		_ = os.Remove(draft) // there may be none
		return fmt.Errorf("the model can't be optimised: %w", err)
	}
	if err := os.Rename(draft, *out); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(map[string]string{
		"tool": "onnxruntime", "version": rt.Version(), "level": *level,
	})
}
