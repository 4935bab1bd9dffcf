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

// table holds the name of every kind of fault, by service.
var table = [services][fault.Unsupported + 1]name{
	SageMaker: {
		fault.Internal:    {"InternalFailure", http.StatusInternalServerError},
		fault.Invalid:     {"ValidationException", http.StatusBadRequest},
		fault.NotFound:    {"ValidationException", http.StatusBadRequest},
		fault.Exists:      {"ValidationException", http.StatusBadRequest},
		fault.InUse:       {"ValidationException", http.StatusBadRequest},
		fault.Conflict:    {"ValidationException", http.StatusBadRequest},
		fault.Limit:       {"ResourceLimitExceeded", http.StatusBadRequest},
		fault.Unavailable: {"ServiceUnavailable", http.StatusServiceUnavailable},
		fault.Denied:      {"AccessDeniedException", http.StatusBadRequest},
		fault.Unsupported: {"ValidationException", http.StatusBadRequest},
	},
	Runtime: {
		fault.Internal:    {"InternalFailure", http.StatusInternalServerError},
		fault.Invalid:     {"ValidationError", http.StatusBadRequest},
		fault.NotFound:    {"ValidationError", http.StatusBadRequest},
		fault.Exists:      {"ValidationError", http.StatusBadRequest},
		fault.InUse:       {"ValidationError", http.StatusBadRequest},
		fault.Conflict:    {"ValidationError", http.StatusBadRequest},
		fault.Limit:       {"", http.StatusRequestEntityTooLarge},
		fault.Unavailable: {"ServiceUnavailable", http.StatusServiceUnavailable},
		fault.Denied:      {"AccessDeniedException", http.StatusBadRequest},
		fault.Unsupported: {"ValidationError", http.StatusBadRequest},
	},
	STS: {
		fault.Internal:    {"InternalFailure", http.StatusInternalServerError},
		fault.Invalid:     {"ValidationError", http.StatusBadRequest},
		fault.NotFound:    {"ValidationError", http.StatusBadRequest},
		fault.Exists:      {"ValidationError", http.StatusBadRequest},
		fault.InUse:       {"ValidationError", http.StatusBadRequest},
		fault.Conflict:    {"ValidationError", http.StatusBadRequest},
		fault.Limit:       {"Throttling", http.StatusBadRequest},
		fault.Unavailable: {"ServiceUnavailable", http.StatusServiceUnavailable},
		fault.Denied:      {"AccessDenied", http.StatusForbidden},
		fault.Unsupported: {"ValidationError", http.StatusBadRequest},
	},
	CloudWatch: {
		fault.Internal:    {"InternalFailure", http.StatusInternalServerError},
		fault.Invalid:     {"ValidationException", http.StatusBadRequest},
		fault.NotFound:    {"ValidationException", http.StatusBadRequest},
		fault.Exists:      {"ValidationException", http.StatusBadRequest},
		fault.InUse:       {"ValidationException", http.StatusBadRequest},
		fault.Conflict:    {"ValidationException", http.StatusBadRequest},
		fault.Limit:       {"ValidationException", http.StatusBadRequest},
		fault.Unavailable: {"ServiceUnavailable", http.StatusServiceUnavailable},
		fault.Denied:      {"AccessDeniedException", http.StatusForbidden},
		fault.Unsupported: {"ValidationException", http.StatusBadRequest},
	},
	SageMakerEdge: { // edge specification §1.2, §3.3
		fault.Internal:    {"InternalServiceException", http.StatusInternalServerError},
		fault.Invalid:     {"ValidationException", http.StatusBadRequest},
		fault.NotFound:    {"ValidationException", http.StatusBadRequest},
		fault.Exists:      {"ValidationException", http.StatusBadRequest},
		fault.InUse:       {"ValidationException", http.StatusBadRequest},
		fault.Conflict:    {"ValidationException", http.StatusBadRequest},
		fault.Limit:       {"ThrottlingException", http.StatusTooManyRequests},
		fault.Unavailable: {"ServiceUnavailable", http.StatusServiceUnavailable},
		fault.Denied:      {"AccessDeniedException", http.StatusForbidden},
		fault.Unsupported: {"ValidationException", http.StatusBadRequest},
	},
	IoT: {
		fault.Internal:    {"InternalFailureException", http.StatusInternalServerError},
		fault.Invalid:     {"InvalidRequestException", http.StatusBadRequest},
		fault.NotFound:    {"ResourceNotFoundException", http.StatusNotFound},
		fault.Exists:      {"ResourceAlreadyExistsException", http.StatusConflict},
		fault.InUse:       {"DeleteConflictException", http.StatusConflict},
		fault.Conflict:    {"VersionConflictException", http.StatusConflict},
		fault.Limit:       {"LimitExceededException", http.StatusGone},
		fault.Unavailable: {"ServiceUnavailableException", http.StatusServiceUnavailable},
		fault.Denied:      {"AccessDeniedException", http.StatusForbidden},
		fault.Unsupported: {"InvalidRequestException", http.StatusBadRequest},
	},
}

// A row is what an operation of a service answers in place of the table's word.
type row struct {
	service Service
	op      string
	kind    fault.Kind
}

var exceptions = map[row]name{
	// It declares no ResourceLimitExceeded, which typed clients would not know.
	{SageMaker, "AddTags", fault.Limit}: {"ValidationException", http.StatusBadRequest},

	{CloudWatch, "PutMetricAlarm", fault.Limit}:         {"LimitExceededFault", http.StatusBadRequest},
	{CloudWatch, "PutCompositeAlarm", fault.Limit}:      {"LimitExceededFault", http.StatusBadRequest},
	{CloudWatch, "DeleteAlarms", fault.NotFound}:        {"ResourceNotFound", http.StatusNotFound},
	{CloudWatch, "SetAlarmState", fault.NotFound}:       {"ResourceNotFound", http.StatusNotFound},
	{CloudWatch, "PutMetricData", fault.Internal}:       {"InternalServiceFault", http.StatusInternalServerError},
	{CloudWatch, "PutMetricData", fault.Invalid}:        {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "PutMetricData", fault.Limit}:          {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "GetMetricStatistics", fault.Internal}: {"InternalServiceFault", http.StatusInternalServerError},
	{CloudWatch, "GetMetricStatistics", fault.Invalid}:  {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "GetMetricStatistics", fault.Limit}:    {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "ListMetrics", fault.Internal}:         {"InternalServiceFault", http.StatusInternalServerError},
	{CloudWatch, "ListMetrics", fault.Invalid}:          {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "ListTagsForResource", fault.Internal}: {"InternalServiceFault", http.StatusInternalServerError},
	{CloudWatch, "ListTagsForResource", fault.Invalid}:  {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "ListTagsForResource", fault.NotFound}: {"ResourceNotFoundException", http.StatusNotFound},
	{CloudWatch, "TagResource", fault.Internal}:         {"InternalServiceFault", http.StatusInternalServerError},
	{CloudWatch, "TagResource", fault.Invalid}:          {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "TagResource", fault.Limit}:            {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "TagResource", fault.NotFound}:         {"ResourceNotFoundException", http.StatusNotFound},
	{CloudWatch, "TagResource", fault.Conflict}:         {"ConcurrentModificationException", http.StatusTooManyRequests},
	{CloudWatch, "UntagResource", fault.Internal}:       {"InternalServiceFault", http.StatusInternalServerError},
	{CloudWatch, "UntagResource", fault.Invalid}:        {"InvalidParameterValueException", http.StatusBadRequest},
	{CloudWatch, "UntagResource", fault.NotFound}:       {"ResourceNotFoundException", http.StatusNotFound},
	{CloudWatch, "UntagResource", fault.Conflict}:       {"ConcurrentModificationException", http.StatusTooManyRequests},
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

// TooLarge answers a body of more than limit bytes.
func TooLarge(limit int64) *Error {
	return &Error{
		Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
		Message: fault.New(fault.Limit, "The request body has more than %d bytes.", limit).Public,
	}
}
