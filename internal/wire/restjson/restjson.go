// Package restjson speaks REST-JSON: the operation is a method and a path, a
// request's members travel in the path, the query, the headers and a JSON body,
// and errors are named in a header (edge specification §1.2, §5.3).
//
// Not its job: who is calling, and what an operation does.
package restjson

import (
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// Protocol is REST-JSON for the operations of one service.
type Protocol struct {
	service *shape.Service
	routes  []route
}

// New returns the protocol of a service. It panics on a binding that it does
// not know: a greedy label, a query in the path, a body that is one member.
func New(s *shape.Service) rpc.Protocol { return &Protocol{s, routesOf(s)} }

// Name is "rest-json".
func (*Protocol) Name() string { return "rest-json" }

// Claims reports whether the service has an operation there.
func (p *Protocol) Claims(r *http.Request) bool {
	rt, _ := p.match(r)
	return rt != nil
}

// Open finds the operation by method and path. A body may be missing, and is
// not read for an operation that has nothing in it.
func (p *Protocol) Open(r *http.Request, body func() ([]byte, error)) (string, func(shape.Value) error, error) {
	rt, labels := p.match(r)
	if rt == nil {
		return "", nil, unknown(r)
	}
	return rt.op.Name, func(in shape.Value) error {
		if rt.body {
			b, err := body()
			if err != nil {
				return err
			}
			if len(b) > 0 {
				if err := shape.Decode(b, in); err != nil {
					return err
				}
			}
		}
		return bind(in, labels, r)
	}, nil
}

func unknown(r *http.Request) error {
	e := awserr.UnknownOperation()
	e.Status = http.StatusNotFound
	e.Message = "No operation is known at " + r.Method + " " + clip(r.URL.EscapedPath())
	return e
}

// clip keeps what an answer repeats short.
func clip(s string) string {
	if len(s) > 256 {
		return s[:256] + "..."
	}
	return s
}

// bind sets the members of in that do not travel in the body. One that was not
// sent, or sent empty in the query, is absent.
func bind(in shape.Value, labels map[string]string, r *http.Request) error {
	s, v := in.Shape(), reflect.ValueOf(in).Elem()
	var query url.Values
	for i := range s.Members {
		m := &s.Members[i]
		var texts []string
		switch m.Location {
		case "":
			continue
		case "uri":
			texts = []string{labels[m.Wire]}
		case "header":
			texts = r.Header.Values(m.Wire)
		case "querystring":
			if query == nil {
				var err error
				if query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
					return &shape.DecodeError{Text: "The query of the URL could not be read."}
				}
			}
			texts = query[m.Wire]
		}
		if err := set(m.Shape, v.Field(i), texts); err != nil {
			return err
		}
	}
	return nil
}

// set stores texts in a member's field. Of a scalar, the first counts.
func set(s *shape.Shape, f reflect.Value, texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	if s.Kind == shape.List {
		f.Set(reflect.MakeSlice(f.Type(), len(texts), len(texts)))
		for i, text := range texts {
			if !shape.SetText(s.Elem, f.Index(i), text) {
				return shape.Mismatch("STRING_VALUE", s.Elem.Kind)
			}
		}
		return nil
	}
	if texts[0] == "" && s.Kind != shape.String {
		return nil // ?forceDelete= says nothing
	}
	v := f
	if f.Kind() == reflect.Pointer {
		f.Set(reflect.New(f.Type().Elem()))
		v = f.Elem()
	}
	if !shape.SetText(s, v, texts[0]) {
		return shape.Mismatch("STRING_VALUE", s.Kind)
	}
	return nil
}

// Answer writes the output: what is bound to headers there, the rest as JSON.
func (p *Protocol) Answer(w http.ResponseWriter, op string, out shape.Value) {
	status := http.StatusOK
	if o := p.service.Operation(op); o != nil {
		status = o.Status
	}
	h := w.Header()
	var body []byte
	if s := out.Shape(); s != nil {
		headers(h, s, reflect.Indirect(reflect.ValueOf(out)))
		if inBody(s) || len(s.Members) == 0 {
			body = shape.Append(make([]byte, 0, 512), out)
			h.Set("Content-Type", "application/json")
		}
	}
	rpc.Reply(w, status, body)
}

// headers writes the members of an answer that are bound to headers.
func headers(h http.Header, s *shape.Shape, v reflect.Value) {
	for i := range s.Members {
		m := &s.Members[i]
		if f := v.Field(i); m.Location == "header" && !f.IsNil() {
			h.Set(m.Wire, headerText(m.Shape, reflect.Indirect(f)))
		}
	}
}

func headerText(s *shape.Shape, v reflect.Value) string {
	switch s.Kind {
	case shape.Integer, shape.Long:
		return strconv.FormatInt(v.Int(), 10)
	case shape.Boolean:
		return strconv.FormatBool(v.Bool())
	default: // New has seen that it is a string
		return strings.NewReplacer("\r", " ", "\n", " ").Replace(v.String())
	}
}

// Refuse names the failure in a header and its sentence in the body, by the
// word that the service has for it.
func (p *Protocol) Refuse(w http.ResponseWriter, e *awserr.Error) {
	awserr.WriteRESTAs(w, p.service.ErrorMember, e)
}
