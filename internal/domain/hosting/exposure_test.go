package hosting_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// begun is when the deployments of these tests were accepted.
var begun = t0.Add(time.Hour)

// counts is what a router that was there before the deployment says.
func counts(router string, n int64) []traffic.Reading {
	return []traffic.Reading{{Router: router, Began: t0, Requests: n}}
}

// restarted is what a router says that started n minutes into the deployment.
func restarted(router string, n int, requests int64) traffic.Reading {
	return traffic.Reading{Router: router, Began: begun.Add(time.Duration(n) * time.Minute), Requests: requests}
}

func TestExposureSurvivesACounterThatStartsAgain(t *testing.T) {
	var x hosting.Exposure
	for _, raw := range []int64{100, 105, 105, 109} {
		x = x.Add(counts("first", raw), begun)
	}
	if x.Requests != 9 || x.AtLeast {
		t.Errorf("one counter: %+v", x)
	}
	for _, raw := range []int64{2, 3} {
		x = x.Add([]traffic.Reading{restarted("second", 1, raw)}, begun)
	}
	if x.Requests != 12 || !x.AtLeast {
		t.Errorf("a second one: %+v", x)
	}
}

func TestTwoRoutersThatTakeTurnsAreNotCountedTwice(t *testing.T) {
	x := hosting.Exposure{}.Add(append(counts("a", 7), counts("b", 3)...), begun)
	for range 10 {
		x = x.Add(counts("a", 17), begun)
		x = x.Add(counts("b", 8), begun)
	}
	if x.Requests != 15 {
		t.Errorf("%d requests, want 15", x.Requests)
	}
}

func TestARouterThatCountedBeforeAndIsHeardOfLateIsCountedFromThen(t *testing.T) {
	x := hosting.Exposure{}.Add(counts("a", 0), begun)
	x = x.Add(append(counts("a", 0), counts("b", 1000)...), begun)
	if x.Requests != 0 || !x.AtLeast {
		t.Errorf("what it counted before is of this deployment: %+v", x)
	}
	if x = x.Add(append(counts("a", 0), counts("b", 1005)...), begun); x.Requests != 5 {
		t.Errorf("%d requests, want 5", x.Requests)
	}
}

// router is one that counts, in the property tests.
type router struct {
	says     traffic.Reading
	before   int64 // what it had counted when somebody first looked
	reported int64 // the largest count that it reported
}

// Whatever reports come, of whichever routers, in whatever order and however
// often: the exposure is the sum of what each has reported at most.
func TestExposureIsTheSumOfTheLargestReports(t *testing.T) {
	for seed := range uint64(200) {
		d := rand.New(rand.NewPCG(seed, 1))
		var routers []*router
		var sent []traffic.Reading // every report there ever was, to come again
		start := func(began time.Time, before int64) {
			r := &router{
				traffic.Reading{Router: fmt.Sprint(len(routers)), Began: began, Requests: before},
				before,
				before,
			}
			routers = append(routers, r)
		}
		var x hosting.Exposure
		for i := range 1 + d.IntN(3) {
			start(t0.Add(time.Duration(i)*time.Second), d.Int64N(100))
			sent = append(sent, routers[i].says)
		}
		x = x.Add(sent, begun)
		for range 60 {
			if len(routers) < 20 && d.IntN(6) == 0 { // another one, or one again
				start(begun.Add(time.Duration(len(routers))*time.Second), 0)
			}
			var now []traffic.Reading
			for range d.IntN(4) {
				r := routers[d.IntN(len(routers))]
				r.says.Requests += d.Int64N(10)
				now = append(now, r.says)
			}
			sent = append(sent, now...)
			for range d.IntN(3) {
				now = append(now, sent[d.IntN(len(sent))]) // late, or once more
			}
			d.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
			had := x
			x = stored(t, x.Add(now, begun))
			want := int64(0)
			for _, r := range routers {
				for _, s := range now {
					if s.Router == r.says.Router {
						r.reported = max(r.reported, s.Requests)
					}
				}
				want += r.reported - r.before
			}
			if x.Requests != want || had.AtLeast && !x.AtLeast {
				t.Fatalf("seed %d: %d requests, want %d: %+v after %+v", seed, x.Requests, want, x, now)
			}
			if again := x.Add(now, begun); again.Requests != x.Requests {
				t.Fatalf("seed %d: the same reports again make %d of %d", seed, again.Requests, x.Requests)
			}
		}
	}
}

// Routers that start again and again make room for one another. What they
// counted stays counted, and a report that comes when its router is forgotten
// adds nothing.
func TestForgottenRoutersAreNotCountedAgain(t *testing.T) {
	for seed := range uint64(15) {
		d := rand.New(rand.NewPCG(seed, 2))
		x := hosting.Exposure{}.Add(counts("r", 50), begun)
		var truth int64
		var past []traffic.Reading
		for n := range 200 {
			requests := d.Int64N(20)
			truth += requests
			past = append(past, restarted(fmt.Sprint(n), n+1, requests))
			x = stored(t, x.Add(past[n:], begun))
			if x.Requests != truth || len(x.Routers) > 32 {
				t.Fatalf("seed %d: %d requests of %d, %d routers after %d restarts", seed, x.Requests, truth,
					len(x.Routers), n)
			}
			late := past[d.IntN(n+1)]
			if x = stored(t, x.Add([]traffic.Reading{past[n], late}, begun)); x.Requests != truth {
				t.Fatalf("seed %d: %d requests of %d after a late report %+v", seed, x.Requests, truth, late)
			}
		}
	}
}

// One of many routers that lives long goes on being counted while others come
// and go.
func TestARouterThatStaysIsNotForgotten(t *testing.T) {
	x := hosting.Exposure{}.Add(counts("old", 0), begun)
	for n := range int64(100) {
		x = x.Add(append(counts("old", n+1), restarted(fmt.Sprint(n), int(n)+1, 1)), begun)
	}
	if x.Requests != 200 {
		t.Errorf("%d requests, want 200", x.Requests)
	}
}

func TestAnExposureThatKnewOneCounterIsReadWithItsCount(t *testing.T) {
	for name, tt := range map[string]struct {
		stored string
		want   int64
		least  bool
	}{
		"nobody has counted yet":  {`{"Requests":0,"Raw":0,"Counter":"","Based":false,"AtLeast":false}`, 0, false},
		"a counter that is gone":  {`{"Requests":9,"Raw":109,"Counter":"X","Based":true,"AtLeast":false}`, 13, true},
		"a counter after another": {`{"Requests":9,"Raw":2,"Counter":"Y","Based":true,"AtLeast":true}`, 13, true},
		"as it is written nowadays": {
			`{"Requests":9,"Based":true,"AtLeast":false,"Routers":[{"Router":"new","Began":"` +
				begun.Add(time.Minute).Format(time.RFC3339Nano) + `","Requests":3}]}`, 10, false,
		},
	} {
		var x hosting.Exposure
		if err := json.Unmarshal([]byte(tt.stored), &x); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		x = x.Add([]traffic.Reading{restarted("new", 1, 4)}, begun)
		if x.Requests != tt.want || x.AtLeast != tt.least {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

// stored is x after it went through the database.
func stored(t *testing.T, x hosting.Exposure) (y hosting.Exposure) {
	t.Helper()
	doc, err := json.Marshal(x)
	if err == nil {
		err = json.Unmarshal(doc, &y)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(x, y) {
		t.Fatalf("stored %+v, read %+v", x, y)
	}
	return y
}
