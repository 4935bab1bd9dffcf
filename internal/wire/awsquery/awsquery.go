// Package awsquery speaks the AWS Query protocol: a form comes in, its nested
// members spelt as in AlarmNames.member.1, and XML goes out (behaviour
// specification §7.5).
//
// Not its job: who is calling, and what an operation does.
package awsquery

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// Protocol is AWS Query for one service.
type Protocol struct{ Service *shape.Service }

// New returns the protocol of a service.
func New(s *shape.Service) rpc.Protocol { return Protocol{s} }

// Name is "query".
func (Protocol) Name() string { return "query" }

// Claims looks for a form, or for an action in the URL.
func (Protocol) Claims(r *http.Request) bool { return isForm(r) || r.URL.Query().Has("Action") }

func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost &&
		strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// Open reads all parameters, of the URL and of the body, the operation among
// them.
func (p Protocol) Open(r *http.Request, body func() ([]byte, error)) (string, func(shape.Value) error, error) {
	var form []byte
	if isForm(r) {
		var err error
		if form, err = body(); err != nil {
			return "", nil, err
		}
	}
	ps, err := parse(string(form), r.URL.RawQuery)
	if err != nil {
		return "", nil, err
	}
	action, version := ps.named("Action"), ps.named("Version")
	switch {
	case action == "":
		return "", nil, &awserr.Error{
			Code: "MissingAction", Status: http.StatusBadRequest,
			Message: "The request is missing an action or a required parameter.",
		}
	case !rpc.IsName(action):
		return "", nil, p.unknown(action, version)
	case version != p.Service.Version:
		return action, nil, p.unknown(action, version)
	}
	return action, func(in shape.Value) error { return ps.decode(in) }, nil
}

func (p Protocol) unknown(action, version string) *awserr.Error {
	e := awserr.UnknownOperation()
	e.Message = "Could not find operation " + clip(action) + " for version " + clip(version)
	return e
}

// clip keeps what a message echoes short.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 128)], "") }

// Answer writes the output as XML.
func (p Protocol) Answer(w http.ResponseWriter, op string, out shape.Value) {
	b := append(make([]byte, 0, 1024), `<`+op+`Response xmlns="`+p.Service.XMLNamespace+`">`...)
	if out.Shape() != nil {
		b = appendResult(b, op+"Result", out)
	}
	b = append(
		b,
		`<ResponseMetadata><RequestId>`+awserr.RequestID(w.Header())+`</RequestId></ResponseMetadata></`+op+
			`Response>`...,
	)
	w.Header().Set("Content-Type", "text/xml")
	rpc.Reply(w, http.StatusOK, b)
}

// Refuse writes the failure as XML, by its code in this protocol.
func (p Protocol) Refuse(w http.ResponseWriter, e *awserr.Error) {
	awserr.WriteQuery(w, p.Service.XMLNamespace, e)
}

// A param is one parameter of a request.
type param struct{ name, value string }

// params are sorted by name, those of one name as they came.
type params []param

const (
	maxParams = 200_000 // of a request
	maxName   = 1024    // bytes
)

// parse reads forms: name=value pairs, escaped, with & between.
func parse(forms ...string) (params, error) {
	bad := &awserr.Error{
		Code: "MalformedQueryString", Status: http.StatusBadRequest,
		Message: "The request's parameters could not be read.",
	}
	var ps params
	for _, form := range forms {
		for pair := range strings.SplitSeq(form, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			name, err := url.QueryUnescape(name)
			if err != nil {
				return nil, bad
			}
			if value, err = url.QueryUnescape(value); err != nil {
				return nil, bad
			}
			if ps = append(ps, param{name, value}); len(ps) > maxParams || len(name) > maxName {
				return nil, bad
			}
		}
	}
	slices.SortStableFunc(ps, func(a, b param) int { return strings.Compare(a.name, b.name) })
	return ps, nil
}

// named returns the value of the parameter of that name, or "".
func (ps params) named(name string) string {
	i, ok := slices.BinarySearchFunc(ps, name, func(p param, name string) int { return strings.Compare(p.name, name) })
	if !ok {
		return ""
	}
	return ps[i].value
}
