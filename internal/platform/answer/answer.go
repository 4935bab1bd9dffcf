// Package answer reads what models answer, so that two answers to one request
// can be compared and many answers be counted: CSV, JSON, JSON Lines, bodies of
// the Open Inference Protocol, chat completions, NumPy arrays and raw tensors.
// It promises to end soon and to take little memory whatever the bodies are, and
// never to take for equal what it could not read: that is compared byte by byte,
// and said so. It knows nothing of requests; whose answers are compared, and what
// follows, is not its job, and nothing of it belongs on a request's path.
package answer

import (
	"math"
	"mime"
	"strings"
)

// Limits of one answer. What is beyond them is not read, and compared as bytes.
const (
	MaxBody   = 1 << 20 // bytes; of longer bodies nothing is compared
	MaxDepth  = 64      // of arrays and objects in each other
	MaxValues = 1 << 17 // numbers, texts, truth values and nulls; each takes 40 bytes
)

// Reading says as what an answer was read.
type Reading uint8

// The readings of an answer.
const (
	AsBytes  Reading = iota // it could not be read, or nothing knows its type
	AsValues                // as numbers, texts, truth values and nulls, each at its place
	AsText                  // as what a language model said
)

// Answer is what was read of one body. One that was not read keeps the body.
type Answer struct {
	Reading Reading
	// Why says, for people, why the answer was not read; "" if it was.
	Why string

	size     int
	body     []byte // of an answer that is compared as bytes
	measure  Measure
	selected bool   // by a selector: what it does not name was left out
	asked    bool   // to be compared as bytes
	first    leaf   // that was read
	leaves   []leaf // by place once they are sorted
	text     textual
}

// leaf is one value at its place in an answer.
type leaf struct {
	place uint64 // a hash, under a key of this process, of the way to it
	kind  kind
	exact bool // num is just what was written
	num   float64
	text  string // of a text, and of what a number says that no float64 holds
}

type kind uint8

const (
	null kind = iota
	truth
	number
	label
)

// Read reads a body of that content type, "" if it has none. Only what sel names
// counts, or everything if it is zero. An answer that cannot be read is one, too:
// see its Reading.
func Read(contentType string, body []byte, sel Selector) Answer {
	a := Answer{size: len(body), measure: sel.Measure, selected: sel.Format != Whole && sel.Format != Bytes}
	if sel.Format == Bytes {
		a.Why, a.body, a.asked = "it is compared as it is", body[:min(len(body), MaxBody)], true
		return a
	}
	err := a.read(contentType, body, sel)
	if err == nil && a.Reading == AsValues {
		err = a.sort()
	}
	if err != nil {
		return Answer{
			Why: err.Error(), size: len(body), body: body[:min(len(body), MaxBody)], measure: a.measure,
			selected: a.selected,
		}
	}
	return a
}

func (a *Answer) read(contentType string, body []byte, sel Selector) error {
	if len(body) > MaxBody {
		return errTooLong
	}
	media, params := mediaType(contentType, body)
	if sel.Format == RawElements {
		return a.readRaw(body, sel)
	}
	switch media {
	case "application/json", "text/json":
		return a.readJSON(body, sel)
	case "application/jsonlines", "application/x-jsonlines", "application/x-ndjson":
		return a.readLines(body, sel)
	case "text/csv":
		return a.readCSV(body, sel)
	case "application/x-npy", "application/npy":
		return a.readNPY(body, sel)
	case "application/vnd.sagemaker-triton.binary+json":
		return a.readBinaryOIP(body, params["json-header-size"], sel)
	case "text/event-stream":
		return a.readEvents(body, sel)
	case "text/plain":
		return a.readPlain(body, sel)
	}
	return failure("the media type " + media + " is not known")
}

// mediaType returns the type that a body has: the one it says, or JSON if it says
// none and looks like it.
func mediaType(contentType string, body []byte) (string, map[string]string) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	if strings.HasSuffix(media, "+json") && !strings.HasPrefix(media, "application/vnd.sagemaker-triton") {
		media = "application/json"
	}
	if media == "" {
		if trimmed := strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"); strings.HasPrefix(trimmed, "{") ||
			strings.HasPrefix(trimmed, "[") {
			return "application/json", nil
		}
		return "of no name", nil
	}
	return media, params
}

// failure is why an answer is not read. It quotes nothing of the answer.
type failure string

func (f failure) Error() string { return string(f) }

const (
	errTooLong   failure = "it is longer than 1 MiB"
	errTooDeep   failure = "its arrays and objects lie more than 64 deep in each other"
	errTooMany   failure = "it has more than 131,072 values"
	errTwice     failure = "a member comes twice"
	errNotJSON   failure = "it is not JSON in UTF-8"
	errNothing   failure = "it has nothing that the selector names"
	errOtherForm failure = "it is not of the selector's format"
)

// put adds a value.
func (a *Answer) put(l leaf) error {
	if len(a.leaves) == MaxValues {
		return errTooMany
	}
	if len(a.leaves) == 0 {
		a.first = l
	}
	a.leaves = append(a.leaves, l)
	return nil
}

func (a *Answer) putNumber(place uint64, f float64) error {
	return a.put(leaf{place: place, kind: number, exact: true, num: f})
}

func (a *Answer) putText(place uint64, s string) error {
	return a.put(leaf{place: place, kind: label, text: s})
}

// bad reports whether a value is none: not a number, infinite, or null.
func (l *leaf) bad() bool {
	return l.kind == null || l.kind == number && (math.IsNaN(l.num) || math.IsInf(l.num, 0))
}
