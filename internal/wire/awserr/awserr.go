// Package awserr names failures for AWS clients: one table from (operation, kind
// of fault) to the code and status that the real service answers, and a writer
// for each way a protocol has of saying it (behaviour specification §1.4, §1.6,
// §6.4). Deciding what failed, and logging it, is not its job.
package awserr

import (
	"errors"
	"net/http"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// Error is a failure as a client sees it. It is an error itself: an operation
// that knows the exact answer may return one, and Of passes it on.
type Error struct {
	Code    string // "" when the real answer carries none
	Status  int    // of HTTP
	Message string
	Query   string // the code in the Query protocol, where Code does not tell it

	// Members are the further members that the model declares for the error,
	// such as OriginalStatusCode; REST and JSON bodies carry them.
	Members map[string]any
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Service says whose words to use.
type Service uint8

// The services that have a row in the table.
const (
	SageMaker Service = iota
	Runtime
	STS
	CloudWatch
	SageMakerEdge // what devices call
	IoT
	services
)

type name struct {
	code   string
	status int
}

// names are what faults are called, by kind. A kind that a service does not
// name is called as fault.Invalid is.
type names map[fault.Kind]name

func bad(code string) name { return name{code, http.StatusBadRequest} }

var (
	validation   = bad("ValidationException")
	internal     = name{"InternalFailure", http.StatusInternalServerError}
	unavailable  = name{"ServiceUnavailable", http.StatusServiceUnavailable}
	accessDenied = name{"AccessDeniedException", http.StatusForbidden}
	deniedAsBad  = bad("AccessDeniedException")
)

// table holds what every service calls its failures.
var table = [services]names{
	SageMaker: {
		fault.Internal: internal, fault.Invalid: validation, fault.Limit: bad("ResourceLimitExceeded"),
		fault.Unavailable: unavailable, fault.Denied: deniedAsBad,
	},
	Runtime: {
		fault.Internal: internal, fault.Invalid: bad("ValidationError"),
		fault.Limit: {"", http.StatusRequestEntityTooLarge}, fault.Unavailable: unavailable, fault.Denied: deniedAsBad,
	},
	STS: {
		fault.Internal: internal, fault.Invalid: bad("ValidationError"), fault.Limit: bad("Throttling"),
		fault.Unavailable: unavailable, fault.Denied: {"AccessDenied", http.StatusForbidden},
	},
	CloudWatch: {
		fault.Internal: internal, fault.Invalid: validation, fault.Unavailable: unavailable, fault.Denied: accessDenied,
	},
	SageMakerEdge: { // edge specification §1.2, §3.3
		fault.Internal: {"InternalServiceException", http.StatusInternalServerError}, fault.Invalid: validation,
		fault.Limit: {"ThrottlingException", http.StatusTooManyRequests}, fault.Unavailable: unavailable,
		fault.Denied: accessDenied,
	},
	IoT: {
		fault.Internal:    {"InternalFailureException", http.StatusInternalServerError},
		fault.Invalid:     bad("InvalidRequestException"),
		fault.NotFound:    {"ResourceNotFoundException", http.StatusNotFound},
		fault.Exists:      {"ResourceAlreadyExistsException", http.StatusConflict},
		fault.InUse:       {"DeleteConflictException", http.StatusConflict},
		fault.Conflict:    {"VersionConflictException", http.StatusConflict},
		fault.Limit:       {"LimitExceededException", http.StatusGone},
		fault.Unavailable: {"ServiceUnavailableException", http.StatusServiceUnavailable},
		fault.Denied:      accessDenied,
	},
}

// exceptions hold what an operation answers in place of its service's word.
var exceptions = [services]map[string]names{SageMaker: ofSageMaker, CloudWatch: ofCloudWatch, IoT: ofIoT}

// nameOf looks a failure up: first among the exceptions.
func nameOf(s Service, op string, kind fault.Kind) name {
	for _, ns := range []names{exceptions[s][op], table[s]} {
		if n, ok := ns[kind]; ok {
			return n
		}
	}
	return table[s][fault.Invalid]
}

// Of returns what the service's clients are told when op fails with err: the
// code and status of its kind, and its public sentence. A body that could not
// be decoded is a SerializationException, but for IoT an invalid request.
func Of(s Service, op string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*shape.DecodeError](err); ok {
		if s == IoT {
			return &Error{Code: "InvalidRequestException", Status: http.StatusBadRequest, Message: e.Text}
		}
		return &Error{Code: "SerializationException", Status: http.StatusBadRequest, Message: e.Text}
	}
	kind, msg := fault.Public(err)
	n := nameOf(s, op, kind)
	return &Error{Code: n.code, Status: n.status, Message: msg}
}

// UnknownOperation answers a call of an operation that the service does not
// have. The real one says nothing more.
func UnknownOperation() *Error {
	return &Error{Code: "UnknownOperationException", Status: http.StatusBadRequest}
}

// NotImplemented answers a call of an operation that the real service has.
func NotImplemented(op string) *Error {
	return &Error{
		Code: "UnknownOperationException", Status: http.StatusBadRequest,
		Message: "The operation " + op + " is not implemented by Slipway.",
	}
}

// Unsupported refuses what the real API has by its name: to accept it and do
// nothing would look like success.
func Unsupported(what string) error {
	return fault.New(fault.Unsupported, "%s is not supported by Slipway.", what)
}

// TooLarge answers a body of more than limit bytes.
func TooLarge(limit int64) *Error {
	return &Error{
		Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
		Message: fault.New(fault.Limit, "The request body has more than %d bytes.", limit).Public,
	}
}
