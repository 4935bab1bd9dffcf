package objects_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// entriesOf is a listing's whole answer by its definition: the keys that begin with
// the prefix and come after a key, each that has the delimiter further on in the
// place of its common prefix. After a common prefix comes nothing that it holds.
func entriesOf(all map[string]bool, l objects.List) (want []string) {
	rollUp := func(k string) string {
		if i := strings.Index(k[len(l.Prefix):], l.Delimiter); l.Delimiter != "" && i >= 0 {
			return k[:len(l.Prefix)+i+len(l.Delimiter)]
		}
		return k
	}
	passed := ""
	if strings.HasPrefix(l.After, l.Prefix) && rollUp(l.After) == l.After && rollUp(l.After+"x") == l.After {
		passed = l.After
	}
	for k := range all {
		if strings.HasPrefix(k, l.Prefix) && k > l.After && (passed == "" || !strings.HasPrefix(k, passed)) {
			want = append(want, rollUp(k))
		}
	}
	slices.Sort(want)
	return slices.Compact(want)
}

// Every run has a store of its own: what an earlier one left would keep a seed
// from failing again.
func TestListingsAreWhatTheirDefinitionSays(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", "/", "-", ".", "//", "é", "\x01", strings.Repeat("k", 40), "z"})
	anyKey := rapid.Map(rapid.SliceOfN(piece, 1, 6), func(p []string) string { return strings.Join(p, "") })
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := open(t, dir)
		defer s.Close()
		all := map[string]bool{}
		some := rapid.SliceOfNDistinct(anyKey, 1, 8, rapid.ID[string]).Draw(rt, "keys")
		for _, k := range some {
			put(t, s, k, "")
			all[k] = true
		}
		for _, k := range some {
			if rapid.IntRange(0, 5).Draw(rt, "delete") == 0 {
				if err := s.Delete(t.Context(), bucket, k, objects.Condition{}); err != nil {
					rt.Fatal(err)
				}
				delete(all, k)
			}
		}
		// Beginnings of keys, which are where listings go on, and anything else.
		beginning := rapid.Custom(func(rt *rapid.T) string {
			k := rapid.SampledFrom(some).Draw(rt, "of")
			return k[:rapid.IntRange(0, len(k)).Draw(rt, "length")]
		})
		l := objects.List{
			Prefix:    rapid.OneOf(rapid.Just(""), beginning, anyKey).Draw(rt, "prefix"),
			Delimiter: rapid.SampledFrom([]string{"", "/", "/", "-", "kk", "//", "é"}).Draw(rt, "delimiter"),
			After:     rapid.OneOf(rapid.Just(""), beginning, anyKey).Draw(rt, "after"),
			Max:       rapid.IntRange(1, 5).Draw(rt, "max"),
		}
		checkPages(rt, s, all, l)
	})
}

// checkPages goes through a listing and compares every page with the definition.
func checkPages(t rapid.TB, s *objects.Store, all map[string]bool, l objects.List) {
	t.Helper()
	whole := entriesOf(all, l)
	for {
		p, err := s.List(context.Background(), bucket, l)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Clone(p.Prefixes)
		for _, o := range p.Objects {
			got = append(got, o.Key)
		}
		slices.Sort(got)
		want := whole[:min(l.Max, len(whole))]
		next := ""
		if whole = whole[len(want):]; len(whole) > 0 {
			next = want[len(want)-1]
		}
		if !slices.Equal(got, want) || p.Next != next {
			t.Fatalf("%+v:\ngot  %q, then %q\nwant %q, then %q", l, got, p.Next, want, next)
		}
		if l.After = p.Next; l.After == "" {
			return
		}
	}
}

func TestAFolderWithItsMarkerIsListedToItsEndWhereverAPageBegins(t *testing.T) {
	s := open(t, t.TempDir())
	all := map[string]bool{"a": true, "d/": true, "d/a": true, "d/b/": true, "d/b/c": true, "d/z": true, "e": true}
	for k := range all {
		put(t, s, k, "")
	}
	for _, prefix := range []string{"", "d", "d/", "d/b", "d/b/"} {
		for _, delimiter := range []string{"", "/", "b/"} {
			for _, after := range []string{"", "a", "d", "d/", "d/a", "d/b", "d/b/", "d/b/c", "d/z", "z"} {
				for most := 1; most < 5; most++ {
					l := objects.List{Prefix: prefix, Delimiter: delimiter, After: after, Max: most}
					t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) { checkPages(t, s, all, l) })
				}
			}
		}
	}
}
