package answer

import (
	"bytes"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"strconv"

	"github.com/slipway-ml/slipway/internal/platform/codec"
)

// seed is what places are hashed under: nobody outside the process can make two
// of them fall on each other.
var seed = maphash.MakeSeed()

type (
	memberOf struct {
		of   uint64
		name string
	}
	elementOf struct {
		of uint64
		at int
	}
)

func member(of uint64, name string) uint64 { return maphash.Comparable(seed, memberOf{of, name}) }

func element(of uint64, at int) uint64 { return maphash.Comparable(seed, elementOf{of, at}) }

// sort puts the values into the order of their places, and refuses two at one.
func (a *Answer) sort() error {
	slices.SortFunc(a.leaves, func(x, y leaf) int {
		switch {
		case x.place < y.place:
			return -1
		case x.place > y.place:
			return 1
		}
		return 0
	})
	for i := 1; i < len(a.leaves); i++ {
		if a.leaves[i].place == a.leaves[i-1].place {
			return errTwice
		}
	}
	return nil
}

// walker reads the values of one JSON document.
type walker struct {
	a *Answer
	r *codec.Reader
}

func (a *Answer) readJSON(body []byte, sel Selector) error {
	switch sel.Format {
	case Whole:
		if a.readChat(body) {
			return nil
		}
		if tensors, err := codec.DecodeOIPAnswer(body, len(body)); err == nil && len(tensors) > 0 {
			return a.readTensors(tensors, "")
		}
	case JSON:
	case Array:
		return a.readBinaryOIP(body, strconv.Itoa(len(body)), sel)
	case CSV, RawElements, Bytes:
		return errOtherForm
	}
	if err := a.document(0, body, sel.Steps); err != nil {
		return err
	}
	return a.found(sel)
}

// readLines reads JSON Lines as an array of its lines.
func (a *Answer) readLines(body []byte, sel Selector) error {
	if sel.Format != Whole && sel.Format != JSON {
		return errOtherForm
	}
	steps, at, only := sel.Steps, 0, -1
	if len(steps) > 0 {
		if n, ok := place(steps[0]); ok {
			only, steps = n, steps[1:]
		}
	}
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if only < 0 || only == at {
			if err := a.document(element(0, at), line, steps); err != nil {
				return err
			}
		}
		at++
	}
	return a.found(sel)
}

func (a *Answer) found(sel Selector) error {
	a.Reading = AsValues
	if len(a.leaves) == 0 && sel.Format != Whole {
		return errNothing
	}
	return nil
}

// document reads the values that steps lead to.
func (a *Answer) document(at uint64, body []byte, steps []string) error {
	r, err := codec.ReadJSON(body)
	if err != nil {
		return errNotJSON
	}
	w := walker{a, r}
	err = w.value(at, 0, steps)
	if _, ours := errors.AsType[failure](err); err != nil && !ours {
		return errNotJSON
	}
	return err
}

// place reads a step as a place in an array.
func place(step string) (int, bool) {
	n, err := strconv.Atoi(step)
	return n, err == nil && n >= 0 && step[0] != '+'
}

// value reads what lies at the steps that are left, in depth arrays and objects.
// An empty array or object is a value, too: otherwise [] and [[]] were the same.
func (w walker) value(at uint64, depth int, steps []string) error {
	if depth > MaxDepth {
		return errTooDeep
	}
	switch w.r.Peek() {
	case '{':
		return w.object(at, depth, steps)
	case '[':
		return w.array(at, depth, steps)
	case '"':
		text := w.r.Text()
		if len(steps) > 0 {
			return nil
		}
		switch text { // how servers write what JSON has no number for
		case "NaN":
			return w.a.putNumber(at, math.NaN())
		case "Infinity":
			return w.a.putNumber(at, math.Inf(1))
		case "-Infinity":
			return w.a.putNumber(at, math.Inf(-1))
		}
		return w.a.putText(at, text)
	}
	text := w.r.Scalar()
	if len(steps) > 0 {
		return nil
	}
	switch text[0] {
	case 't':
		return w.a.put(leaf{place: at, kind: truth, num: 1})
	case 'f':
		return w.a.put(leaf{place: at, kind: truth})
	case 'n':
		return w.a.put(leaf{place: at, kind: null})
	}
	return w.a.put(numeral(at, text))
}

func (w walker) object(at uint64, depth int, steps []string) error {
	n := 0
	err := w.r.Members(func(name string) error {
		n++
		switch {
		case len(steps) == 0:
			return w.value(member(at, name), depth+1, nil)
		case name == steps[0]:
			return w.value(member(at, name), depth+1, steps[1:])
		}
		w.r.Skip()
		return nil
	})
	if err == nil && n == 0 && len(steps) == 0 {
		return w.a.put(leaf{place: member(at, ""), kind: null, text: "{}"})
	}
	return err
}

func (w walker) array(at uint64, depth int, steps []string) error {
	only, n := -1, 0
	if len(steps) > 0 {
		if p, ok := place(steps[0]); ok {
			only, steps = p, steps[1:]
		}
	}
	err := w.r.Each(func() error {
		n++
		if only >= 0 && only != n-1 {
			w.r.Skip()
			return nil
		}
		return w.value(element(at, n-1), depth+1, steps)
	})
	if err == nil && n == 0 && only < 0 && len(steps) == 0 {
		return w.a.put(leaf{place: element(at, 0), kind: null, text: "[]"})
	}
	return err
}

// numeral reads a number. Of a whole number that no float64 may hold, which may be
// somebody's name, and of one out of range, what was written is kept as well.
func numeral(at uint64, text []byte) leaf {
	l := leaf{place: at, kind: number, exact: true}
	var err error
	s := string(text)
	l.num, err = strconv.ParseFloat(s, 64)
	if err != nil || len(text) > 15 && !bytes.ContainsAny(text, ".eE") {
		l.exact, l.text = false, s
	}
	return l
}
