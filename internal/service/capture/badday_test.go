package capture_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Bodies of the largest size, more at a time than may be held of them: every request
// is answered, and every line is whole or counted as dropped.
func TestBodiesOfSixMebibytesAreCapturedOrCounted(t *testing.T) {
	rt := newRouted(t, both, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body) // the caller compares
		_, _ = w.Write(body)          // likewise
	})
	rt.begin()
	const requests = 16
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			body := strings.Repeat(string(rune('a'+i)), 6<<20)
			status, text, err := rt.invoke(body, everything, http1.Field{Name: "Content-Type", Value: "text/csv"})
			if err != nil || status != 200 || text != body {
				t.Errorf("%d bytes came, status %d, %v", len(text), status, err)
			}
		})
	}
	wg.Wait()
	got := rt.all()
	lost := 0
	for _, cause := range []string{"full", "stopped", "memory"} {
		lost += rt.dropped(cause)
	}
	if len(got)+lost != requests || len(got) == 0 {
		t.Errorf("of %d requests %d are captured and %d dropped", requests, len(got), lost)
	}
	for input, l := range got {
		out := l.CaptureData["endpointOutput"].Data
		if len(input) != 6<<20 || strings.Trim(input, input[:1]) != "" || len(out) != 8<<20 ||
			l.EventMetadata.Truncated {
			t.Errorf("%d bytes of input and %d letters of output are captured", len(input), len(out))
		}
	}
}

// An update that changes the capture while a request is answered changes nothing for
// that request: its line goes where its fleet's configuration says, at once.
func TestAnUpdateInTheMiddleOfARequestLeavesItsCapture(t *testing.T) {
	elsewhere := *both
	elsewhere.Destination = "s3://kept/elsewhere"
	for name, next := range map[string]*traffic.Capture{"to none": nil, "to another place": &elsewhere} {
		t.Run(name, func(t *testing.T) {
			there, goOn := make(chan struct{}), make(chan struct{})
			rt := newRouted(t, both, func(w http.ResponseWriter, q *http.Request) {
				_, _ = io.Copy(w, q.Body) // the caller compares
				close(there)
				<-goOn
			})
			rt.begin()
			done := make(chan error, 1)
			go func() {
				_, _, err := rt.invoke("1", everything, http1.Field{Name: "Content-Type", Value: "text/csv"})
				done <- err
			}()
			<-there
			rt.routed("live", next)
			rt.serve(next, "127.0.0.1:1")
			close(goOn)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			// Its file is closed within a second or so, as nothing goes to it any more.
			for end := time.Now().Add(time.Minute); len(rt.objects("kept")) == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("its line was not put while the server runs")
				}
			}
			got := rt.objects("kept")
			if len(got) != 1 || !strings.HasPrefix(got[0].key, "some/prefix/live/main/") ||
				len(rt.lines(got[0].text)) != 1 {
				t.Errorf("captured is %+v", got)
			}
		})
	}
}

// Lines are in the order of their times, whoever comes to write them, and however
// they are written.
func TestLinesAreInTheOrderOfTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 50 {
					r := record(strings.Repeat("1", 1+n%2*20_000), "") // small and large
					r.At = time.Time{}
					w.service.Take(r)
					time.Sleep(time.Duration(97+i) * time.Millisecond) // virtual
				}
			})
		}
		wg.Wait()
		w.stop()
		n := 0
		for _, o := range w.objects("kept") {
			last := ""
			for _, l := range w.lines(o.text) {
				if n++; l.EventMetadata.InferenceTime < last {
					t.Fatalf("%s stands behind %s", l.EventMetadata.InferenceTime, last)
				}
				last = l.EventMetadata.InferenceTime
			}
		}
		if n != 400 {
			t.Errorf("%d lines", n)
		}
	})
}
