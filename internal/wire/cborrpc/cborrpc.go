// Package cborrpc speaks Smithy RPC v2 CBOR: the operation in the path, a CBOR
// map in the body (behaviour specification §7.5). It reads whatever form of a
// value RFC 8949 allows and writes the plain definite ones.
//
// Not its job: who is calling, and what an operation does.
package cborrpc

import (
	"net/http"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// Protocol is RPC v2 CBOR for one service.
type Protocol struct{ Service *shape.Service }

// New returns the protocol of a service.
func New(s *shape.Service) rpc.Protocol { return Protocol{s} }

// Name is "cbor".
func (Protocol) Name() string { return "cbor" }

// Claims looks for the protocol's header, and for its path where a proxy has
// dropped that.
func (p Protocol) Claims(r *http.Request) bool {
	return r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor" || strings.Contains(r.URL.Path, p.root())
}

func (p Protocol) root() string { return "/service/" + p.Service.TargetPrefix + "/operation/" }

// Open reads the operation from the end of the path, before which any prefix
// may stand. A body may be missing.
func (p Protocol) Open(r *http.Request, body func() ([]byte, error)) (string, func(shape.Value) error, error) {
	_, name, ok := strings.Cut(r.URL.Path, p.root())
	if !ok || r.Method != http.MethodPost {
		e := awserr.UnknownOperation()
		e.Message = "No operation is known at " + r.Method + " " +
			strings.ToValidUTF8(r.URL.Path[:min(len(r.URL.Path), 256)], "")
		return "", nil, e
	}
	return name, func(in shape.Value) error {
		b, err := body()
		if err != nil || len(b) == 0 {
			return err
		}
		return Decode(b, in)
	}, nil
}

// Answer writes the output as a map, or nothing if there is none.
func (Protocol) Answer(w http.ResponseWriter, _ string, out shape.Value) {
	h := w.Header()
	h.Set("Smithy-Protocol", "rpc-v2-cbor")
	var body []byte
	if out.Shape() != nil {
		body = Append(make([]byte, 0, 512), out)
		h.Set("Content-Type", "application/cbor")
	} else {
		h["Content-Type"] = nil // nothing to be guessed about
	}
	rpc.Reply(w, http.StatusOK, body)
}

// Refuse names the failure in the body, and by its old code in a header.
func (p Protocol) Refuse(w http.ResponseWriter, e *awserr.Error) {
	awserr.WriteCBOR(w, p.Service.TypeNamespace, e)
}
