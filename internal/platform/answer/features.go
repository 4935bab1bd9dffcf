package answer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
)

// MaxFeatures is how long an answer may be, in bytes, for more than its size to
// be counted.
const MaxFeatures = 64 << 10

// Features are what is counted of one answer, to see whether the answers of a
// fleet drift. Nothing in them tells what was answered, without the key.
type Features struct {
	Size int // bytes of the answer
	// Label is the selected value, as a hash under the key of its deployment; the
	// first one, if several were selected. HasLabel says that there is one.
	Label    uint64
	HasLabel bool
	// Number is the mean of the selected numbers. HasNumber says that there are some,
	// and all of them finite.
	Number    float64
	HasNumber bool
	// Bad says that the answer is none: empty, nothing of what was selected, NaN, an
	// infinite number, or null where a value belongs.
	Bad bool

	Said Said // of answers that are text
}

// Said is what is counted of a text.
type Said struct {
	Text   bool   // the answer is one
	Tokens int    // as the server counted them, else words
	Finish Finish // why it ended
	Empty  bool   // neither text nor a call
	JSON   bool   // it is a JSON object or array
	Calls  bool   // it asks for tools, all with arguments that are JSON
}

// Finish is why a text ended.
type Finish uint8

// The reasons that servers give.
const (
	FinishUnknown Finish = iota
	FinishStop
	FinishLength
	FinishCalls
	FinishFilter
	FinishOther
)

func finish(reason string) Finish {
	switch reason {
	case "":
		return FinishUnknown
	case "stop":
		return FinishStop
	case "length":
		return FinishLength
	case "tool_calls", "function_call":
		return FinishCalls
	case "content_filter":
		return FinishFilter
	}
	return FinishOther
}

// ReadFeatures returns what is counted of an answer of size bytes, which start
// with body. Key is the deployment's, chosen at random at its begin and forgotten
// with its end.
func ReadFeatures(contentType string, body []byte, size int, sel Selector, key []byte) Features {
	f := Features{Size: size, Bad: size == 0}
	if size > MaxFeatures || size != len(body) {
		return f
	}
	a := Read(contentType, body, sel)
	switch a.Reading {
	case AsText:
		f.Said = a.text.counted()
		f.Bad = f.Bad || f.Said.Empty
	case AsValues:
		a.values(&f, key)
	case AsBytes:
		f.Bad = f.Bad || a.selected
	}
	return f
}

// values fills in what is counted of the values: of the selected ones, or of the
// only one there is.
func (a *Answer) values(f *Features, key []byte) {
	f.Bad = f.Bad || len(a.leaves) == 0
	mean, numbers := 0.0, 0
	for i := range a.leaves {
		l := &a.leaves[i]
		f.Bad = f.Bad || l.bad()
		if l.kind == number {
			mean += l.num / float64(len(a.leaves))
			numbers++
		}
	}
	if !a.selected && len(a.leaves) != 1 {
		return
	}
	if numbers > 0 && numbers == len(a.leaves) && !f.Bad {
		f.Number, f.HasNumber = mean, true
	}
	if first := a.first; first.kind != null && a.measure != Numbers && a.measure != Embedding {
		f.Label, f.HasLabel = first.hash(key), true
	}
}

// hash returns a label under a key: a plain hash of "yes" or "no" is no secret.
func (l *leaf) hash(key []byte) uint64 {
	h := hmac.New(sha256.New, key)
	switch l.kind {
	case number:
		h.Write(strconv.AppendFloat([]byte("n"), l.num, 'g', -1, 64))
	case truth:
		h.Write(strconv.AppendFloat([]byte("t"), l.num, 'g', -1, 64))
	case null, label:
		h.Write([]byte("s"))
	}
	h.Write([]byte(l.text))
	return binary.BigEndian.Uint64(h.Sum(nil))
}
