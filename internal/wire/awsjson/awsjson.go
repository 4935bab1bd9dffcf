// Package awsjson speaks the AWS JSON protocol: one URL, the operation in a
// header, errors named in the body (behaviour specification §1.2, §1.4). A
// service that once spoke Query is answered for in that one's words as well
// (§7.5).
//
// Not its job: who is calling, and what an operation does.
package awsjson

import (
	"net/http"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// Protocol is AWS JSON in the version that its service speaks.
type Protocol struct{ Service *shape.Service }

// New returns the protocol of a service.
func New(s *shape.Service) rpc.Protocol { return Protocol{s} }

// Name is "json".
func (Protocol) Name() string { return "json" }

// Claims looks for the header that names the operation.
func (Protocol) Claims(r *http.Request) bool { return r.Header.Get("X-Amz-Target") != "" }

// Open reads the operation from the header; a body may be missing.
func (p Protocol) Open(r *http.Request, body func() ([]byte, error)) (string, func(shape.Value) error, error) {
	prefix, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if prefix != p.Service.TargetPrefix || r.Method != http.MethodPost {
		return "", nil, awserr.UnknownOperation()
	}
	return name, func(in shape.Value) error {
		b, err := body()
		if err != nil {
			return err
		}
		if len(b) == 0 {
			b = []byte("{}") // no parameters, said by a terse client
		}
		return shape.Decode(b, in)
	}, nil
}

// Answer writes the output as JSON, or nothing if there is none.
func (p Protocol) Answer(w http.ResponseWriter, _ string, out shape.Value) {
	var body []byte
	if out.Shape() != nil {
		body = shape.Append(make([]byte, 0, 512), out)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-"+p.Service.JSONVersion)
	rpc.Reply(w, http.StatusOK, body)
}

// Refuse names the failure in the body and, where the service once spoke Query,
// by its old code in a header.
func (p Protocol) Refuse(w http.ResponseWriter, e *awserr.Error) {
	if ns := p.Service.TypeNamespace; ns != "" {
		awserr.WriteCompatibleJSON(w, p.Service.JSONVersion, ns, e)
		return
	}
	awserr.WriteJSON(w, p.Service.JSONVersion, e)
}
