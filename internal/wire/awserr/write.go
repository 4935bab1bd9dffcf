package awserr

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
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
	writeJSON(w, version, e.Code, member, e)
}

func writeJSON(w http.ResponseWriter, version, typ, member string, e *Error) {
	body := appendMembers(append([]byte(`{"__type":`), quote(typ)...), member, e)
	write(w, "application/x-amz-json-"+version, e.Status, append(body, '}'))
}

// queryError carries the Query code to clients that came from that protocol:
// they go on comparing with it.
func queryError(h http.Header, e *Error) {
	h.Set("x-amzn-query-error", e.QueryCode()+";"+e.side())
}

// WriteCompatibleJSON answers in AWS JSON, with the Query code in a header and
// the code in the body under its service's namespace (spec §7.5).
func WriteCompatibleJSON(w http.ResponseWriter, version, namespace string, e *Error) {
	queryError(w.Header(), e)
	writeJSON(w, version, namespace+"#"+e.Code, e.messageMember(), e)
}

// sorted writes CBOR with the keys of maps in order.
var sorted = sync.OnceValue(func() cbor.EncMode {
	m, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode()
	if err != nil {
		panic("awserr: " + err.Error())
	}
	return m
})

// WriteCBOR answers in Smithy RPC v2 CBOR, with the Query code in a header and
// the code in the body under its service's namespace (spec §7.5).
func WriteCBOR(w http.ResponseWriter, namespace string, e *Error) {
	all := map[string]any{
		"__type": namespace + "#" + e.Code, e.messageMember(): strings.ToValidUTF8(e.Message, "\uFFFD"),
	}
	for k, v := range e.Members {
		all[k] = v
	}
	body, err := sorted().Marshal(all)
	if err != nil {
		panic("awserr: " + err.Error()) // a member that is no plain value
	}
	queryError(w.Header(), e)
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	write(w, "application/cbor", e.Status, body)
}

// WriteREST answers in REST-JSON: the code in a header, the rest in the body.
func WriteREST(w http.ResponseWriter, e *Error) { WriteRESTAs(w, "Message", e) }

// WriteRESTAs is WriteREST for a service that calls the sentence by another
// member; "" is the usual Message.
func WriteRESTAs(w http.ResponseWriter, member string, e *Error) {
	if member == "" {
		member = "Message"
	}
	if e.Code != "" {
		w.Header().Set("x-amzn-ErrorType", e.Code)
	}
	body := appendMembers([]byte("{"), member, e)
	write(w, "application/json", e.Status, append(body, '}'))
}

// WriteQuery answers in the XML of the Query protocol; ns is the XML namespace
// of the service's API version.
func WriteQuery(w http.ResponseWriter, ns string, e *Error) {
	var b bytes.Buffer
	b.WriteString(`<ErrorResponse xmlns="` + ns + `"><Error><Type>` + e.side() + `</Type>`)
	element(&b, "Code", e.QueryCode())
	element(&b, "Message", e.Message)
	b.WriteString(`</Error>`)
	element(&b, "RequestId", RequestID(w.Header()))
	b.WriteString(`</ErrorResponse>`)
	write(w, "text/xml", e.Status, b.Bytes())
}

// WriteEC2 answers in the XML of EC2, which has its own.
func WriteEC2(w http.ResponseWriter, e *Error) {
	var b bytes.Buffer
	b.WriteString(`<Response><Errors><Error>`)
	element(&b, "Code", e.QueryCode())
	element(&b, "Message", e.Message)
	b.WriteString(`</Error></Errors>`)
	element(&b, "RequestID", RequestID(w.Header()))
	b.WriteString(`</Response>`)
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
	RetryAfter(h, status)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone; nobody to tell
}

// RetryAfter has the clients of a service that is not available come again in a
// second.
func RetryAfter(h http.Header, status int) {
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
}
