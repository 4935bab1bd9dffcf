package rollout_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

var update = flag.Bool("update", false, "rewrite docs/states/rollout.md")

// edge is a transition of one kind of deployment.
type edge struct {
	kind     rollout.Kind
	from, to rollout.Phase
}

// causes says why a deployment takes an edge.
var causes = map[[2]rollout.Phase]string{
	{"", rollout.Launching}:                     "",
	{"", rollout.Committed}:                     "",
	{rollout.Launching, rollout.Shifting}:       "all ready, no alarm",
	{rollout.Launching, rollout.Committed}:      "all ready",
	{rollout.Shifting, rollout.Baking}:          "",
	{rollout.Shifting, rollout.Shifting}:        "no wait, next step",
	{rollout.Shifting, rollout.Retiring}:        "no wait, rolling",
	{rollout.Shifting, rollout.Committed}:       "no wait, last step",
	{rollout.Shifting, rollout.Succeeded}:       "created",
	{rollout.Baking, rollout.Shifting}:          "baked, next step",
	{rollout.Baking, rollout.Retiring}:          "baked, rolling",
	{rollout.Baking, rollout.Committed}:         "baked, last step",
	{rollout.Retiring, rollout.Launching}:       "old batch gone, next batch",
	{rollout.Committed, rollout.Succeeded}:      "nothing left over",
	{rollout.Launching, rollout.Failed}:         "failure, timeout",
	{rollout.Shifting, rollout.Failed}:          "failure, timeout",
	{rollout.Launching, rollout.Withdrawing}:    "verdict, no traffic to move",
	{rollout.Launching, rollout.Returning}:      "verdict",
	{rollout.Launching, rollout.Restoring}:      "verdict, old instances missing",
	{rollout.Shifting, rollout.Returning}:       "verdict",
	{rollout.Shifting, rollout.Restoring}:       "verdict, no old instance ready",
	{rollout.Baking, rollout.Returning}:         "verdict",
	{rollout.Baking, rollout.Restoring}:         "verdict, no old instance ready",
	{rollout.Shifting, rollout.Withdrawing}:     "verdict before any traffic moved",
	{rollout.Baking, rollout.Withdrawing}:       "verdict before any traffic moved",
	{rollout.Retiring, rollout.Withdrawing}:     "verdict, in batches",
	{rollout.Retiring, rollout.Returning}:       "verdict",
	{rollout.Retiring, rollout.Restoring}:       "verdict, old instances missing",
	{rollout.Returning, rollout.Restoring}:      "old instances missing or not ready",
	{rollout.Returning, rollout.Withdrawing}:    "",
	{rollout.Restoring, rollout.Returning}:      "old instances ready",
	{rollout.Restoring, rollout.RollbackFailed}: "they cannot get ready, rolling",
	{rollout.Restoring, rollout.Failed}:         "they cannot get ready, blue/green",
	{rollout.Withdrawing, rollout.Restoring}:    "old instances missing, next batch",
	{rollout.Withdrawing, rollout.RolledBack}:   "new instances gone",
}

// The diagram shows every transition that thousands of deployments took, and
// no other: it is written by -update and must not be stale.
func TestTheStateDiagramShowsTheTransitionsThatHappen(t *testing.T) {
	seen := observe(t, 30_000)
	unused := maps.Clone(causes)
	for e := range seen {
		delete(unused, [2]rollout.Phase{e.from, e.to})
		if _, ok := causes[[2]rollout.Phase{e.from, e.to}]; !ok {
			t.Errorf("%s: unexpected transition %q → %s", e.kind, e.from, e.to)
		}
	}
	for e := range unused {
		t.Errorf("never seen: %q → %s", e[0], e[1])
	}
	const path = "../../../docs/states/rollout.md"
	want := draw(seen)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/states/rollout.md is stale, rewrite it with -update (-want +got):\n%s", diff)
	}
}

func observe(t *testing.T, deployments uint64) map[edge]bool {
	seen := map[edge]bool{}
	for seed := range deployments {
		w, err := newWorld(rand.New(rand.NewPCG(seed, 3)).IntN)
		if err != nil {
			t.Fatal(err)
		}
		seen[edge{w.plan.Kind, "", w.state.Phase}] = true
		w.check = func(p rollout.Plan, s rollout.State, _ rollout.Facts, n rollout.State, _ time.Time) error {
			if s.Phase != n.Phase || s.Step != n.Step {
				seen[edge{p.Kind, s.Phase, n.Phase}] = true
			}
			return nil
		}
		for range 80 {
			if err := w.wild(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return seen
}

// draw renders one Mermaid diagram for each kind of deployment.
func draw(seen map[edge]bool) string {
	var b strings.Builder
	b.WriteString(`# The states of a deployment

Drawn from the transitions that the tests of ` + "`internal/domain/rollout`" + ` observed; rewrite it with
` + "`go test ./internal/domain/rollout -run StateDiagram -update`" + `.

A *verdict* is a failure of a new instance, an alarm, a gate, the timeout, or an Abort. It is possible until
Committed, and the state that carries it out has moved back already all the traffic that live old instances can carry.

A Pause is not a state: it holds a deployment where it is, until a Resume, a Promote or a verdict. After a Promote
*baked* means that the alarms were read once. Gates may hold a bake until they are proven, or end it once they
are.

A bake is over when it was observed in one piece: after a gap, such as a restart of the server, it starts over.
`)
	edges := slices.SortedFunc(maps.Keys(seen), func(a, b edge) int {
		return strings.Compare(string(a.kind)+" "+order(a.from)+order(a.to), string(b.kind)+" "+
			order(b.from)+order(b.to))
	})
	for _, kind := range []rollout.Kind{rollout.Create, rollout.Update, rollout.Scale, rollout.Delete} {
		fmt.Fprintf(&b, "\n## %s\n\n```mermaid\nstateDiagram-v2\n", kind)
		ends := map[rollout.Phase]bool{}
		for _, e := range edges {
			if e.kind != kind {
				continue
			}
			from := string(e.from)
			if from == "" {
				from = "[*]"
			}
			if why := causes[[2]rollout.Phase{e.from, e.to}]; why != "" {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", from, e.to, why)
			} else {
				fmt.Fprintf(&b, "    %s --> %s\n", from, e.to)
			}
			if e.to.Terminal() {
				ends[e.to] = true
			}
		}
		for _, ph := range slices.Sorted(maps.Keys(ends)) {
			fmt.Fprintf(&b, "    %s --> [*]\n", ph)
		}
		b.WriteString("```\n")
	}
	return b.String()
}

// order sorts phases as a deployment meets them.
func order(ph rollout.Phase) string {
	all := []rollout.Phase{
		"", rollout.Launching, rollout.Shifting, rollout.Baking, rollout.Retiring, rollout.Committed,
		rollout.Returning, rollout.Restoring, rollout.Withdrawing,
		rollout.Succeeded, rollout.RolledBack, rollout.RollbackFailed, rollout.Failed,
	}
	return fmt.Sprintf("%02d", slices.Index(all, ph))
}
