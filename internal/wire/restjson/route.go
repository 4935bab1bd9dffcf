package restjson

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// A route is where an operation is called.
type route struct {
	op    *shape.Operation
	parts []part
	body  bool // whether some of its input travels in the body
}

// A part of a path: a word, or a label that stands for one.
type part struct {
	text  string
	label bool
}

// routesOf returns the routes of a service, those with words first: at
// /things/all the word wins over {thingName}.
func routesOf(s *shape.Service) []route {
	var all []route
	for i := range s.Operations {
		op := &s.Operations[i]
		r := route{op: op}
		path, ok := strings.CutPrefix(op.URI, "/")
		if !ok || strings.ContainsAny(path, "?+") {
			panic("restjson: " + op.Name + " has the unknown path " + op.URI)
		}
		for text := range strings.SplitSeq(path, "/") {
			name, isLabel := strings.CutPrefix(text, "{")
			r.parts = append(r.parts, part{strings.TrimSuffix(name, "}"), isLabel})
		}
		if op.Input != nil {
			checkInput(op, r)
			r.body = inBody(op.Input)
		}
		if op.Output != nil {
			checkOutput(op)
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b route) int { return slices.CompareFunc(a.parts, b.parts, wordsFirst) })
	return all
}

func wordsFirst(a, b part) int {
	switch {
	case a.label == b.label:
		return 0
	case b.label:
		return -1
	}
	return 1
}

// inBody reports whether a part of the structure travels in the body.
func inBody(s *shape.Shape) bool {
	return slices.ContainsFunc(s.Members, func(m shape.Member) bool { return m.Location == "" })
}

func checkInput(op *shape.Operation, r route) {
	for _, m := range op.Input.Members {
		ok := false
		switch m.Location {
		case "", "header", "querystring":
			ok = true
		case "uri":
			ok = slices.Contains(r.parts, part{m.Wire, true})
		}
		if !ok {
			panic("restjson: " + op.Name + " takes " + m.Name + " in a way that is not known")
		}
	}
}

func checkOutput(op *shape.Operation) {
	for _, m := range op.Output.Members {
		switch k := m.Shape.Kind; {
		case m.Location == "":
		case m.Location == "header" &&
			(k == shape.String || k == shape.Integer || k == shape.Long || k == shape.Boolean):
		default:
			panic("restjson: " + op.Name + " answers " + m.Name + " in a way that is not known")
		}
	}
}

// maxParts bounds what is looked at of a path.
const maxParts = 16

// match finds the route that a request takes, and what its labels stand for.
func (p *Protocol) match(r *http.Request) (*route, map[string]string) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/")
	if !ok || strings.Count(path, "/") >= maxParts {
		return nil, nil
	}
	for i := range p.routes {
		rt := &p.routes[i]
		if rt.op.Method != r.Method || strings.Count(path, "/") != len(rt.parts)-1 {
			continue
		}
		if labels, ok := rt.match(path); ok {
			return rt, labels
		}
	}
	return nil, nil
}

func (rt *route) match(path string) (labels map[string]string, ok bool) {
	for _, part := range rt.parts {
		var text string
		text, path, _ = strings.Cut(path, "/")
		text, err := url.PathUnescape(text)
		switch {
		case err != nil || text == "":
			return nil, false
		case part.label:
			if labels == nil {
				labels = make(map[string]string, 1)
			}
			labels[part.text] = text
		case part.text != text:
			return nil, false
		}
	}
	return labels, true
}
