package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/openload"
)

// finished plays a request that was sent at a second of the demo, and answered
// 10 ms later.
func (t *traffic) play(seq int, begin time.Time, second float64, a answer, err error) {
	at := begin.Add(time.Duration(second * float64(time.Second)))
	r := openload.Result{Seq: seq, Intended: at, Started: at, Ended: at.Add(10 * time.Millisecond), Err: err}
	t.sent.Add(1)
	if err != nil {
		r.Class = openload.Failed
	} else {
		t.answers[seq] = a
	}
	t.count(r)
}

func TestEveryRequestIsCountedInItsPhase(t *testing.T) {
	begin := time.Now()
	tr := newTraffic(nil, [][]float32{{1}, {2}, {3}}, []int{1, 2, 3})
	tr.play(0, begin, 1, answer{1, "v1"}, nil)
	tr.play(1, begin, 2, answer{9, "v1"}, nil)
	tr.at[updateBegan].Store(new(begin.Add(3 * time.Second)))
	tr.play(2, begin, 2.995, answer{3, "v1"}, nil) // under way when the update began
	tr.play(3, begin, 4, answer{1, "v2"}, nil)
	tr.play(4, begin, 4.5, answer{}, errors.New("lost"))
	tr.at[updateEnded].Store(new(begin.Add(5 * time.Second)))
	tr.play(5, begin, 4.999, answer{3, "v1"}, nil) // sent before it ended
	tr.play(6, begin, 6, answer{1, "v2"}, nil)
	tr.play(7, begin, 7, answer{2, "v2"}, nil)

	if diff := cmp.Diff(sum{sent: 8, ok: 7, failed: 1}, tr.sum(), cmp.AllowUnexported(sum{})); diff != "" {
		t.Error(diff)
	}
	if !tr.only(beforeUpdate, "v1") || !tr.only(afterUpdate, "v2") || !tr.both() {
		t.Errorf("the phases are %+v", tr.rows())
	}
	if tr.accuracy("v1") != 0.75 || tr.accuracy("v2") != 1 {
		t.Errorf("accuracies %v and %v", tr.accuracy("v1"), tr.accuracy("v2"))
	}
	if image, v1, v2, ok := tr.improved(); !ok || image[0] != 2 || v1 != 9 || v2 != 2 {
		t.Errorf("improved: image %v, %d, %d, %v", image, v1, v2, ok)
	}
	if len(tr.answers) != 0 {
		t.Errorf("%d answers were never counted", len(tr.answers))
	}
	// An old version that answers after the update is noticed.
	tr.play(8, begin, 8, answer{3, "v1"}, nil)
	if tr.only(afterUpdate, "v2") {
		t.Error("an answer of v1 after the update went unnoticed")
	}
}

func TestAnAnswerIsReadOrRefused(t *testing.T) {
	if got, err := parseAnswer([]byte(`{"predictions": [{"label": 7, "probabilities": [0.1]}]}`)); got != 7 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	for _, body := range []string{"", "{}", `{"predictions": []}`, `{"predictions": [{}]}`, `{"predictions": [{"label": 1}, {"label": 2}]}`} {
		if _, err := parseAnswer([]byte(body)); err == nil {
			t.Errorf("%q was taken for an answer", body)
		}
	}
}

func TestPlainOutputHasNoEscapesAndOneLinePerFact(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, true)
	s.title("Title")
	s.done("step", "detail", 1500*time.Millisecond)
	s.live(glance{sent: 10, ok: 9, failed: 1, v1: 5, v2: 4, p50: time.Millisecond, p99: 2 * time.Millisecond})
	s.check(true, "held")
	s.check(false, "broke")
	s.close()
	want := `
Title

  ok     step     detail (1.5 s)
  traffic: 10 sent, 9 answered, 1 failed; v1 5, v2 4; p50 1.0 ms, p99 2.0 ms
  ok     held
  FAILED broke

`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheLiveViewShowsSharesAndTrend(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, fancy: true}
	s.live(glance{sent: 10, ok: 8, v1: 3, v2: 1, p99: 4 * time.Millisecond, trend: []time.Duration{0, time.Millisecond, 4 * time.Millisecond}})
	for _, want := range []string{"10", "0 failed", "2 under way", strings.Repeat("█", 30), "▁▂█"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not shown:\n%s", want, out.String())
		}
	}
	if s.drawn == 0 {
		t.Error("the view would not be erased")
	}
}
