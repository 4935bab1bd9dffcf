package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// apiError is a failure in S3's words.
type apiError struct {
	status  int
	code    string
	message string
	members []member // that S3 gives besides
}

// member is an element of an error that tells more of it.
type member struct{ name, text string }

// MarshalXML writes the member under its name.
func (m member) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(m.text, xml.StartElement{Name: xml.Name{Local: m.name}})
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func invalid(code, message string) error {
	return &apiError{status: http.StatusBadRequest, code: code, message: message}
}

// argument refuses the value of a header or a parameter.
func argument(name, value, message string) *apiError {
	return &apiError{
		http.StatusBadRequest, "InvalidArgument", message,
		[]member{{"ArgumentName", name}, {"ArgumentValue", value}},
	}
}

func notImplemented(what string) error {
	return &apiError{
		status: http.StatusNotImplemented, code: "NotImplemented", message: what + " is not implemented by Slipway.",
	}
}

// causes names what the store says went wrong; an empty message keeps the
// fault's own sentence.
var causes = []struct {
	cause   error
	status  int
	code    string
	message string
}{
	{objects.ErrNoBucket, 404, "NoSuchBucket", "The specified bucket does not exist"},
	{objects.ErrNoKey, 404, "NoSuchKey", "The specified key does not exist."},
	{objects.ErrNoUpload, 404, "NoSuchUpload", ""},
	{objects.ErrChanged, 412, "PreconditionFailed", ""},
	{objects.ErrBucketName, 400, "InvalidBucketName", ""},
	{objects.ErrLongKey, 400, "KeyTooLongError", ""},
	{objects.ErrTooLarge, 400, "EntityTooLarge", ""},
	{objects.ErrPart, 400, "InvalidPart", ""},
	{objects.ErrPartOrder, 400, "InvalidPartOrder", ""},
	{objects.ErrPartSmall, 400, "EntityTooSmall", ""},
	{objects.ErrChecksum, 400, "BadDigest", ""},
	{objects.ErrSize, 400, "InvalidRequest", ""},
	{fault.Exists, 409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and " +
		"you already own it."},
	{fault.InUse, 409, "BucketNotEmpty", "The bucket you tried to delete is not empty"},
	{fault.Invalid, 400, "InvalidArgument", ""},
	{fault.Denied, 403, "AccessDenied", ""},
	{fault.Unavailable, 503, "ServiceUnavailable", ""},
}

// answer puts any failure in S3's words.
func answer(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok { // the body was not what was signed
		return &apiError{status: e.Status, code: e.Code, message: e.Message}
	}
	for _, c := range causes {
		if errors.Is(err, c.cause) {
			e := &apiError{status: c.status, code: c.code, message: c.message, members: ofPart(err)}
			if e.message == "" {
				_, e.message = fault.Public(err)
			}
			return e
		}
	}
	return &apiError{
		status: http.StatusInternalServerError, code: "InternalError",
		message: "We encountered an internal error. Please try again.",
	}
}

// ofPart is what S3 says of the part that a request failed on.
func ofPart(err error) []member {
	e, ok := errors.AsType[*objects.PartError](err)
	if !ok {
		return nil
	}
	told := []member{{"PartNumber", strconv.Itoa(e.Part.Number)}, {"ETag", e.Part.ETag}}
	if errors.Is(err, objects.ErrPartSmall) {
		told = append(told, member{"ProposedSize", strconv.FormatInt(e.Size, 10)})
	}
	return told
}

// tell adds what S3 says besides of a failure of this request.
func (c *call) tell(e *apiError) *apiError {
	told := *e
	add := func(name, text string) { told.members = append(told.members, member{name, text}) }
	if len(told.members) > 0 && e.code != "InvalidPart" && e.code != "EntityTooSmall" {
		return e
	}
	switch e.code {
	case "NoSuchKey":
		add("Key", c.key)
	case "NoSuchBucket", "BucketAlreadyOwnedByYou", "BucketNotEmpty", "InvalidBucketName", "NoSuchBucketPolicy",
		"NoSuchCORSConfiguration", "NoSuchLifecycleConfiguration", "NoSuchWebsiteConfiguration", "NoSuchTagSet",
		"ReplicationConfigurationNotFoundError", "ObjectLockConfigurationNotFoundError":
		add("BucketName", c.bucket)
	case "NoSuchUpload", "InvalidPart", "InvalidPartOrder":
		add("UploadId", c.query.Get("uploadId"))
	case "EntityTooSmall":
		add("MinSizeAllowed", "5242880")
	case "KeyTooLongError":
		add("Size", strconv.Itoa(len(c.key)))
		add("MaxSizeAllowed", "1024")
	case "EntityTooLarge":
		add("MaxSizeAllowed", strconv.FormatInt(objects.MaxPut, 10))
	case "PreconditionFailed":
		if c.r.Header.Get("If-None-Match") != "" {
			add("Condition", "If-None-Match")
		} else {
			add("Condition", "If-Match")
		}
	}
	return &told
}

// requestIDHeader is S3's own.
const requestIDHeader = "x-amz-request-id"

func requestID(h http.Header) string {
	id := h.Get(requestIDHeader)
	if id == "" {
		id = strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", "")[:16])
		h.Set(requestIDHeader, id)
	}
	return id
}

// response knows whether the answer has begun: from there on an error can only
// cut it off.
type response struct {
	http.ResponseWriter
	begun  bool
	status int
}

func (w *response) WriteHeader(status int) {
	w.begun, w.status = true, status
	w.ResponseWriter.WriteHeader(status)
}

// bytes is how long the body of the answer is, as its head says it.
func (w *response) bytes(r *http.Request) int64 {
	if r.Method == http.MethodHead {
		return 0
	}
	n, _ := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64) // 0 without one
	return n
}

// Unwrap lets the connection take a file whole.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// errorBody is an error's XML.
type errorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string   `xml:"Code"`
	Message   string   `xml:"Message"`
	Members   []member
	Resource  string `xml:"Resource"`
	RequestID string `xml:"RequestId"`
}

func (w *response) refuse(r *http.Request, e *apiError) {
	if e.status == http.StatusNotModified {
		w.WriteHeader(e.status)
		return
	}
	for name := range w.Header() { // what was meant for success
		if name != http.CanonicalHeaderKey(requestIDHeader) && name != "Content-Range" {
			w.Header().Del(name)
		}
	}
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	_ = w.xml(e.status, errorBody{ // the client is gone
		Code: e.code, Message: e.message, Members: e.members, Resource: r.URL.Path, RequestID: requestID(w.Header()),
	})
}

// document is XML as it is sent.
type document string

// xml answers with a document.
func (w *response) xml(status int, v any) error {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if text, ok := v.(document); ok {
		b.WriteString(string(text))
	} else if err := xml.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client is gone; nobody to tell
	return nil
}

func (w *response) empty(status int) error {
	w.WriteHeader(status)
	return nil
}
