package capture_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/service/capture"
)

func TestAMissingBucketStopsCapturingUntilItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		lost := *both
		lost.Destination = "s3://lost/p"
		w.routed("live", &lost)
		stopped := func() string { return w.service.Stopped(t.Context(), &lost) }
		if got := stopped(); got != "there is no bucket lost" {
			t.Errorf("before any request: %q", got)
		}
		for range 30 {
			r := record("", "")
			r.Capture = &lost
			w.service.Take(r)
			time.Sleep(time.Second)
		}
		if got := w.log.count("there is no bucket lost"); got != 1 {
			t.Errorf("the log says it %d times", got)
		}
		if got := w.dropped("destination"); got != 30 {
			t.Errorf("%d requests are counted as dropped", got)
		}
		w.wantStopped("for another bucket", "")
		w.wantSpooled("nothing waits for it", 0)

		w.bucket("lost")
		if got := stopped(); got != "" {
			t.Errorf("with the bucket: %q", got)
		}
		r := record("", "")
		r.Capture = &lost
		w.service.Take(r)
		w.stop()
		w.wantCaptured("with the bucket", "lost", 1)
	})
}

func TestABucketThatIsDeletedLosesNothingThatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		w.take(3)
		if err := w.store.DeleteBucket(t.Context(), "kept"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		w.wantStopped("without it", "there is no bucket kept")
		w.wantSpooled("without it", 1)
		w.take(2)
		w.bucket("kept")
		time.Sleep(11 * time.Second)
		w.wantStopped("when it is back", "")
		w.take(1)
		w.stop()
		w.wantCaptured("when it is back", "kept", 4)
		if got := w.dropped("destination"); got != 2 {
			t.Errorf("%d requests are counted as dropped", got)
		}
	})
}

func TestWhatWaitsForAMissingBucketIsGivenUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plantLines("lost", "k", shaped("1")+shaped("2")+shaped("3"))
		old := time.Now().Add(-24*time.Hour + time.Minute)
		if err := os.Chtimes(filepath.Join(w.dir, "x.jsonl"), old, old); err != nil {
			t.Fatal(err)
		}
		w.run()
		time.Sleep(55 * time.Second)
		w.wantSpooled("before a day", 1)
		time.Sleep(30 * time.Second)
		w.wantSpooled("after a day", 0)
		if got := w.dropped("expired"); got != 3 {
			t.Errorf("%d requests are counted as given up", got)
		}
	})
}

// A destination that hangs is not seen by requests: Take returns while nothing at
// all can be put, and what waits is bounded.
func TestASlowDestinationHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *capture.Config) { c.SpoolBytes = 20 << 20 }).run()
		release := make(chan struct{})
		w.set(func() { w.hang = release })
		began := time.Now()
		taken := 0
		for range 50 {
			r := record(strings.Repeat("1", 1<<20), "")
			r.Input.ContentType = "x/y"
			w.service.Take(r)
			taken++
		}
		if taken != 50 || !time.Now().Equal(began) { // the clock stands while nobody waits
			t.Errorf("%d requests in %v", taken, time.Since(began))
		}
		time.Sleep(2 * time.Second)
		for range 10 {
			w.take(1)
		}
		w.wantStopped("while it hangs", "too much waits to be put where it goes")
		if got := w.log.count("no request is captured any more"); got != 1 {
			t.Errorf("the log says it %d times", got)
		}
		if got := w.dropped("stopped"); got == 0 {
			t.Error("nothing is counted as dropped")
		}
		w.set(func() { w.hang = nil })
		close(release)
		time.Sleep(3 * time.Second)
		w.wantStopped("when it goes on", "")
		lost := w.dropped("stopped") + w.dropped("full")
		w.stop()
		w.wantCaptured("when it goes on", "kept", 60-lost)
	})
}

func TestADestinationThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		w.take(2)
		w.set(func() { w.fail = errors.New("no space left on device") })
		time.Sleep(90 * time.Second)
		w.wantStopped("while it fails", "objects cannot be put into the bucket kept")
		w.take(1)
		if got := w.log.count("objects cannot be put"); got != 1 {
			t.Errorf("the log says it %d times", got)
		}
		if w.puts > 10 {
			t.Errorf("it was tried %d times", w.puts)
		}
		w.set(func() { w.fail = nil })
		time.Sleep(15 * time.Second)
		w.wantStopped("afterwards", "")
		w.wantCaptured("afterwards", "kept", 2)
		w.wantSpooled("afterwards", 0)
	})
}

func TestAHungPutIsGivenUpAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		w.take(2)
		w.set(func() { w.hang = make(chan struct{}) })
		time.Sleep(3 * time.Minute)
		w.wantStopped("while it hangs", "objects cannot be put into the bucket kept")
		w.set(func() { w.hang = nil })
		time.Sleep(2 * time.Minute)
		w.wantCaptured("afterwards", "kept", 2)
	})
}

func TestAFullDiskStopsCapturing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		for _, step := range []struct {
			used    float64
			stopped bool
		}{{74.9, false}, {75, true}, {70, true}, {69.9, false}, {74.9, false}, {100, true}} {
			w.set(func() { w.used = step.used })
			time.Sleep(time.Second)
			want := ""
			if step.stopped {
				want = "the disk of the data directory is too full"
			}
			w.wantStopped(fmt.Sprintf("at %.1f %%", step.used), want)
			w.take(1)
		}
		w.set(func() { w.used = 0 })
		time.Sleep(2 * time.Minute)
		w.wantCaptured("in all", "kept", 3)
		if got := w.dropped("stopped"); got != 3 {
			t.Errorf("%d requests are counted as dropped", got)
		}
	})
}

func TestADiskMayBeIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *capture.Config) { c.StopAt, c.ResumeBelow = 100, 100 })
		w.used = 100
		w.run().wantStopped("on a full disk", "")
	})
}

func TestASpoolThatCannotBeWrittenFailsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if err := os.WriteFile(w.dir, nil, 0o600); err != nil { // a file where the directory was to be
			t.Fatal(err)
		}
		w.run()
		w.take(3)
		w.wantStopped("without a spool", "the data directory could not be written")
		if got := w.dropped("disk"); got == 0 {
			t.Error("nothing is counted")
		}
		if err := os.Remove(w.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		w.wantStopped("with one again", "")
		w.take(1)
		w.stop()
		w.wantCaptured("with one again", "kept", 1)
	})
}

func TestWhatWaitsForTheWriterIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		body       string
		least, max int  // of 5,000 that are taken
		copied     bool // nothing of the bodies is kept
	}{
		"by number":      {"1", 4096, 4096, true},
		"by their size":  {strings.Repeat("1", 1<<20), 31, 32, false},
		"by their lines": {strings.Repeat("1", 15<<10), 1300, 1600, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t) // nobody writes
				var released atomic.Int64
				body := []byte(c.body)
				for range 5000 {
					r := record("", "")
					r.Input.Data, r.Input.ContentType = body, "x/y"
					r.Release = func() { released.Add(1) }
					w.service.Take(r)
				}
				kept := 5000 - w.dropped("full")
				holding := kept
				if c.copied {
					holding = 0
				}
				if kept < c.least || kept > c.max || int(released.Load()) != 5000-holding {
					t.Errorf("%d are kept, %d released", kept, released.Load())
				}
				// Another variant has room of its own.
				r := record("1", "")
				r.Variant = "other"
				w.service.Take(r)
				w.run()
				time.Sleep(2 * time.Second)
				if got := released.Load(); got != 5000 {
					t.Errorf("%d are released when they are written", got)
				}
				w.stop()
				w.wantCaptured("in the end", "kept", kept+1)
				if w.log.count("they came faster than they are written") != 1 {
					t.Error("the log does not say it once")
				}
			})
		})
	}
}

func TestAServerThatStopsPutsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		w.service.Take(record("1", "")) // not even written yet
		w.stop()
		w.wantCaptured("after the stop", "kept", 1)
		w.wantSpooled("after the stop", 0)
		r, released := record("2", ""), false
		r.Release = func() { released = true }
		w.service.Take(r)
		if !released {
			t.Error("a request that comes later is kept")
		}
	})
}

func TestAServerThatStopsLeavesToTheNextWhatCannotBePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t).run()
		w.take(2)
		w.set(func() { w.hang = make(chan struct{}) })
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("it took %v", took)
		}
		w.wantSpooled("after the stop", 1)
		w.set(func() { w.hang = nil })
		w.service = w.create()
		w.run()
		w.wantCaptured("after the next start", "kept", 2)
		w.wantSpooled("after the next start", 0)
	})
}

// Whatever byte of a file is the last that a crash left, the next start puts the
// whole lines before it, once, and nothing else: also when the object store was
// about to take the file.
func TestACrashAtAnyByteLeavesNoHalfLine(t *testing.T) {
	lines := []string{shaped("1"), shaped(strings.Repeat("2", 70<<10)), shaped("3")}
	text := strings.Join(lines, "")
	record := `{"size":1,"etag":"\n"}` + "\n\x00\n\x00\nslipobj1\n"
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.apart = rapid.Bool().Draw(rt, "the objects lie on another disk")
			edge := rapid.SampledFrom([]int{0, len(lines[0]), len(text) - len(lines[2]), len(text)})
			near := rapid.Custom(func(t *rapid.T) int {
				return max(0, min(len(text), edge.Draw(t, "edge")+rapid.IntRange(-2, 2).Draw(t, "offset")))
			})
			n := rapid.OneOf(near, rapid.IntRange(0, len(text))).Draw(rt, "length")
			left, want, whole := text[:n], "", 0
			for _, l := range lines {
				if whole += len(l); whole <= n {
					want += l
				}
			}
			if left == want { // a file that was closed
				left += record[:rapid.IntRange(0, len(record)).Draw(rt, "record")]
			}
			w.plantLines("kept", "k", left)
			if rapid.Bool().Draw(rt, "it was put before the crash") && want != "" { // and not removed yet
				w.run()
				w.stop()
				w.plantLines("kept", "k", left)
				w.service = w.create()
			}
			w.run()
			w.stop()
			got := w.objects("kept")
			switch {
			case want == "" && len(got) != 0:
				rt.Fatalf("of %d bytes, %+v", n, got)
			case want != "" && (len(got) != 1 || got[0].key != "k" || got[0].text != want):
				rt.Fatalf("of %d bytes, %d objects", n, len(got))
			}
			if left, err := os.ReadDir(w.dir); err != nil || len(left) != 0 {
				rt.Fatalf("of %d bytes, %v are left, %v", n, left, err)
			}
		})
	})
}

func TestOfTheSpoolOnlyItsOwnFilesAreTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plant("notes.txt", "mine")
		w.plant("alone.jsonl", shaped("1")) // nobody knows where it goes
		w.plant("torn.json", `{"bucket":"ke`)
		w.plant("torn.jsonl", shaped("1"))
		w.plant("empty.json", `{}`)
		w.plant("done.json", `{"bucket":"kept","key":"k"}`) // its lines are where they were to go
		w.run()
		w.stop()
		left, err := filepath.Glob(filepath.Join(w.dir, "*"))
		if err != nil || len(left) != 4 {
			t.Errorf("%q are left, %v", left, err)
		}
		if w.log.count("could not be read") != 1 {
			t.Error("the log does not tell of the torn one")
		}
	})
}

// What an earlier server left counts: it takes room, and is put before anything
// new is taken.
func TestWhatIsLeftCountsAsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *capture.Config) { c.SpoolBytes = 1 << 20 })
		w.plantLines("kept", "k", shaped(strings.Repeat("1", 2<<20)))
		hang := make(chan struct{})
		w.hang = hang
		w.run()
		w.wantStopped("while it waits", "too much waits to be put where it goes")
		w.set(func() { w.hang = nil })
		close(hang)
		time.Sleep(2 * time.Second)
		w.wantStopped("when it was put", "")
	})
}
