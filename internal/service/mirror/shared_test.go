package mirror_test

import (
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// onlooker remembers where the bodies lie that it was shown when requests ended.
type onlooker struct {
	mu sync.Mutex
	at map[*byte]int
}

func (o *onlooker) Observe(*router.Request) (router.Exchange, int) { return o, 0 }

func (o *onlooker) End(a *router.Answer) {
	held := a.HoldRequest()
	defer held.Release()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at[&held.Bytes()[0]]++
}

// body is of a request that many may hold.
type body struct{ *connlimit.Shared }

func (b body) Share() *connlimit.Shared { return b.Hold() }

// Whoever looks on at a request and at its copy sees one body, in one place.
func TestTheBodyOfACopyIsNotCopiedForThoseWhoLookOn(t *testing.T) {
	w := newWorld(t)
	o := &onlooker{at: map[*byte]int{}}
	w.r.Listen("test", o)
	in := func(name string) traffic.Fleet {
		return traffic.Fleet{
			ID: "f1", Config: "c1", Share: 1, Instances: []traffic.Instance{w.container(answers(name))},
			Capture: &traffic.Capture{Percent: 100, Input: true},
		}
	}
	w.route(traffic.Variant{
		Fleets:  []traffic.Fleet{in("own")},
		Shadows: []traffic.Shadow{{Name: "s", Ratio: 1, Container: "primary", Fleets: []traffic.Fleet{in("shadow")}}},
	})
	text := []byte("question")
	sent := body{connlimit.NewBudget(1<<20).Share(text, len(text), nil)}
	c := &router.Call{Key: key, Arrived: time.Now(), Body: sent, Request: http1.Outgoing{
		Method: "POST", Path: "/invocations", Body: text, Length: true, Before: time.Now().Add(time.Minute),
	}}
	if err := w.r.Do(c); err != nil {
		t.Fatal(err)
	}
	c.Finish()
	w.eventually("both have ended", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		n := 0
		for _, times := range o.at {
			n += times
		}
		return n == 2
	})
	if len(o.at) != 1 || o.at[&text[0]] != 2 {
		t.Errorf("the body of a request and its copy lies in %d places", len(o.at))
	}
}
