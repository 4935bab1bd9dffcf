package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/spelling"
)

// Fault is something that is wrong with a configuration file.
type Fault struct {
	File string // "" if it came from no file
	Line int    // 0 if the file does not say it
	Key  string // "" if it is no key's
	Text string
}

func (f *Fault) Error() string {
	text := f.Text
	if f.Key != "" {
		text = f.Key + ": " + text
	}
	switch {
	case f.Line > 0 && f.File != "":
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, text)
	case f.Line > 0:
		return fmt.Sprintf("line %d: %s", f.Line, text)
	case f.File != "":
		return f.File + ": " + text
	}
	return text
}

// document is the text of a file on its way into a Config.
type document struct {
	file   string
	text   []byte
	keys   map[string]json.RawMessage
	lines  map[string]int // of the keys
	faults []*Fault
}

// open reads the keys of a file. False: it is no JSON object.
func (d *document) open() bool {
	d.keys, d.lines = map[string]json.RawMessage{}, map[string]int{}
	dec := json.NewDecoder(bytes.NewReader(d.text))
	begin, err := dec.Token()
	if err == nil && begin != json.Delim('{') {
		err = errors.New("it begins with something else")
	}
	for err == nil && dec.More() {
		var name json.Token
		if name, err = dec.Token(); err != nil {
			break
		}
		key, _ := name.(string) // of an object, it is one
		line := d.line(dec.InputOffset())
		var value json.RawMessage
		if err = dec.Decode(&value); err != nil {
			break
		}
		if d.lines[key] > 0 {
			d.fault(line, key, fmt.Sprintf("is given twice; the first is in line %d", d.lines[key]))
			continue
		}
		d.keys[key], d.lines[key] = value, line
	}
	if err == nil {
		_, err = dec.Token() // the end of the object
	}
	if err != nil {
		at := dec.InputOffset()
		if s, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = s.Offset
		}
		d.fault(d.line(at), "", "not a JSON object: "+err.Error())
		return false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		d.fault(d.line(dec.InputOffset()), "", "more than one JSON value")
		return false
	}
	return true
}

// line is that of the byte before which there are so many.
func (d *document) line(offset int64) int {
	return 1 + bytes.Count(d.text[:min(int64(len(d.text)), max(0, offset))], []byte("\n"))
}

func (d *document) fault(line int, key, text string) {
	d.faults = append(d.faults, &Fault{File: d.file, Line: line, Key: key, Text: text})
}

// misspelt reports a key of ours that is none, if it looks like another: what does
// not may be one of a newer agent, whose file an older one has to go on with.
func (d *document) misspelt(key string, known map[string]setter) bool {
	var ours []string
	for k := range known {
		if name, ok := strings.CutPrefix(k, ownPrefix); ok {
			ours = append(ours, name)
		}
	}
	slices.Sort(ours)
	name, ok := strings.CutPrefix(key, ownPrefix)
	best := spelling.Nearest(name, ours)
	if !ok || best == "" {
		return false
	}
	d.fault(d.lines[key], key, "is no key of the agent's; did you mean "+ownPrefix+best+"?")
	return true
}

// refused takes what Validate found, which begins with its key.
func (d *document) refused(err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, each := range joined.Unwrap() {
		key, text, _ := strings.Cut(each.Error(), ": ")
		if !slices.ContainsFunc(d.faults, func(f *Fault) bool { return f.Key == key }) {
			d.fault(d.lines[key], key, text)
		}
	}
}

// err joins the faults, by their lines.
func (d *document) err() error {
	slices.SortStableFunc(d.faults, func(a, b *Fault) int { return a.Line - b.Line })
	var all []error
	for _, f := range d.faults {
		all = append(all, f)
	}
	return errors.Join(all...)
}
