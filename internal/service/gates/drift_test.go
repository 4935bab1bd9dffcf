package gates_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// said sends requests, 100 a second, that are answered as f says, until the gate
// fires or the time is over; it returns after how many and how long.
func (y *yard) said(during time.Duration, share float64, media string, f func(green bool) (body string, ok bool)) (
	n int, took time.Duration,
) {
	began := time.Now()
	for range during / (10 * time.Millisecond) {
		s := sample(y.x.Float64() < share, y.x.IntN(4), share)
		if isNew(&s) {
			s.Draw.Fleet = "f-" + string(y.id)
		}
		body, ok := f(isNew(&s))
		s.ModelError, s.Status5XX = !ok, !ok
		y.s.Sample(s)
		y.s.Answered(place, s.Draw, media, body, !ok)
		n++
		time.Sleep(10 * time.Millisecond)
		if y.why(y.id) != "" {
			return n, time.Since(began)
		}
	}
	synctest.Wait()
	return n, time.Since(began)
}

// digit is one of ten, as JSON.
func digit(n int) string { return fmt.Sprintf(`{"predictions":[{"label":"digit-%d","score":0.5}]}`, n) }

// What each fleet answers, and what the gate says of it: nothing, or that.
func TestANewFleetThatAnswersOtherThingsIsTakenBack(t *testing.T) {
	const one = "output=json:predictions.0.label "
	plain := func(f func(y *yard, green bool) string) func(*yard, bool) (string, bool) {
		return func(y *yard, green bool) (string, bool) { return f(y, green), true }
	}
	chat := func(words int, reason string) string {
		return fmt.Sprintf(`{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",`+
			`"content":"%s"},"finish_reason":"%s"}]}`, strings.Repeat("word ", words), reason)
	}
	for name, c := range map[string]struct {
		words, media string
		says         func(y *yard, green bool) (string, bool)
		want         string // in what is said
	}{
		"wrong on one class": {one, "application/json", plain(func(y *yard, green bool) string {
			n := y.x.IntN(10)
			if green && n == 8 {
				n = 3
			}
			return digit(n)
		}), "label "},
		"the same": {one, "application/json", plain(func(y *yard, _ bool) string { return digit(y.x.IntN(10)) }), ""},
		"another mix of requests comes": {one, "application/json", plain(func(y *yard, _ bool) string {
			return digit(min(9, int(time.Now().Unix()/20)%10+y.x.IntN(3)))
		}), ""},
		"the old fleet fails one class": {one, "application/json", func(y *yard, green bool) (string, bool) {
			n := y.x.IntN(5)
			return digit(n), green || n != 0
		}, ""},
		"numbers that are too large": {"output=csv:0 ", "text/csv", plain(func(y *yard, green bool) string {
			x := y.x.NormFloat64()
			if green {
				x += 0.7
			}
			return fmt.Sprint(x, ",1\n")
		}), "a number below p"},
		"not a number": {"", "text/csv", plain(func(y *yard, green bool) string {
			if green && y.x.IntN(8) == 0 {
				return "nan\n"
			}
			return fmt.Sprint(y.x.NormFloat64(), "\n")
		}), "no answer"},
		"texts that are cut off": {"", "application/json", plain(func(y *yard, green bool) string {
			if green && y.x.IntN(4) == 0 {
				return chat(8, "length")
			}
			return chat(5+y.x.IntN(40), "stop")
		}), "ending 1"},
		"texts of two draws": {"", "application/json", plain(func(y *yard, _ bool) string {
			return chat(1+y.x.IntN(60), "stop")
		}), ""},
		"what nobody can read": {"", "application/octet-stream", plain(func(y *yard, green bool) string {
			if green {
				return strings.Repeat("x", 40+y.x.IntN(100))
			}
			return strings.Repeat("x", 1+y.x.IntN(100))
		}), "a size below p"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(y *yard) {
				y.deploy("d-1", map[string]string{"drift": "action=rollback " + c.words})
				y.said(3*time.Second, 0, c.media, func(bool) (string, bool) { return c.says(y, false) })
				y.bake(0.5)
				n, took := y.said(3*time.Minute, 0.5, c.media, func(green bool) (string, bool) {
					return c.says(y, green)
				})
				why := y.why("d-1")
				t.Logf(seed+"%d requests, %s: %s", n, took, why)
				if (why == "") != (c.want == "") || !strings.Contains(why, c.want) || strings.Contains(why, "digit-") {
					t.Errorf(seed+"%q", why)
				}
				if x, _ := y.value("OutputDriftEvidence"); (x > 3) != (c.want != "") {
					t.Errorf(seed+"evidence is %v", x)
				}
			})
		})
	}
}

// A model that is wrong on one class of ten is found within a minute at a hundred
// requests a second, without any copies.
func TestAModelThatIsWrongOnOneClassIsFoundInAMinute(t *testing.T) {
	for _, share := range []float64{0.1, 0.25, 0.5} {
		inBubble(t, func(y *yard) {
			y.deploy("d-1", map[string]string{"drift": "action=rollback output=json:predictions.0.label"})
			y.bake(share)
			n, took := y.said(5*time.Minute, share, "application/json", func(green bool) (string, bool) {
				n := y.x.IntN(10)
				if green && n == 8 {
					n = 3
				}
				return digit(n), true
			})
			t.Logf(seed+"share %v: %d requests, %s: %s", share, n, took, y.why("d-1"))
			if took > time.Minute {
				t.Errorf(seed+"share %v: found after %s", share, took)
			}
		})
	}
}

// A gate that is told to look where nothing is compares sizes, and that is said.
func TestWhereOnlySizesAreComparedTheFactSaysSo(t *testing.T) {
	for output, want := range map[string]uint8{
		"json:predictions.0.label": 0, "json:nowhere": 1, "json:predictions.0.label output=json:nowhere": 2,
	} {
		inBubble(t, func(y *yard) {
			y.deploy("d-1", map[string]string{"drift": "action=rollback output=" + output})
			y.bake(0.5)
			y.said(30*time.Second, 0.5, "application/json", func(bool) (string, bool) {
				return digit(y.x.IntN(10)), true
			})
			facts := y.s.Facts("d-1")
			i := slices.IndexFunc(facts, func(f gate.Fact) bool { return f.Kind == gate.Drift })
			if i < 0 || facts[i].Seen.Sized != want {
				t.Errorf(seed+"%s: %+v, want %b", output, facts, want)
			}
		})
	}
}

// Nobody reads an answer unless a gate asks for it.
func TestNothingIsReadUnlessAGateAsks(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.judged(gate.Latency, "")
		if y.s.Answered(place, sample(true, 0, 0.25).Draw, "text/csv", "1\n", false) {
			t.Error("answers are read")
		}
	})
}

// The answers that containers give callers are read beside that, by a router's hook.
func TestARoutersAnswersAreRead(t *testing.T) {
	y := &yard{t: t, tripped: map[hosting.DeploymentID]string{}}
	defer y.start()()
	r, err := router.New(router.Config{OnSample: y.s.Sample, OnDraw: y.s.Started})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	y.s.Listen(r)
	says := func(fleet string, label func(n int) int) traffic.Fleet {
		n := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			w.Header().Set("Content-Type", "application/json")
			n++ // requests come one after the other
			_, _ = io.WriteString(w, digit(label(n)))
		}))
		t.Cleanup(s.Close)
		at := strings.TrimPrefix(s.URL, "http://")
		return traffic.Fleet{ID: fleet, Instances: []traffic.Instance{{ID: at, Address: at}}}
	}
	old, fresh := says("f-1", func(n int) int { return n % 4 }), says("f-d-1", func(int) int { return 1 })
	route := func(version int64, share float64, reads string) {
		old.Share, old.Role, fresh.Share, fresh.Role = 1-share, traffic.OldFleet, share, traffic.NewFleet
		v := traffic.Variant{Name: "v", Weight: 1, Reads: reads, Fleets: []traffic.Fleet{old, fresh}}
		r.Set(traffic.Route{
			Scope: arn.Scope{Region: key.Region}, Name: key.Name, Version: version, Variants: []traffic.Variant{v},
		})
	}
	send := func(n int) {
		for range n {
			c := &router.Call{Key: key, Arrived: time.Now(), Request: http1.Outgoing{
				Method: "POST", Path: "/invocations", Length: true, Before: time.Now().Add(time.Minute),
			}}
			err := r.Do(c)
			for err == nil {
				_, err = c.Next()
			}
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			c.Finish()
		}
	}
	y.deploy("d-1", map[string]string{"drift": "action=rollback output=json:predictions.0.label"})
	y.bake(0.5)
	route(1, 0.5, "")
	send(1500)
	for range 300 { // ten seconds at most: by then it is weighed every second what was sent
		if route(2, 0.5, "d-1"); y.why("d-1") != "" {
			break
		}
		send(50)
		time.Sleep(50 * time.Millisecond) // as requests come
	}
	if why := y.why("d-1"); !strings.HasPrefix(why, `gate "drift" fired: `) {
		t.Errorf("%q", why)
	}
}
