package awserr

import (
	"fmt"
	"net/http"
)

// declaration is what CloudWatch's model says about one of its errors.
type declaration struct {
	query  string // its code in the Query protocol
	status int
}

// declared are the errors of CloudWatch's model (spec §7.3, §7.5).
var declared = map[string]declaration{
	"ConcurrentModificationException":      {"ConcurrentModificationException", http.StatusTooManyRequests},
	"ConflictException":                    {"ConflictException", http.StatusConflict},
	"InternalServiceFault":                 {"InternalServiceError", http.StatusInternalServerError},
	"InvalidFormatFault":                   {"InvalidFormat", http.StatusBadRequest},
	"InvalidNextToken":                     {"InvalidNextToken", http.StatusBadRequest},
	"InvalidParameterCombinationException": {"InvalidParameterCombination", http.StatusBadRequest},
	"InvalidParameterValueException":       {"InvalidParameterValue", http.StatusBadRequest},
	"LimitExceededFault":                   {"LimitExceeded", http.StatusBadRequest},
	"MissingRequiredParameterException":    {"MissingParameter", http.StatusBadRequest},
	"ResourceNotFound":                     {"ResourceNotFound", http.StatusNotFound},
	"ResourceNotFoundException":            {"ResourceNotFoundException", http.StatusNotFound},
}

// common are the codes of failures that any service may have, in the Query
// protocol.
var common = map[string]string{
	"AccessDeniedException":     "AccessDenied",
	"SerializationException":    "MalformedInput",
	"ThrottlingException":       "Throttling",
	"UnknownOperationException": "InvalidAction",
	"ValidationException":       "ValidationError",
}

// Declared returns a failure by the name that CloudWatch's model has for it,
// such as InvalidNextToken, for an operation that knows better than its kind
// tells. It panics if the model has no such error.
func Declared(name, format string, args ...any) *Error {
	d, ok := declared[name]
	if !ok {
		panic("awserr: CloudWatch declares no " + name)
	}
	return &Error{Code: name, Status: d.status, Message: fmt.Sprintf(format, args...)}
}

// QueryCode returns the failure's code in the Query protocol, and for clients
// that came from it to another.
func (e *Error) QueryCode() string {
	if e.Query != "" {
		return e.Query
	}
	if d, ok := declared[e.Code]; ok {
		return d.query
	}
	if q, ok := common[e.Code]; ok {
		return q
	}
	return e.Code
}

// messageMember is what CloudWatch's model calls the message of the error.
func (e *Error) messageMember() string {
	if e.Code == "InternalServiceFault" || e.Code == "ConflictException" {
		return "Message"
	}
	return "message"
}

// side says whose fault it is.
func (e *Error) side() string {
	if e.Status >= http.StatusInternalServerError {
		return "Receiver"
	}
	return "Sender"
}
