package awserr

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"

	"github.com/google/uuid"
)

// RequestIDHeader carries the request's id, in errors and in successes.
const RequestIDHeader = "x-amzn-RequestId"

// RequestID returns the id of the response in hand. It makes one, a random
// UUID, if nobody has yet.
func RequestID(h http.Header) string {
	id := h.Get(RequestIDHeader)
	if id == "" {
		id = uuid.NewString()
		h.Set(RequestIDHeader, id)
	}
	return id
}

// modelled are the codes that the JSON services declare as structures with the
// member Message; the others carry message.
var modelled = map[string]bool{
	"ResourceLimitExceeded": true, "ResourceNotFound": true, "ResourceInUse": true, "ConflictException": true,
}

// WriteJSON answers in AWS JSON of that version, "1.0" or "1.1".
func WriteJSON(w http.ResponseWriter, version string, e *Error) {
	member := "message"
	if modelled[e.Code] {
		member = "Message"
	}
	body := appendMembers(append([]byte(`{"__type":`), quote(e.Code)...), member, e)
	write(w, "application/x-amz-json-"+version, e.Status, append(body, '}'))
}

// WriteREST answers in REST-JSON: the code in a header, the rest in the body.
func WriteREST(w http.ResponseWriter, e *Error) {
	if e.Code != "" {
		w.Header().Set("x-amzn-ErrorType", e.Code)
	}
	body := appendMembers([]byte("{"), "Message", e)
	write(w, "application/json", e.Status, append(body, '}'))
}

// WriteQuery answers in the XML of the Query protocol; ns is the XML namespace
// of the service's API version.
func WriteQuery(w http.ResponseWriter, ns string, e *Error) {
	who := "Sender"
	if e.Status >= http.StatusInternalServerError {
		who = "Receiver"
	}
	var b bytes.Buffer
	b.WriteString(`<ErrorResponse xmlns="` + ns + `"><Error><Type>` + who + `</Type>`)
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	b.WriteString(`</Error>`)
	element(&b, "RequestId", RequestID(w.Header()))
	b.WriteString(`</ErrorResponse>`)
	write(w, "text/xml", e.Status, b.Bytes())
}

func element(b *bytes.Buffer, name, text string) {
	b.WriteString("<" + name + ">")
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes everything
	b.WriteString("</" + name + ">")
}

// appendMembers appends the message and the modelled members, sorted by name,
// to an object that has been opened.
func appendMembers(b []byte, member string, e *Error) []byte {
	all := map[string]any{member: e.Message}
	for k, v := range e.Members {
		all[k] = v
	}
	inner := quote(all) // maps come sorted
	if len(b) > 1 {
		b = append(b, ',')
	}
	return append(b, inner[1:len(inner)-1]...)
}

// quote is v as JSON, without the escapes for HTML.
func quote(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("awserr: " + err.Error()) // a member that is no plain value
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func write(w http.ResponseWriter, contentType string, status int, body []byte) {
	h := w.Header()
	RequestID(h)
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone; nobody to tell
}
