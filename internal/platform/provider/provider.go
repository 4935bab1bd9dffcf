// Package provider is the contract between the control plane and whatever runs
// instances. Each implementation lives in a subpackage and must pass
// providertest.Run. Health, restarts and replacement are not its job: the
// instance service decides those and calls Ensure or Remove.
//
// A Spec says what the model data is, never where it lies on a host: bringing
// it to the instance is part of Ensure, because only the provider knows how. One
// whose instances are processes downloads it to its own disk before it starts
// them; one whose instances run elsewhere has it fetched there, after Ensure
// returned. That is why an instance may exist without an address, and says what
// it waits for (Status.Waiting).
package provider

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// ID names an instance. It is chosen by the control plane before the instance
// exists, so that starting it twice is the same as starting it once. It
// matches [a-z0-9-]{1,63}.
type ID string

// Spec is what to run: one container under the SageMaker container contract
// (spec §6.6).
type Spec struct {
	Image        string             // as in ContainerDefinition.Image
	Command      []string           // what Image means to a provider of processes; argv, already resolved
	Env          map[string]string  // ContainerDefinition.Environment
	ModelData    *hosting.ModelData // read-only to the instance; nil: the image brings its own
	InstanceType string             // as in ProductionVariant.InstanceType: what the instance may take of its host
	Endpoint     string             // for people: labels and log names
	Variant      string
	// DownloadTimeout bounds what happens before an instance has an address:
	// bringing ModelData, and whatever else is downloaded. 0 means no limit.
	DownloadTimeout time.Duration
	StopGrace       time.Duration // from SIGTERM to SIGKILL; 0 means 30 s
}

// Status is what a Provider can see of an instance.
type Status struct {
	ID ID
	// Address is the host:port that the instance was told to listen on. It is ""
	// until the program itself was started, and after it ended; it may come
	// later than Ensure returns, and may become another while the instance runs.
	Address string
	Waiting string // of an instance that has no address yet: what it waits for, one line, for people
	Exited  bool   // it was started and runs no more
	Detail  string // of an exited instance: how it ended, one line, for people
}

// ModelDataError is a failure of Ensure to bring an instance its model data. Its
// cause keeps its kind: after fault.NotFound, and after fault.Invalid, whose
// sentence says what is wrong with the data, trying again cannot help.
type ModelDataError struct{ Err error }

func (e *ModelDataError) Error() string { return "model data: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ModelDataError) Unwrap() error { return e.Err }

// Provider runs instances. Every method is safe to repeat: the caller may have
// crashed before it could record that the last call succeeded.
type Provider interface {
	// Ensure starts id unless it already runs; an exited instance is started
	// anew, possibly at another address. The Spec of a running instance is not
	// compared: another Spec is another ID. It returns once the process or
	// container exists or is bound to, not when it is ready. The error says in
	// its text what a person would have to mend; kind fault.Invalid means that
	// trying again with the same Spec cannot help. A failure to bring the model
	// data is a *ModelDataError. If ctx ends first, nothing is left running that
	// was not before, and no download goes on for it.
	Ensure(ctx context.Context, id ID, s Spec) (Status, error)
	// Remove stops id: SIGTERM, then SIGKILL after the grace of its Spec, and
	// forgets it (its log stays). It returns when the instance is gone, with
	// everything that it started. Removing an unknown id succeeds. If ctx ends
	// first, a later Remove goes on with the same grace.
	Remove(ctx context.Context, id ID) error
	// List returns every instance this control plane owns, including those
	// that an earlier process started.
	List(ctx context.Context) ([]Status, error)
}

// Set is the providers that a server has, by the names that the rows of
// instances have for them.
type Set map[hosting.ProviderName]Provider

// Notifier is implemented by Providers that notice by themselves when an
// instance exits or gets an address.
type Notifier interface {
	// Changes receives a value soon after any instance exited, got its address
	// after Ensure had returned, or got another one; several changes may share
	// one value, and List says which. There is one channel: it is for one
	// reader. A provider without it has to be listed from time to time.
	Changes() <-chan struct{}
}

// Listener is implemented by Providers whose instances share a host's ports
// with other programs.
type Listener interface {
	// Listens reports whether it is the instance itself that listens at its
	// address, and not somebody who was faster.
	Listens(ctx context.Context, id ID) (bool, error)
}

// LogReader is implemented by Providers that keep an instance's output.
type LogReader interface {
	// Logs returns the last bytes of what id wrote, at most tail of them,
	// starting at a line; it works for removed instances while their log is
	// kept. An id without a log is fault.NotFound.
	Logs(ctx context.Context, id ID, tail int) ([]byte, error)
}

// Usage is what an instance takes of its host.
type Usage struct {
	CPU    time.Duration // since it started; starts again with another start
	Memory float64       // share of the memory that it may use, 0 to 1
}

// Meter is implemented by Providers that know what instances take.
type Meter interface {
	// Usage returns what each running instance takes at this moment.
	Usage(ctx context.Context) (map[ID]Usage, error)
}
