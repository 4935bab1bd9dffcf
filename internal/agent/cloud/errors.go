package cloud

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// ErrNotRegistered means that the server does not know the device (any more).
var ErrNotRegistered = errors.New("the device is not registered")

// errStalled means that nothing came or went for the time of Config.Stall.
var errStalled = errors.New("the connection stands still")

// Error is a call that failed. errors.Is tells its Kind: fault.Denied and
// fault.Invalid will not change by asking again; fault.NotFound and
// fault.Conflict say that an object is gone or became another; fault.Limit is
// throttling; fault.Unavailable is everything that may be better later.
type Error struct {
	Kind       fault.Kind
	Status     int    // of HTTP; 0 when there was no answer
	Code       string // as the server names it, "" if it does not
	Message    string // a sentence, for operators
	RetryAfter time.Duration
	cause      error
}

func (e *Error) Error() string { return e.Message }

// Unwrap exposes the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// failure is what a call without an answer amounts to.
func failure(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	e := &Error{Kind: fault.Unavailable, cause: err}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		e.Message = fmt.Sprintf("%s: the server is not to be trusted: %s", what, short(err.Error()))
	case errors.Is(err, errStalled):
		e.Message = what + ": the connection stands still"
	default:
		e.Message = fmt.Sprintf("%s: %s", what, short(err.Error()))
	}
	return e
}

// problem reads why the server did not do what it was asked. The body is not
// closed.
func problem(what string, r *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxProblem)) // a broken answer still has its status
	var said struct {
		Type    string `json:"__type" xml:"-"`
		Lower   string `json:"message" xml:"-"`
		Code    string `json:"-" xml:"Code"`
		Message string `json:"Message" xml:"Message"`
	}
	// What is neither JSON nor XML says nothing more than its status.
	if json.Unmarshal(body, &said) != nil {
		_ = xml.Unmarshal(body, &said) // as above
	}
	code := r.Header.Get("X-Amzn-ErrorType")
	for _, other := range []string{said.Type, said.Code} {
		if code == "" {
			code = other
		}
	}
	code, _, _ = strings.Cut(code, ":")
	if _, name, ok := strings.Cut(code, "#"); ok {
		code = name
	}
	message := said.Message
	if message == "" {
		message = said.Lower
	}
	e := &Error{Status: r.StatusCode, Code: short(code), RetryAfter: retryAfter(r.Header)}
	e.Kind, e.cause = kindOf(r.StatusCode, e.Code, message)
	e.Message = fmt.Sprintf("%s: the server answered %d", what, r.StatusCode)
	switch {
	case r.StatusCode/100 == 3:
		// Where to is not said: it is a stranger's text, and may hold a secret.
		e.Message = what + ": the server sends elsewhere, and redirects are not followed"
	case e.Code != "" && message != "":
		e.Message += " " + e.Code + ": " + short(message)
	case e.Code != "" || message != "":
		e.Message += " " + e.Code + short(message)
	}
	return e
}

func kindOf(status int, code, message string) (fault.Kind, error) {
	switch {
	case status == http.StatusTooManyRequests || strings.Contains(code, "Throttl") || code == "SlowDown" ||
		code == "TooManyRequestsException":
		return fault.Limit, nil
	case strings.HasPrefix(code, "ValidationException") &&
		(strings.Contains(message, "No device with name") || strings.Contains(message, "No device fleet with name")):
		return fault.NotFound, ErrNotRegistered
	case status >= 500, status == http.StatusRequestTimeout:
		return fault.Unavailable, nil
	case status == http.StatusForbidden || status == http.StatusUnauthorized, strings.HasPrefix(code, "AccessDenied"):
		return fault.Denied, nil
	case status == http.StatusNotFound:
		return fault.NotFound, nil
	case status == http.StatusPreconditionFailed, status == http.StatusRequestedRangeNotSatisfiable:
		return fault.Conflict, nil
	}
	return fault.Invalid, nil
}

// skewed reports whether a refusal is about the clock.
func (e *Error) skewed() bool {
	switch e.Code {
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return true
	case "InvalidSignatureException", "SignatureDoesNotMatch":
		return strings.Contains(e.Message, "Signature expired") ||
			strings.Contains(e.Message, "Signature not yet current")
	}
	return false
}

// stale reports whether a refusal is about the credentials.
func (e *Error) stale() bool {
	switch e.Code {
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId",
		"InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired":
		return true
	}
	return false
}

// retryAfter reads how long the server wants to be left alone, in seconds.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, longestPause)
}

// short makes a stranger's text fit to be shown.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return strings.TrimSpace(s)
}

// jitter spreads d over itself and a quarter more, so that devices that were
// refused together do not come back together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/4+1))
}
