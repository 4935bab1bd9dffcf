package gate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/spelling"
)

// TagPrefix begins the keys of the tags of an EndpointConfig that set gates; the
// rest of the key is a Kind. Other keys below Reserved are refused there, so that
// one that is misspelt does not set nothing.
const (
	Reserved  = "slipway:"
	TagPrefix = Reserved + "gate:"
)

// maxOutputs is how many parts of an answer a gate may compare.
const maxOutputs = 8

// word is one of a gate's words, written word=value.
type word struct {
	name  string
	of    func(Kind) bool
	takes string // what its value is, for people
	// set takes a value, and reports whether it is one.
	set func(g *Gate, value string) bool
	// value is what g says; "" if it says nothing.
	value func(g Gate) string
	// consent says that the word speaks for a model, so that none but its own
	// configuration can say it.
	consent bool
}

// words are all of them, in the order in which they are listed.
func words() []word {
	every := func(Kind) bool { return true }
	return []word{
		{
			name: "action", of: every, takes: "report, rollback, hold or early",
			set: setAction, value: func(g Gate) string { return string(g.Action) },
		},
		fraction("alpha", every, 1e-9, 0.1, func(g *Gate) *float64 { return &g.Alpha }),
		period(
			"patience", Kind.single, 10*time.Second, 5*time.Minute, func(g *Gate) *time.Duration { return &g.Patience },
		),
		period("wait", Kind.single, time.Second, time.Hour, func(g *Gate) *time.Duration { return &g.Wait }),
		fraction("ratio", Kind.Rate, 1, 100, func(g *Gate) *float64 { return &g.Ratio }),
		fraction("plus", Kind.Rate, 0, 0.5, func(g *Gate) *float64 { return &g.Plus }),
		fraction("proven", Kind.Rate, 0.0001, 0.5, func(g *Gate) *float64 { return &g.Proven }),
		fraction("factor", Kind.Times, 1, 10, func(g *Gate) *float64 { return &g.Factor }),
		period("warmup", Kind.Times, 0, 10*time.Minute, func(g *Gate) *time.Duration { return &g.Warmup }),
		fraction("tolerance", Kind.answers, 0, 0.5, func(g *Gate) *float64 { return &g.Tolerance }),
		{
			name: "output", of: Kind.answers,
			takes: "json:PATH, csv:COLUMN, npy:NAME, raw:TYPE or bytes, each once, with @label, @embedding or " +
				"@NUMBER: how far numbers may differ",
			set: setOutput, value: func(g Gate) string { return joinOutputs(g.Outputs) },
		},
		{
			name: "labels", of: Kind.answers, takes: "public",
			set:   only("public", func(g *Gate) { g.PublicLabels = true }),
			value: func(g Gate) string { return ifSo(g.PublicLabels, "public") },
		},
		fraction("failures", Kind.copies, 0, 0.5, func(g *Gate) *float64 { return &g.Failures }),
		{
			name: "mirror", of: Kind.copies, takes: "a number above 0, at most 1",
			set: setMirror, value: showMirror, consent: true,
		},
		{
			name: "sideeffects", of: Kind.copies, takes: "none",
			set:   only("none", func(*Gate) {}),
			value: func(g Gate) string { return ifSo(g.Mirror != nil, "none") }, consent: true,
		},
		{
			name: "first", of: Kind.copies, takes: "a time from 1s to 24h",
			set: setFirst, value: showFirst, consent: true,
		},
	}
}

// single reports whether k is a gate of its own.
func (k Kind) single() bool { return k != Any }

// answers reports whether k looks at what is answered.
func (k Kind) answers() bool { return k == Drift || k == Disagreement || k == Accuracy }

// copies reports whether k may have requests copied.
func (k Kind) copies() bool { return k == Disagreement }

func fraction(name string, of func(Kind) bool, least, most float64, field func(*Gate) *float64) word {
	return word{
		name: name, of: of, takes: "a number from " + number(least) + " to " + number(most),
		set: func(g *Gate, v string) bool {
			n, ok := parseNumber(v)
			if !ok || n < least || n > most {
				return false
			}
			*field(g) = n
			return true
		},
		value: func(g Gate) string {
			n := *field(&g)
			if n == 0 && least > 0 {
				return ""
			}
			return number(n)
		},
	}
}

func period(name string, of func(Kind) bool, least, most time.Duration, field func(*Gate) *time.Duration) word {
	return word{
		name: name, of: of, takes: "a time from " + short(least) + " to " + short(most),
		set: func(g *Gate, v string) bool { return setTime(field(g), v, least, most) },
		value: func(g Gate) string {
			if d := *field(&g); d > 0 || least == 0 {
				return short(d)
			}
			return ""
		},
	}
}

// only takes one value alone.
func only(value string, set func(*Gate)) func(*Gate, string) bool {
	return func(g *Gate, v string) bool {
		if v == value {
			set(g)
		}
		return v == value
	}
}

func setAction(g *Gate, v string) bool {
	g.Action = Action(v)
	return slices.Contains([]Action{Report, Rollback, Hold, Early}, g.Action)
}

func setTime(to *time.Duration, v string, least, most time.Duration) bool {
	d, err := time.ParseDuration(v)
	if err != nil || d < least || d > most {
		return false
	}
	*to = d
	return true
}

func setMirror(g *Gate, v string) bool {
	n, ok := parseNumber(v)
	if !ok || n <= 0 || n > 1 {
		return false
	}
	g.mirror().Share = n
	return true
}

func setFirst(g *Gate, v string) bool {
	return setTime(&g.mirror().First, v, time.Second, 24*time.Hour)
}

// mirror returns g's own Mirror, a new one if it has none.
func (g *Gate) mirror() *Mirror {
	m := Mirror{}
	if g.Mirror != nil {
		m = *g.Mirror
	}
	g.Mirror = &m
	return g.Mirror
}

func showMirror(g Gate) string {
	if g.Mirror == nil {
		return ""
	}
	return number(g.Mirror.Share)
}

func showFirst(g Gate) string {
	if g.Mirror == nil || g.Mirror.First == 0 {
		return ""
	}
	return short(g.Mirror.First)
}

// setOutput adds a part of the answer.
func setOutput(g *Gate, v string) bool {
	o := Output{Selector: v}
	if at := strings.LastIndexByte(v, '@'); at >= 0 && !slices.Contains(measures, v[at+1:]) {
		n, ok := parseNumber(v[at+1:])
		if !ok || n <= 0 {
			return false
		}
		o = Output{Selector: v[:at], Within: n}
	}
	if !selects(o) || len(g.Outputs) >= maxOutputs || slices.Contains(g.Outputs, o) {
		return false
	}
	g.Outputs = append(slices.Clip(g.Outputs), o)
	return true
}

// measures are the words after an @ that say how a part is compared.
var measures = []string{"label", "number", "embedding"}

// selects reports whether o names a part of an answer.
func selects(o Output) bool {
	what, measure, measured := strings.Cut(o.Selector, "@")
	form, part, named := strings.Cut(what, ":")
	if measured && !slices.Contains(measures, measure) || o.Within > 0 && measured && measure != "number" {
		return false
	}
	switch form {
	case "bytes":
		return !named && !measured && o.Within == 0
	case "json":
		return part != "" && !slices.Contains(strings.Split(part, "."), "") && strings.Count(part, ".") < 64
	case "csv":
		n, err := strconv.ParseUint(part, 10, 20)
		return err == nil && strconv.FormatUint(n, 10) == part
	case "npy":
		return !named || part != ""
	case "raw":
		return part != ""
	}
	return false
}

func joinOutputs(os []Output) string {
	var out []string
	for _, o := range os {
		text := o.Selector
		if o.Within > 0 {
			text += "@" + number(o.Within)
		}
		out = append(out, text)
	}
	return strings.Join(out, " output=")
}

func ifSo(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// parseNumber reads a plain decimal number: not NaN, not infinite, not in hex.
func parseNumber(v string) (float64, bool) {
	if v == "" || strings.Trim(v, "0123456789.e-+") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(v, 64)
	return n, err == nil
}

func number(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }

// short is a duration as people write it: 60s, 5m.
func short(d time.Duration) string {
	text := d.String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

// Stated is one word of a gate, and who gave it.
type Stated struct {
	Word, Value string
	From        Origin
}

// Words returns what g was told, in words that could be given to tell it again.
func (g Gate) Words() (all []Stated) {
	for _, w := range words() {
		if v := w.value(g); w.of(g.Kind) && v != "" {
			from := g.From[w.name]
			if from == "" {
				from = BuiltIn
			}
			all = append(all, Stated{w.name, v, from})
		}
	}
	return all
}

// Origin says who set g: whoever gave one of its words, a tag first.
func (g Gate) Origin() Origin {
	from := BuiltIn
	for _, o := range g.From {
		if o == FromTag || from == BuiltIn {
			from = o
		}
	}
	return from
}

// Read returns the gates that an EndpointConfig with those tags gets, in the
// order of Kinds. server holds the server's own words by kind; a word of a tag
// wins over the server's, word by word. Errors and latency are always among
// them: they report, if nobody says otherwise. Everything that is wrong is told
// at once, as fault.Invalid.
func Read(tags, server map[string]string) ([]Gate, error) {
	var wrong []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if why := checkKey(key); why != "" {
			wrong = append(wrong, fmt.Sprintf("Tag %q %s", key, why))
		}
	}
	var gates []Gate
	for _, k := range Kinds() {
		mine, tagged := tags[TagPrefix+string(k)]
		theirs, served := server[string(k)]
		if !tagged && (!served || k.copies()) && k != Errors && k != Latency {
			continue // nobody asks for it, or not for the copies that it needs
		}
		g := Gate{Kind: k}
		for _, given := range []struct {
			text string
			from Origin
		}{{theirs, FromServer}, {mine, FromTag}} {
			for _, why := range g.take(given.text, given.from) {
				wrong = append(wrong, where(k, given.from)+" "+why)
			}
		}
		g.complete()
		if why := g.check(); why != "" && len(wrong) == 0 {
			wrong = append(wrong, where(k, g.Origin())+" "+why)
		}
		gates = append(gates, g)
		if k.copies() {
			gates = append(gates, g.failures())
		}
	}
	if len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "%s", strings.Join(wrong, " "))
	}
	return gates, nil
}

// failures is the gate of the copies that fail. To be proven, answers have to be
// compared; that copies fail can undo a deployment, no more.
func (g Gate) failures() Gate {
	f := Gate{
		Kind: MirrorFailure, Action: Report, Alpha: g.Alpha, Patience: g.Patience, Tolerance: g.Failures, From: g.From,
	}
	if g.Judges() {
		f.Action = Rollback
	}
	return f
}

func where(k Kind, from Origin) string {
	if from == FromTag {
		return fmt.Sprintf("Tag %q", TagPrefix+string(k))
	}
	return fmt.Sprintf("The server's gate %q", k)
}

// CheckServer returns what is wrong with the words of a server's configuration
// by kind, each as a sentence that begins with the kind.
func CheckServer(server map[string]string) (wrong []string) {
	for _, k := range slices.Sorted(maps.Keys(server)) {
		if why := checkKind(k); why != "" {
			wrong = append(wrong, k+": "+why)
			continue
		}
		g := Gate{Kind: Kind(k)}
		whys := g.take(server[k], FromServer)
		if g.complete(); len(whys) == 0 && !g.Kind.copies() { // those are completed by tags
			if why := g.check(); why != "" {
				whys = []string{why}
			}
		}
		for _, why := range whys {
			wrong = append(wrong, k+": "+why)
		}
	}
	return wrong
}

// checkKey says what is wrong with a tag's key.
func checkKey(key string) string {
	if len(key) < len(Reserved) || !strings.EqualFold(key[:len(Reserved)], Reserved) {
		return ""
	}
	if name, ok := strings.CutPrefix(key, TagPrefix); ok {
		return checkKind(name)
	}
	var known []string
	for _, k := range Kinds() {
		known = append(known, TagPrefix+string(k))
	}
	if meant := spelling.Nearest(key, known); meant != "" {
		return fmt.Sprintf("is not known; did you mean %q?", meant)
	}
	return fmt.Sprintf("is not known: keys that begin with %q set gates; there are %s.", Reserved, list(known))
}

func checkKind(name string) string {
	var known []string
	for _, k := range Kinds() {
		if known = append(known, string(k)); name == string(k) {
			return ""
		}
	}
	if meant := spelling.Nearest(name, known); meant != "" {
		return fmt.Sprintf("names no gate; did you mean %q? There are %s.", meant, list(known))
	}
	return fmt.Sprintf("names no gate: there are %s.", list(known))
}

func list(of []string) string {
	if len(of) < 2 {
		return strings.Join(of, "")
	}
	return strings.Join(of[:len(of)-1], ", ") + " and " + of[len(of)-1]
}
