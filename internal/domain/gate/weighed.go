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
	case Errors, ServerErrors, ClientErrors, Retries, Abandoned, InstanceLoss, Latency, FirstChunk, Drift, Disagreement,
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
