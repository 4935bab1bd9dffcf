package capture_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/capture"
)

const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`

func TestAFileIsPutUnderTheTimeOfItsFirstLineAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight on 2000-01-01, UTC
		w := newWorld(t).run()
		time.Sleep(12*time.Hour + 32*time.Minute + 18*time.Second + 648*time.Millisecond)
		w.take(1)
		time.Sleep(30 * time.Second)
		w.take(2)
		w.wantCaptured("before a minute is over", "kept", 0)
		w.wantSpooled("before a minute is over", 1)
		time.Sleep(32 * time.Second)
		w.wantCaptured("after a minute", "kept", 3)
		w.wantSpooled("after a minute", 0)
		got := w.objects("kept")
		want := regexp.MustCompile(`^some/prefix/live/main/2000/01/01/12/32-18-648-` + uuid + `\.jsonl$`)
		if len(got) != 1 || !want.MatchString(got[0].key) || got[0].kind != "application/jsonlines" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAPrefixIsOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		for _, destination := range []string{"s3://kept", "s3://kept/", "s3://kept/p", "s3://kept/p/"} {
			r := record("", "")
			r.Capture = &traffic.Capture{Destination: destination, Input: true}
			w.service.Take(r)
		}
		time.Sleep(2 * time.Second) // nothing routes to these
		var got []string
		for _, o := range w.objects("kept") {
			got = append(got, o.key[:strings.Index(o.key, "/main/")])
		}
		if want := []string{"live", "live", "p/live", "p/live"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAFileHoldsTheLinesOfOneHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		time.Sleep(59*time.Minute + 50*time.Second)
		w.take(2)
		time.Sleep(15 * time.Second)
		w.wantCaptured("when the hour is over, without another request", "kept", 2)
		w.take(1)
		// Requests that were over in the last hour may come after the first of the next.
		late := record("late", "")
		late.At = late.At.Add(-time.Minute)
		w.service.Take(late)
		w.take(1)
		w.stop()
		hours := map[string]int{}
		for _, o := range w.objects("kept") {
			hour := strings.Split(o.key, "/")[7]
			for _, l := range w.lines(o.text) {
				hours[hour]++
				if l.EventMetadata.InferenceTime[11:13] != hour {
					t.Errorf("a line of %s is in %s", l.EventMetadata.InferenceTime, o.key)
				}
			}
		}
		if hours["00"] != 3 || hours["01"] != 2 {
			t.Errorf("lines by hour: %v", hours)
		}
	})
}

func TestAFileOfFiveMebibytesIsClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		for range 11 {
			r := record(strings.Repeat("1", 3<<18), "") // a mebibyte in base 64
			r.Input.ContentType = "x/y"
			w.service.Take(r)
		}
		time.Sleep(time.Second)
		w.wantCaptured("in a second", "kept", 10)
		for _, o := range w.objects("kept") {
			if n := len(o.text); n < 5<<20 || n > 6<<20 {
				t.Errorf("an object of %d bytes", n)
			}
		}
	})
}

func TestAVariantThatIsNoLongerCapturedHasItsLastFilePut(t *testing.T) {
	elsewhere := *both
	elsewhere.Destination = "s3://kept/elsewhere"
	for name, change := range map[string]func(w *world){
		"by an update to none":         func(w *world) { w.routed("live", nil) },
		"by an update to another path": func(w *world) { w.routed("live", &elsewhere) },
		"with its endpoint":            func(w *world) { w.set(func() { delete(w.routes, live) }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t).run()
				w.take(3)
				w.routed("live", nil, both) // a canary from it, still captured
				time.Sleep(3 * time.Second)
				w.wantCaptured("while a fleet is captured", "kept", 0)
				change(w)
				time.Sleep(2 * time.Second)
				w.wantCaptured("afterwards", "kept", 3)
			})
		})
	}
}

func TestTwoFleetsOfOneVariantShareItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		half := *both // the configuration of the new fleet
		half.Percent, half.Output = 50, false
		w.routed("live", both, &half)
		for range 3 {
			w.take(1)
			r := record("new", "")
			r.Capture, r.Output = &half, capture.Side{}
			w.service.Take(r)
		}
		w.stop()
		got := w.objects("kept")
		if len(got) != 1 || len(w.lines(got[0].text)) != 6 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestVariantsAndRegionsHaveFilesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		for range 2 {
			for _, variant := range []string{"main", "other"} {
				r := record(variant, "")
				r.Variant = variant
				w.service.Take(r)
			}
			r := record("eu", "")
			r.Key.Region = "eu-west-1"
			w.service.Take(r)
		}
		w.stop()
		got := w.objects("kept")
		for _, o := range got {
			all := w.lines(o.text)
			if len(all) != 2 || all[0].CaptureData["endpointInput"].Data != all[1].CaptureData["endpointInput"].Data {
				t.Errorf("%s holds %+v", o.key, all)
			}
			if variant := all[0].CaptureData["endpointInput"].Data; variant != "eu" &&
				!strings.HasPrefix(o.key, "some/prefix/live/"+variant+"/") {
				t.Errorf("a request of %s is in %s", variant, o.key)
			}
		}
		if len(got) != 3 {
			t.Errorf("%d objects", len(got))
		}
	})
}
