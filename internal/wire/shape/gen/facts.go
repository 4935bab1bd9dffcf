package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// A service is one facts file.
type service struct {
	Service       string               `json:"service"`
	Version       string               `json:"version"`
	Protocols     []string             `json:"protocols"`
	JSONVersion   string               `json:"jsonVersion"`
	TargetPrefix  string               `json:"targetPrefix"`
	SigningName   string               `json:"signingName"`
	XMLNamespace  string               `json:"xmlNamespace"`
	TypeNamespace string               `json:"typeNamespace"`
	Operations    map[string]operation `json:"operations"`
	Shapes        map[string]*fact     `json:"shapes"`
}

type operation struct {
	HTTP struct {
		Method string `json:"method"`
		URI    string `json:"requestUri"`
		Status int    `json:"responseCode"`
	} `json:"http"`
	Input  string   `json:"input"`
	Output string   `json:"output"`
	Errors []string `json:"errors"`
}

// A fact is one shape.
type fact struct {
	Type      string   `json:"type"`
	Required  []string `json:"required"`
	Members   members  `json:"members"`
	Member    string   `json:"member"` // of a list
	Key       string   `json:"key"`    // of a map
	Value     string   `json:"value"`  // of a map
	Payload   string   `json:"payload"`
	Exception bool     `json:"exception"`
	Union     bool     `json:"union"`
	Pattern   string   `json:"pattern"`
	Enum      []string `json:"enum"`
	Min       *float64 `json:"min"`
	Max       *float64 `json:"max"`
}

type member struct {
	Name         string `json:"-"`
	Shape        string `json:"shape"`
	Location     string `json:"location"`
	LocationName string `json:"locationName"`
}

// members keep the order of the facts: it is the order of validation messages.
type members []member

func (ms *members) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var m member
		if err := dec.Decode(&m); err != nil {
			return err
		}
		m.Name = name.(string) // the name of a JSON object's member
		*ms = append(*ms, m)
	}
	return nil
}

func load(name string) (*service, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var s service
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.Service == "" || len(s.Operations) == 0 {
		return nil, errors.New("no operations in it")
	}
	return &s, nil
}

// errorMember is what the errors of a REST service call their sentence. The
// other protocols have their own ways, whatever the facts say.
func (s *service) errorMember() string {
	if slices.Contains(s.Protocols, "rest-json") {
		for _, f := range s.Shapes {
			if f.Exception && slices.ContainsFunc(f.Members, func(m member) bool { return m.Name == "message" }) {
				return "message"
			}
		}
	}
	return "Message"
}

// refs names the shapes that a shape is made of.
func (f *fact) refs() []string {
	var out []string
	for _, m := range f.Members {
		out = append(out, m.Shape)
	}
	for _, n := range []string{f.Member, f.Key, f.Value} {
		if n != "" {
			out = append(out, n)
		}
	}
	return out
}

// reachable returns the names, sorted, of all shapes that some operation's input
// or output is made of.
func (s *service) reachable() ([]string, error) {
	var roots []string
	for _, name := range slices.Sorted(maps.Keys(s.Operations)) {
		roots = append(roots, s.Operations[name].Input, s.Operations[name].Output)
	}
	return s.closure(roots)
}

// closure returns the names, sorted, of the given shapes and of those that they
// are made of. The tables hold plain pointers, so a shape that contains itself
// is refused: Go could not initialise them.
func (s *service) closure(roots []string) ([]string, error) {
	const visiting, done = 1, 2
	state := map[string]int{}
	var visit func(name string) error
	visit = func(name string) error {
		f := s.Shapes[name]
		switch {
		case f == nil:
			return fmt.Errorf("shape %s is not there", name)
		case state[name] == visiting:
			return fmt.Errorf("shape %s contains itself", name)
		case state[name] == done:
			return nil
		}
		state[name] = visiting
		for _, r := range f.refs() {
			if err := visit(r); err != nil {
				return err
			}
		}
		state[name] = done
		return nil
	}
	for _, root := range roots {
		if root == "" {
			continue // an operation that takes, or answers with, nothing
		}
		if err := visit(root); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(state)), nil
}
