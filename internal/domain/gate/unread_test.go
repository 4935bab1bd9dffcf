package gate_test

import (
	"slices"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/gate"
)

func TestWhatWasNotComparedIsSaidWithTheReason(t *testing.T) {
	all, err := gate.Read(map[string]string{gate.TagPrefix + "disagreement": "action=rollback tolerance=0.01 " +
		"mirror=1 sideeffects=none output=json:label output=csv:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := gate.Find(all, gate.Disagreement)
	var f gate.Fact
	if got := g.Unread(f); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	f.Seen.Unread = gate.Unread{Blank: 1200, Long: 1, Loose: 3}
	want := []string{
		"In 1,200 pairs of answers nothing was compared: neither has json:label or csv:0.",
		"In 1 pair of answers nothing was compared: one is longer than 1 MiB.",
		"In 3 pairs of answers nothing was compared: they are texts, or could not be read, and that such answers are not " +
			"equal undoes no deployment; output= can name a part.",
	}
	if got := g.Unread(f); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsLeftOfPairsProvesNothingIfTooManyAreMissing(t *testing.T) {
	for want, s := range map[float64]gate.Seen{
		0:    {New: gate.Tally{Requests: 10}},
		0.5:  {New: gate.Tally{Requests: 10}, Unread: gate.Unread{Blank: 4, Long: 3, Loose: 3}},
		0.25: {New: gate.Tally{Requests: 3}, Unseen: 0.25},
		0.4:  {New: gate.Tally{Requests: 3}, Unseen: 0.25, Unread: gate.Unread{Loose: 1}},
		1:    {Unread: gate.Unread{Blank: 4}},
	} {
		if got := s.Uncompared(); got != want {
			t.Errorf("%+v: %v, want %v", s, got, want)
		}
	}
	if got := (gate.Seen{Unseen: 1}).Uncompared(); got != 1 {
		t.Errorf("of copies that were all left out %v are missing", got)
	}
}

func TestThatOnlySizesAreComparedIsSaid(t *testing.T) {
	all, err := gate.Read(map[string]string{gate.TagPrefix + "drift": "output=json:a output=json:b output=bytes"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := gate.Find(all, gate.Drift)
	f := gate.Fact{Seen: gate.Seen{Sized: 0b110}}
	want := []string{
		"Of json:b only the size of the answers is compared: most of the old fleet's have no such part, or are longer than " +
			"64 KiB.",
	}
	if got := g.Unread(f); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
