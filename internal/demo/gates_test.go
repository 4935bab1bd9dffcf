package demo

import "testing"

func TestTheNumbersOfAGateAreReadFromItsSentence(t *testing.T) {
	got, ok := read(`Endpoint deployment was rolled back because gate "disagreement" fired: digits-v4 answers 9.5 % of ` +
		`requests differently than digits-v2 (4.3 % to 23 %, 95 %); 2 % was allowed; evidence 1:240,000 after ` +
		`1,131 requests.`)
	if want := (sentence{9.5, 240_000, 1131}); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	got, ok = read(`gate "disagreement" fired: b answers 11 % of requests differently than a; 2 % was allowed; ` +
		`evidence more than 1:1,000,000 after 70 requests.`)
	if want := (sentence{11, 1_000_000, 70}); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, text := range []string{
		"", "Endpoint deployment was rolled back because the following CloudWatch alarm(s) are in ALARM state: [a].",
		`gate "errors" fired: b fails 11 % of requests`,
	} {
		if got, ok := read(text); ok {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestAVersionThatGetsCopiesAloneHasNoPartOfTheTraffic(t *testing.T) {
	tr := newTraffic(nil, [][]float32{{1}}, []int{1})
	for m := range marks {
		tr.markAt(m, float64(m+1))
	}
	tr.play(0, 5.5, by(1, "v2"), nil)
	if !tr.only(copyingV4, "v2") {
		t.Errorf("%+v", tr.rows())
	}
	tr.play(1, 5.6, by(1, "v4"), nil)
	if tr.only(copyingV4, "v2") {
		t.Error("an answer of v4 went unnoticed")
	}
}
