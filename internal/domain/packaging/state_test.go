package packaging_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/domain/packaging"
)

var t0 = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func TestAJobGoesFromFactToFact(t *testing.T) {
	working := packaging.State{Status: packaging.InProgress, Started: t0, MaxTime: time.Minute}
	stopping, _ := packaging.Stop(working, t0)
	for name, c := range map[string]struct {
		s    packaging.State
		f    packaging.Facts
		want packaging.Status
		due  time.Time
	}{
		"a new job begins": {
			packaging.New(t0, 0),
			packaging.Facts{Now: t0},
			packaging.InProgress, t0,
		},
		"work goes on": {working, packaging.Facts{Now: t0}, packaging.InProgress, t0},
		"work is done": {
			working,
			packaging.Facts{Now: t0, Done: true},
			packaging.Completed,
			time.Time{},
		},
		"work is done in the last moment": {
			working,
			packaging.Facts{Now: t0.Add(time.Hour), Done: true},
			packaging.Completed,
			time.Time{},
		},
		"work failed": {
			working,
			packaging.Facts{Now: t0, Failure: "x"},
			packaging.Failed,
			time.Time{},
		},
		"the time is up": {
			working,
			packaging.Facts{Now: t0.Add(time.Minute)},
			packaging.Failed,
			time.Time{},
		},
		"trouble is tried again": {
			working,
			packaging.Facts{Now: t0, Trouble: "x"},
			packaging.InProgress,
			t0.Add(time.Second),
		},
		"but not after the time is up": {
			working,
			packaging.Facts{Now: t0.Add(59500 * time.Millisecond), Trouble: "x"},
			packaging.InProgress,
			t0.Add(time.Minute),
		},
		"stopping ends, whatever was reached": {
			stopping,
			packaging.Facts{Now: t0, Done: true},
			packaging.Stopped,
			time.Time{},
		},
	} {
		got, due := packaging.Next(c.s, c.f)
		if got.Status != c.want || !due.Equal(c.due) {
			t.Errorf("%s: %s due %s", name, got.Status, due)
		}
		if got.Status.Terminal() == got.Ended.IsZero() {
			t.Errorf("%s: ended %s", name, got.Ended)
		}
	}
}

// Whatever happens, a job ends, stays ended, completes only by work that was
// done, and is stopped only if somebody asked.
func TestEveryJobKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := t0
		s := packaging.New(now, time.Duration(rapid.IntRange(0, 3600).Draw(t, "max"))*time.Second)
		asked, done, troubles := false, false, 0
		for range 30 {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "step")) * time.Second)
			was := s
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				s, _ = packaging.Stop(s, now)
				asked = true
			case 1:
				working := s.Status == packaging.InProgress
				s, _ = packaging.Next(s, packaging.Facts{Now: now, Done: true})
				done = done || working
			case 2:
				s, _ = packaging.Next(s, packaging.Facts{Now: now, Failure: "no"})
			case 3:
				s, _ = packaging.Next(s, packaging.Facts{Now: now, Trouble: "hm"})
				troubles++
			default:
				s, _ = packaging.Next(s, packaging.Facts{Now: now})
			}
			switch {
			case was.Status.Terminal() && s != was:
				t.Fatalf("%+v after %+v", s, was)
			case s.Status == packaging.Completed && !done, s.Status == packaging.Stopped && !asked:
				t.Fatalf("%+v, asked %t, done %t", s, asked, done)
			case s.Status == packaging.Failed && s.Reason == "":
				t.Fatal("no reason")
			case troubles > 40:
				t.Fatal("it never ends")
			}
		}
	})
}

func TestDataInputConfigsAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		`{"data":[1,3,224,224]}`:   `{"data":[1,3,224,224]}`,
		`{'b': [1, 2], 'a': (3,)}`: "",
		`{'b': [1, 2], 'a': [3]}`:  `{"a":[3],"b":[1,2]}`,
		`{"x":{"shape":[1,null]}}`: `{"x":[1,-1]}`,
		`[[1,3],[2]]`:              `{"":[2]}`,
		`{"x":[0]}`:                "",
		`{"x":[1.5]}`:              "",
		`{"x":"1,2"}`:              "",
		`{}`:                       "",
		`hello`:                    "",
		`{"x":[1]} {"y":[1]}`:      "",
		`{"x":[` + strings.Repeat("1,", 20) + `1]}`: "",
	} {
		s, err := packaging.ParseShapes(text)
		switch {
		case (err == nil) != (want != ""):
			t.Errorf("%s: %v, %v", text, s, err)
		case err == nil && packaging.Derive(s) != want:
			t.Errorf("%s: %s", text, packaging.Derive(s))
		}
	}
}

func TestOptionsOfNeoAreLeftAlone(t *testing.T) {
	for text, want := range map[string]string{
		`{"x-optimize":"all"}`: "all", `{'x-optimize': 'basic', 'dtype': 'float16'}`: "basic",
		`{"mtriple": "x"}`: "", `"--verbose 1 -O2"`: "", `--verbose`: "",
		`{"x-optimize":"most"}`: "error", `{"x-optimize":`: "error",
	} {
		got, err := packaging.ParseOptimize(text)
		if want == "error" && err == nil || want != "error" && (err != nil || got != want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

func TestOutputsAreNamedAsSamplesExpect(t *testing.T) {
	for want, c := range map[string]packaging.Compile{
		"s3://b/o/model-rasp4b.tar.gz": {
			Input: "s3://b/in/model.tar.gz", OutputAt: "s3://b/o",
			Target: packaging.Target{Device: "rasp4b"},
		},
		"s3://b/o/m-LINUX_ARM64.tar.gz": {
			Input: "s3://b/m.tar.gz", OutputAt: "s3://b/o/",
			Target: packaging.Target{OS: "LINUX", Arch: "ARM64"},
		},
		"s3://b/m.x-LINUX_X86_64_NVIDIA.tar.gz": {
			Input: "s3://b/m.x.tar.gz", OutputAt: "s3://b",
			Target: packaging.Target{OS: "LINUX", Arch: "X86_64", Accelerator: "NVIDIA"},
		},
	} {
		if got := c.OutputURI(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	p := packaging.Pack{ModelName: "m", ModelVersion: "1 0", OutputAt: "s3://b/p//"}
	if p.OutputURI() != "s3://b/p/m-1 0.tar.gz" || p.Note() == "" {
		t.Error(p.OutputURI(), p.Note())
	}
}

func FuzzParseShapes(f *testing.F) {
	f.Add(`{"a":[1]}`)
	f.Add(`{'a':(1,2)}`)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := packaging.ParseShapes(text); err == nil && len(s) == 0 {
			t.Error("no shapes and no error")
		}
	})
}

func FuzzCheckGolden(f *testing.F) {
	f.Add([]byte(
		`{"cases":[{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[[1]]}],"outputs":[{"name":"y",` +
			`"datatype":"BYTES","shape":[1],"data":["a"]}]}]}`,
	))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = packaging.CheckGolden(b, []packaging.Tensor{{Name: "x", DataType: "FLOAT32", Shape: []int64{-1}}},
			[]packaging.Tensor{{Name: "y", DataType: "STRING", Shape: []int64{1}}})
	})
}
