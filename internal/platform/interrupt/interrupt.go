// Package interrupt has a program end as whoever interrupts it expects: the first
// signal asks it to stop, a second one ends it at once, and its exit code names the
// signal. What stopping means is not its job.
package interrupt

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// By is the cause of a context that a signal ended.
type By struct{ Signal syscall.Signal }

func (b By) Error() string { return "received " + b.Signal.String() }

// Is reports whether target is context.Canceled: what waited was not at fault.
func (b By) Is(target error) bool { return target == context.Canceled }

// Context returns a context that ends with the first of the signals. It is asked for
// once, by a program's main.
func Context(signals ...os.Signal) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	first := make(chan os.Signal, 1)
	signal.Notify(first, signals...)
	go func() { // it ends with the program
		s := <-first
		signal.Stop(first)
		by, _ := s.(syscall.Signal) // there are no others here
		cancel(By{by})
	}()
	return ctx
}

// Code returns the exit code of a program that failed with err: 128 and the number
// of the signal that ended ctx, as shells have it, if that is why; else 1.
func Code(ctx context.Context, err error) (code int, interrupted bool) {
	if by, ok := errors.AsType[By](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		return 128 + int(by.Signal), true
	}
	return 1, false
}
