package modelserver

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// waiting runs one request that holds the only worker, lets others queue behind
// it, and then releases it. It returns the answers of the others by body.
func waiting(t *testing.T, m *lever, bodies ...string) map[string]string {
	t.Helper()
	answers := map[string]string{}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		check := m.before
		m.before = func(in []tensor.Tensor) error {
			if in[0].Float(0) == 1000 {
				<-release
			}
			if check != nil {
				return check(in)
			}
			return nil
		}
		o := Default()
		o.Concurrency, o.MaxBatch, o.BatchFrom = 1, 64, 0
		s, err := New(o, newServer(t, nil, nil).log)
		if err != nil {
			t.Fatal(err)
		}
		attach(s, m)
		var mu sync.Mutex
		var wg sync.WaitGroup
		wg.Go(func() { invokeCSV(t, s, "1000") })
		synctest.Wait()
		m.runs.Store(0)
		for _, body := range bodies {
			wg.Go(func() {
				rec := invokeCSV(t, s, body)
				mu.Lock()
				defer mu.Unlock()
				answers[body] = strconv.Itoa(rec.Code) + " " + rec.Body.String()
			})
			synctest.Wait() // one after the other, so that their order is known
		}
		close(release)
		wg.Wait()
		if err := s.Detach(); err != nil {
			t.Error(err)
		}
	})
	return answers
}

func want(t *testing.T, answers map[string]string, body, answer string) {
	t.Helper()
	if answers[body] != answer {
		t.Errorf("%q got %q, want %q", body, answers[body], answer)
	}
}

func TestRequestsThatWaitTogetherRunTogether(t *testing.T) {
	m := newLever()
	got := waiting(t, m, "1,2", "3,4\n5,6", "7,8")
	want(t, got, "1,2", "200 2,4\n")
	want(t, got, "3,4\n5,6", "200 6,8\n10,12\n")
	want(t, got, "7,8", "200 14,16\n")
	if n := m.runs.Load(); n != 1 {
		t.Errorf("%d runs", n)
	}
}

func TestOneBadRowDoesNotFailItsNeighbours(t *testing.T) {
	m := newLever()
	m.before = noNegatives
	got := waiting(t, m, "1", "-1", "2")
	want(t, got, "1", "200 2\n")
	want(t, got, "2", "200 4\n")
	want(t, got, "-1", "500 {\"error\":\"the model failed on this input: the model takes no negative numbers\"}\n")
	if n := m.runs.Load(); n != 4 {
		t.Errorf("%d runs, want one together and three alone", n)
	}
}

func TestRowsOfOtherWidthsRunInAnotherBatch(t *testing.T) {
	m := newLever()
	got := waiting(t, m, "1,2", "3", "4", "5,6")
	want(t, got, "1,2", "200 2,4\n")
	want(t, got, "3", "200 6\n")
	want(t, got, "4", "200 8\n")
	want(t, got, "5,6", "200 10,12\n")
	if n := m.runs.Load(); n != 3 {
		t.Errorf("%d runs, want 3: the order of the queue is kept", n)
	}
}

func TestAModelThatMixesRowsIsNotBatchedAgain(t *testing.T) {
	m := newLever()
	m.before = func(in []tensor.Tensor) error {
		if in[0].Float(0) == 1000 {
			m.merge = true // only once it serves: what the load sees is another test's
		}
		return nil
	}
	got := waiting(t, m, "1", "2", "3")
	for body, answer := range map[string]string{"1": "200 2\n", "2": "200 4\n", "3": "200 6\n"} {
		want(t, got, body, answer)
	}
	if n := m.runs.Load(); n != 4 {
		t.Errorf("%d runs, want one together and three alone", n)
	}
}

func TestShortRunsAreNotBatched(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration // each run
		runs  int64         // of three requests that wait
	}{
		"shorter than pays": {99 * time.Microsecond, 3},
		"long enough":       {100 * time.Microsecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newLever()
				m.before = func([]tensor.Tensor) error { time.Sleep(c.takes); return nil }
				r := newRunner(m, 8, Options{Concurrency: 1, BatchFrom: 100 * time.Microsecond})
				row := []tensor.Tensor{{Name: "x", Type: tensor.Float32, Shape: []int64{1, 1}, Data: make([]byte, 4)}}
				if _, err := r.run(t.Context(), row); err != nil { // measured alone
					t.Fatal(err)
				}
				m.runs.Store(-1) // but for the one that the others wait for
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						if _, err := r.run(t.Context(), row); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if n := m.runs.Load(); n != c.runs {
					t.Errorf("%d runs, want %d", n, c.runs)
				}
			})
		})
	}
}

func TestACallerThatLeavesABatchQueueCostsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLever()
		m.before = func([]tensor.Tensor) error { time.Sleep(time.Second); return nil }
		r := newRunner(m, 8, Options{Concurrency: 1})
		row := []tensor.Tensor{{Name: "x", Type: tensor.Float32, Shape: []int64{1, 1}, Data: make([]byte, 4)}}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = r.run(t.Context(), row) })
		synctest.Wait()
		hurried, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := r.run(hurried, row); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wg.Wait()
		if n := m.runs.Load(); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

func TestEveryRequestGetsItsOwnRowsUnderLoad(t *testing.T) {
	m := newLever()
	m.before = noNegatives
	s := newServer(t, m, func(o *Options) { o.MaxBatch, o.BatchFrom = 16, 0 })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				n := 1000*g + i
				body, answer := strconv.Itoa(n), strconv.Itoa(2*n)+"\n"
				if i%20 == 19 {
					body, answer = "-1", ""
				}
				rec := invokeCSV(t, s, body)
				if answer == "" && rec.Code == http.StatusInternalServerError {
					continue
				}
				if rec.Code != http.StatusOK || rec.Body.String() != answer {
					t.Errorf("%s got %d %s", body, rec.Code, rec.Body)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestASlowModelBatchesAsManyRowsAsWereSeenTogether(t *testing.T) {
	for takes, c := range map[time.Duration]struct{ least, most int }{
		time.Millisecond:       {16, 16},
		500 * time.Millisecond: {2, 8},
		time.Minute:            {0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newLever()
			m.before = func(in []tensor.Tensor) error {
				time.Sleep(takes * time.Duration(in[0].Shape[0]))
				return nil
			}
			start := time.Now()
			b := proveBatching(m, Default())
			if b.rows < c.least || b.rows > c.most || b.allowed != (c.most > 0) {
				t.Errorf("%s a row: %+v", takes, b)
			}
			if took := time.Since(start); took > 2*proofTime+8*takes {
				t.Errorf("%s a row: it took %s", takes, took)
			}
		})
	}
}

func TestOnlyModelsWithOneOpenNumberOfRowsAreBatched(t *testing.T) {
	spec := func(dims ...tensor.Dim) tensor.Spec {
		return tensor.Spec{Type: tensor.Float32, Ranked: true, Shape: dims}
	}
	n, m, fixed, open := tensor.Dim{Size: -1, Symbol: "n"}, tensor.Dim{Size: -1, Symbol: "m"}, tensor.Dim{
		Size: 4,
	}, tensor.Dim{Size: -1}
	for name, c := range map[string]struct {
		in, out []tensor.Spec
		want    bool
	}{
		"one symbol":             {[]tensor.Spec{spec(n, fixed)}, []tensor.Spec{spec(n)}, true},
		"no symbol, one input":   {[]tensor.Spec{spec(open)}, []tensor.Spec{spec(open)}, true},
		"no symbol, two inputs":  {[]tensor.Spec{spec(open), spec(open)}, []tensor.Spec{spec(open)}, false},
		"lists of maps":          {[]tensor.Spec{spec(n)}, []tensor.Spec{{Maps: true}}, true},
		"rows as long as many":   {[]tensor.Spec{spec(n, n)}, []tensor.Spec{spec(n)}, false},
		"another symbol":         {[]tensor.Spec{spec(n), spec(m)}, []tensor.Spec{spec(n)}, false},
		"a fixed batch":          {[]tensor.Spec{spec(fixed)}, []tensor.Spec{spec(fixed)}, false},
		"an output without rows": {[]tensor.Spec{spec(n)}, []tensor.Spec{spec()}, false},
		"an unknown shape":       {[]tensor.Spec{{Type: tensor.Float32}}, []tensor.Spec{spec(n)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := oneNumberOfRows(&tensor.Signature{Inputs: c.in, Outputs: c.out}); (got == "") != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
