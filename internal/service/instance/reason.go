package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// startError is a failure to become healthy, with the text that
// FailureReason shows.
type startError struct {
	text      string
	logs      bool // the instance's last lines say more
	permanent bool // repeating will not mend it
	cause     error
}

func (e *startError) Error() string { return e.text + ": " + e.cause.Error() }
func (e *startError) Unwrap() error { return e.cause }

func isPermanent(err error) bool {
	e, ok := errors.AsType[*startError](err)
	return ok && e.permanent
}

// noModelData is the failure to bring the model to the instance.
func (s *supervisor) noModelData(err error) *startError {
	c := s.row.Spec.Variant.Container
	if errors.Is(err, fault.Invalid) {
		return &startError{permanent: true, cause: err, text: fmt.Sprintf(
			"The model data for container %q from URL %q cannot be used: %s", c.Name, c.ModelData.URI, public(err))}
	}
	if lack := hostLacks(err); lack != "" {
		return &startError{cause: err, text: fmt.Sprintf(
			"The model data for container %q from URL %q could not be stored on this server: %s.",
			c.Name, c.ModelData.URI, lack)}
	}
	return &startError{permanent: errors.Is(err, fault.NotFound), cause: err, text: fmt.Sprintf(
		"Failed to download model data for container %q from URL: %q. Please ensure that there is an object located "+
			"at the URL and that the role passed to CreateModel has permissions to download the object.",
		c.Name, c.ModelData.URI)}
}

// notStarted is the failure of the provider to bring up the container.
func (s *supervisor) notStarted(why string, permanent bool, cause error) *startError {
	v := s.row.Spec.Variant
	return &startError{permanent: permanent, cause: cause, text: fmt.Sprintf(
		"The %s container for production variant %s could not be started: %s", v.Container.Name, v.Name, why)}
}

// exited is the failure of an instance whose process ended.
func (s *supervisor) exited() *startError {
	return s.notHealthy(fmt.Errorf("the process ended: %s", s.status.Detail))
}

// notHealthy is the failure of never having passed a health check (spec §3.6).
func (s *supervisor) notHealthy(cause error) *startError {
	v := s.row.Spec.Variant
	return &startError{
		cause: cause, logs: true,
		text: fmt.Sprintf("The %s container for production variant %s did not "+
			"pass the ping health check. Please check CloudWatch logs for this endpoint.", v.Container.Name, v.Name),
	}
}

// maxReason is how much of a FailureReason the API takes (spec §2.3).
const maxReason = 1024

// reason is what people read: the API's sentence and the instance's own last
// lines.
func (s *supervisor) reason(ctx context.Context, err error) string {
	e, ok := errors.AsType[*startError](err)
	if !ok {
		return "Request to service failed. If failure persists after retry, contact customer support."
	}
	text := e.text
	if r, ok := s.provider.(provider.LogReader); ok && e.logs {
		text += " " + strings.ToUpper(e.cause.Error()[:1]) + e.cause.Error()[1:] + "."
		if tail, err := r.Logs(ctx, provider.ID(s.row.ID), 8*maxLastLines); err == nil && len(tail) > 0 {
			text += " Last lines of its log: " + lastLines(string(tail))
		}
	}
	return truncate(text, maxReason)
}

// maxLastLines is how many bytes of an instance's log its FailureReason quotes.
const maxLastLines = 512

// lastLines is the end of a log without the records that tell of no trouble, or
// with them if there is nothing else.
func lastLines(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	loud := slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.HasPrefix(l, "{") &&
			(strings.Contains(l, `"level":"INFO"`) || strings.Contains(l, `"level":"DEBUG"`))
	})
	if len(loud) == 0 {
		loud = lines
	}
	text := strings.Join(loud, "\n")
	return strings.ToValidUTF8(text[max(0, len(text)-maxLastLines):], "?")
}

// truncate shortens s to at most n bytes without cutting a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

// public is what a person may know of err, and can act on.
func public(err error) string {
	if lack := hostLacks(err); lack != "" {
		return lack + "."
	}
	if k, text := fault.Public(err); k != fault.Internal {
		return text
	}
	return "the server's log says why."
}

// hostLacks names what the host has no more of, "" if that is not the trouble.
func hostLacks(err error) string {
	for _, l := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ENOSPC, "no space is left on the server's disk"},
		{syscall.EDQUOT, "no space is left in the server's quota of its disk"},
		{syscall.EROFS, "the server's disk is read-only"},
		{syscall.EIO, "the server's disk fails"},
		{syscall.EMFILE, "the server has too many files open"},
		{syscall.ENFILE, "the host has too many files open"},
		{syscall.ENOMEM, "the host has no memory left"},
	} {
		if errors.Is(err, l.errno) {
			return l.text
		}
	}
	return ""
}
