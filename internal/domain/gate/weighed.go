package gate

import (
	"fmt"
	"maps"
	"slices"
)

// Unweighed says, as a sentence, why nobody works out what g was told to do; ""
// if somebody does.
func (g Gate) Unweighed() string {
	switch g.Kind {
	case Accuracy:
		return fmt.Sprintf("Gate %q is not supported by this server: no ground truth can be sent yet.", string(g.Kind))
	case InstanceLoss:
		return fmt.Sprintf("Gate %q is not supported by this server: it compares %s.", string(g.Kind), list(compared()))
	case Errors, ServerErrors, ClientErrors, Retries, Abandoned, Latency, FirstChunk, Drift, Disagreement,
		MirrorFailure, Any:
	}
	if g.PublicLabels {
		return fmt.Sprintf("Gate %q says \"labels=public\", which is not supported by this server: labels are told by "+
			"their number.", string(g.Kind))
	}
	if g.Proves() && !g.Kind.Provable() {
		return fmt.Sprintf("Gate %q says \"action=%s\", which is not supported by this server: nothing is proven of "+
			"times and frequencies yet, so such a gate may report or roll back.", string(g.Kind), string(g.Action))
	}
	return ""
}

// Provable reports whether somebody works out proofs of k.
func (k Kind) Provable() bool { return k.Paired() || k.Rate() && k != InstanceLoss }

// compared are the kinds that somebody works out.
func compared() []string {
	var names []string
	for _, k := range []Kind{
		Errors, ServerErrors, ClientErrors, Retries, Abandoned, Latency, FirstChunk, Drift, Disagreement, Any,
	} {
		names = append(names, string(k))
	}
	return names
}

// ServerUnweighed returns what the words of a server's configuration ask for, by
// kind, that nobody works out, each as a sentence.
func ServerUnweighed(server map[string]string) (wrong []string) {
	for _, k := range slices.Sorted(maps.Keys(server)) {
		g := Gate{Kind: Kind(k)}
		if len(g.take(server[k], FromServer)) > 0 || checkKind(k) != "" {
			continue // CheckServer says so
		}
		if why := g.Unweighed(); why != "" {
			wrong = append(wrong, k+": "+why)
		}
	}
	return wrong
}
