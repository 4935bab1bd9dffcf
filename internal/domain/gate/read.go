package gate

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/spelling"
)

// take reads words over what g says already, and returns what is wrong with
// them. Who gives outputs gives all of them.
func (g *Gate) take(text string, from Origin) (wrong []string) {
	seen := map[string]bool{}
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		w, known := find(g.Kind, name)
		switch {
		case !known:
			wrong = append(wrong, unknown(g.Kind, name))
			continue
		case seen[name] && name != "output":
			wrong = append(wrong, fmt.Sprintf("says %q twice.", name))
			continue
		case name == "output" && !seen[name]:
			g.Outputs = nil
		}
		if from == FromServer && w.consent {
			wrong = append(wrong, fmt.Sprintf("says %q, which only the tag of an EndpointConfig can say: whether "+
				"copies of requests do harm depends on its model.", name))
			continue
		}
		if seen[name] = true; !w.set(g, value) {
			wrong = append(wrong, fmt.Sprintf("says %q: the value of %q is %s.", field, name, w.takes))
		}
		if g.From == nil {
			g.From = map[string]Origin{}
		}
		g.From[name] = from
	}
	return wrong
}

func find(k Kind, name string) (word, bool) {
	for _, w := range words() {
		if w.name == name && w.of(k) {
			return w, true
		}
	}
	return word{}, false
}

func unknown(k Kind, name string) string {
	var known []string
	for _, w := range words() {
		if w.of(k) {
			known = append(known, w.name)
		}
	}
	meant := ""
	if near := spelling.Nearest(name, known); near != "" {
		meant = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Sprintf("says %q, which is none of its words%s They are %s.", name, orStop(meant), list(known))
}

func orStop(meant string) string {
	if meant == "" {
		return "."
	}
	return meant
}

// The chance of a false alarm that is asked for if nobody says another, of a
// gate that can undo a deployment and of one that reports.
const (
	strict = 0.001
	loose  = 0.01
)

// complete fills in what nobody said.
func (g *Gate) complete() {
	said := func(word string) bool { _, ok := g.From[word]; return ok }
	if !said("action") {
		g.Action = Report
	}
	if g.Action != Early && g.From["action"] == FromTag && g.From["wait"] == FromServer {
		g.Wait = 0 // it belonged to the server's action
		delete(g.From, "wait")
	}
	if !said("alpha") {
		g.Alpha = loose
		if g.Judges() {
			g.Alpha = strict
		}
	}
	if g.Kind.single() && !said("patience") {
		g.Patience = time.Minute
	}
	if g.Kind.Rate() {
		if !said("ratio") {
			g.Ratio = 1.5
		}
		if !said("plus") {
			g.Plus = 0.001
			if g.Kind == InstanceLoss {
				g.Plus = 0.0003 // of seconds: one an hour
			}
		}
		// A tenth of a point takes more requests than most endpoints have.
		if !said("proven") {
			g.Proven = 0.005
		}
	}
	if g.Kind.Times() {
		if !said("factor") {
			g.Factor = 1.10
		}
		if !said("warmup") {
			g.Warmup = time.Minute
		}
	}
	switch {
	case said("tolerance"):
	case g.Kind == Drift:
		g.Tolerance = 0.03
	case g.Kind == Accuracy:
		g.Tolerance = 0.005
	}
	if g.Kind.copies() && !said("failures") {
		g.Failures = 0.05
	}
}

// check refuses what each word allows and all of them together do not.
func (g *Gate) check() string {
	said := func(word string) bool { _, ok := g.From[word]; return ok }
	bytes := false
	for _, o := range g.Outputs {
		bytes = bytes || o.Selector == "bytes"
	}
	switch {
	case g.Action == Early && g.Wait == 0:
		return `says "action=early" and needs wait=: how long a step bakes at the least (such as wait=2m).`
	case g.Action != Early && said("wait"):
		return `says "wait", which has a meaning with "action=early" only.`
	case g.Kind.copies() && !said("tolerance"):
		return `needs tolerance=: which part of the answers may differ, from 0 to 0.5 (such as tolerance=0.01).`
	case g.Kind.copies() && g.Mirror == nil:
		return `needs mirror=: which part of the requests is sent to the new fleet, too, and sideeffects=none: that ` +
			`the model has no effects beside its answer, so that a copy does no harm.`
	case g.Mirror != nil && g.Mirror.Share == 0:
		return `says "first" and needs mirror=: which part of the requests is sent to the new fleet, too.`
	case g.Mirror != nil && !said("sideeffects"):
		return `says "mirror" and needs sideeffects=none: that the model has no effects beside its answer, so that a ` +
			`copy of a request does no harm.`
	case g.Judges() && bytes:
		return `says "output=bytes" and may only report: bytes differ where answers do not.`
	case g.Proves() && (g.Kind == Any || g.Kind == InstanceLoss):
		return `may only report or roll back: it cannot be proven.`
	case g.Proves() && g.Kind.Times() && g.Factor == 1:
		return `says "factor=1": a proof needs room (such as factor=1.1).`
	case g.Proves() && g.Kind.answers() && g.Tolerance == 0:
		return `says "tolerance=0": a proof needs room (such as tolerance=0.01).`
	case g.Proves() && g.Kind == Accuracy:
		return `may only report or roll back: its labels come later than a bake can wait.`
	}
	return ""
}
