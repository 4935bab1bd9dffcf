package model

import "errors"

// What loading and predicting fail with; the errors returned wrap these, and
// errors.Is tells them apart. Inputs that do not fit are a fault.Invalid.
var (
	// ErrNoMemory means that the model does not fit into the memory that is left.
	ErrNoMemory = errors.New("not enough memory for the model")
	// ErrUnsupported means that no engine is configured for the runtime of a package.
	ErrUnsupported = errors.New("no engine is configured for this runtime")
	// ErrUnavailable means that the model is not there just now: it is being
	// swapped or restarted, or was closed.
	ErrUnavailable = errors.New("the model is not available at the moment")
	// ErrBusy means that as many calls wait as may wait.
	ErrBusy = errors.New("too many calls are waiting for the model")
	// ErrNotLoaded means that no model is loaded under the handle.
	ErrNotLoaded = errors.New("no model is loaded under this name")
	// ErrFailed means that the model failed on inputs that fit its signature.
	ErrFailed = errors.New("the model failed on this input")
)
