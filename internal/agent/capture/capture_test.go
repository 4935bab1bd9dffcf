package capture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// bucket is a cloud that can be cut off.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string
	order   []string
	offline bool
	fail    error
	hang    bool
}

func (b *bucket) Online() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.offline
}

func (b *bucket) Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hang {
		b.mu.Unlock()
		<-ctx.Done()
		b.mu.Lock()
		return ctx.Err()
	}
	if b.fail != nil {
		return b.fail
	}
	if int64(len(data)) != size {
		return errors.New("size and body disagree")
	}
	if b.objects == nil {
		b.objects = map[string]string{}
	}
	b.objects[key] = string(data)
	b.order = append(b.order, key)
	return nil
}

func (b *bucket) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func config(t *testing.T) capture.Config {
	c := capture.Default()
	c.Fleet, c.Device, c.Bucket, c.Prefix, c.DiskPath = "turbines", "dev-1", "my-sagemaker", "sme-capture", t.TempDir()
	return c
}

// start runs a pipeline until the test ends or stop is called.
func start(t *testing.T, c capture.Config, b *bucket) (p *capture.Pipeline, stop func()) {
	t.Helper()
	p, err := capture.New(c, b, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return p, stop
}

func event(id string) capture.Request {
	return capture.Request{
		ModelName: "digits", ModelVersion: "1.0", ID: id, Time: time.Now(),
		Inputs: []tensor.Tensor{{Type: tensor.Float32, Shape: []int64{1, 2}, Data: make([]byte, 8)}},
	}
}

func large(id string) capture.Request {
	r := event(id)
	r.Outputs = []tensor.Tensor{
		{Name: "probabilities", Type: tensor.Uint8, Shape: []int64{4000}, Data: make([]byte, 4000)},
	}
	return r
}

func captured(t *testing.T, p *capture.Pipeline, r capture.Request) {
	t.Helper()
	if err := p.Capture(t.Context(), r); err != nil {
		t.Fatalf("capture %s: %v", r.ID, err)
	}
}

// files returns what lies below dir, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		found[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func statusIs(t *testing.T, p *capture.Pipeline, id string, want capture.Status) {
	t.Helper()
	if got := p.Status(id); got != want {
		t.Errorf("status of %s is %s, want %s", id, got, want)
	}
}

func TestAnEventLooksAsItsConsumersExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight on 2000-01-01
		c := config(t)
		p, _ := start(t, c, nil)
		time.Sleep(90 * time.Minute)
		r := large("capture946684800")
		r.AuxInputs = []capture.Auxiliary{
			{Name: "jpg", Encoding: capture.None, Data: []byte{0xff, 0xd8}},
			{Name: "json", Encoding: capture.JSON, Data: []byte(`{"a":"<1>"}`)},
		}
		r.AuxOutputs = []capture.Auxiliary{{Encoding: capture.CSV, Data: []byte("1,2")}}
		captured(t, p, r)
		statusIs(t, p, r.ID, capture.InProgress)
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		statusIs(t, p, r.ID, capture.Success)

		const folder = "sme-capture/turbines/digits/2000/01/01/01/"
		got := files(t, c.DiskPath)
		if len(got) != 2 || len(got[folder+"dev-1-capture946684800-Output-1.bin"]) != 4000 {
			t.Fatalf("the disk has %v", got)
		}
		for name, body := range got {
			if strings.HasSuffix(name, ".bin") {
				continue
			}
			if !regexp.MustCompile(`^` + folder + `[0-9a-f-]{36}\.jsonl$`).MatchString(name) {
				t.Errorf("the manifest is called %s", name)
			}
			want := `{"deviceFleetAuxiliaryInputs":[` +
				`{"data":"/9g=","encoding":"BASE64","mode":"Input","name":"jpg","observedContentType":"jpg"},` +
				`{"data":"{\"a\":\"<1>\"}","encoding":"JSON","mode":"Input","name":"json",` +
				`"observedContentType":"json"}],` +
				`"deviceFleetAuxiliaryOutputs":[{"data":"1,2","encoding":"CSV","mode":"Output","name":"Output-1",` +
				`"observedContentType":""}],` +
				`"deviceFleetInputs":[{"data":"AAAAAAAAAAA=","encoding":"BASE64","mode":"Input","name":"Input-1",` +
				`"observedContentType":"Tensor[FLOAT32; 1, 2]"}],` +
				`"deviceFleetOutputs":[{"data-ref":"file://` + c.DiskPath + `/` + folder +
				`dev-1-capture946684800-Output-1.bin","encoding":"NONE","mode":"Output","name":"probabilities",` +
				`"observedContentType":"Tensor[UINT8; 4000]"}],` +
				`"eventMetadata":{"deviceFleetName":"turbines","deviceId":"dev-1","eventId":"capture946684800",` +
				`"inferenceTime":"2000-01-01T01:30:00","modelName":"digits","modelVersion":"1.0"},` +
				`"eventVersion":"0"}` + "\n"
			if body != want {
				t.Errorf("got  %s\nwant %s", body, want)
			}
		}
	})
}

func TestEveryArrayIsThereThoughEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		p, stop := start(t, c, nil)
		captured(t, p, capture.Request{ModelName: "m", ID: "a"})
		stop()
		for _, body := range files(t, c.DiskPath) {
			var m map[string]any
			if err := json.Unmarshal([]byte(body), &m); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{
				"deviceFleetInputs", "deviceFleetOutputs", "deviceFleetAuxiliaryInputs", "deviceFleetAuxiliaryOutputs",
			} {
				if list, ok := m[key].([]any); !ok || len(list) != 0 {
					t.Errorf("%s is %v", key, m[key])
				}
			}
		}
		statusIs(t, p, "a", capture.Success)
	})
}

func TestABatchIsFlushedWhenItIsFullOrOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		c.BatchSize = 3
		p, _ := start(t, c, nil)
		captured(t, p, event("1"))
		captured(t, p, event("2"))
		time.Sleep(c.PushPeriod - time.Millisecond)
		synctest.Wait()
		statusIs(t, p, "2", capture.InProgress)
		captured(t, p, event("3"))
		synctest.Wait()
		statusIs(t, p, "1", capture.Success)
		statusIs(t, p, "3", capture.Success)
		if got := files(t, c.DiskPath); len(got) != 1 {
			t.Errorf("one batch made %d files", len(got))
		}
		captured(t, p, event("4"))
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		statusIs(t, p, "4", capture.Success)
	})
}

func TestAnEventIsRefusedForItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		c.BufferSize, c.BatchSize, c.BufferBytes = 3, 2, 20_000
		b := &bucket{hang: true}
		c.Destination, c.PutTimeout = capture.ToCloud, time.Hour
		p, _ := start(t, c, b)
		late := event("late")
		late.Time = time.Now().Add(time.Second)
		wrong := event("wrong")
		wrong.Inputs[0].Shape = []int64{3}
		typeless := event("typeless")
		typeless.Inputs[0].Type = 99
		away := event("away")
		away.ModelName = "../../etc"
		long := event(strings.Repeat("x", 129))
		strange := event("strange")
		strange.AuxInputs = []capture.Auxiliary{{Encoding: "XML"}}
		fat := event("fat")
		fat.Inputs[0] = tensor.Tensor{Type: tensor.Uint8, Shape: []int64{30_000}, Data: make([]byte, 30_000)}
		for name, c := range map[string]struct {
			r    capture.Request
			want error
		}{
			"a time in the future":         {late, capture.ErrFuture},
			"a shape unlike its data":      {wrong, fault.Invalid},
			"a type that is none":          {typeless, fault.Invalid},
			"a model name that climbs":     {away, fault.Invalid},
			"an id that is too long":       {long, fault.Invalid},
			"an id with a slash":           {event("a/b"), fault.Invalid},
			"no id":                        {event(""), fault.Invalid},
			"an unknown encoding":          {strange, fault.Invalid},
			"more bytes than are buffered": {fat, capture.ErrFull},
		} {
			if err := p.Capture(t.Context(), c.r); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		// Two are being uploaded, for ever, and three wait.
		for i := range 5 {
			captured(t, p, event(fmt.Sprint(i)))
			synctest.Wait()
		}
		if err := p.Capture(t.Context(), event("0")); !errors.Is(err, capture.ErrDuplicate) {
			t.Errorf("an id in use: %v", err)
		}
		if err := p.Capture(t.Context(), event("5")); !errors.Is(err, capture.ErrFull) {
			t.Errorf("a full buffer: %v", err)
		}
		if s := p.Stats(); s.Refused != 2 {
			t.Errorf("%d were counted as refused, want 2", s.Refused)
		}
		statusIs(t, p, "5", capture.NotFound)
		b.set(func() { b.offline = true })
		if err := p.Capture(t.Context(), event("6")); !errors.Is(err, capture.ErrOffline) {
			t.Errorf("without a network: %v", err)
		}
	})
}

func TestTheCloudGetsTheFilesBeforeTheManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := config(t), &bucket{}
		c.Destination, c.DiskPath = capture.ToCloud, ""
		p, _ := start(t, c, b)
		captured(t, p, large("a"))
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		statusIs(t, p, "a", capture.Success)
		const folder = "sme-capture/turbines/digits/2000/01/01/00/"
		if len(b.order) != 2 || !strings.HasPrefix(b.order[0], folder+"dev-1-a-Output-1-") ||
			!strings.HasSuffix(b.order[0], ".bin") {
			t.Fatalf("uploaded %v", b.order)
		}
		if line := b.objects[b.order[1]]; !strings.Contains(line, `"data-ref":"s3://my-sagemaker/`+b.order[0]+`"`) {
			t.Errorf("the manifest says %s", line)
		}
		b.set(func() { b.fail = errors.New("no such bucket") })
		captured(t, p, event("b"))
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		statusIs(t, p, "b", capture.Failure)
		if s := p.Stats(); s.Captured != 1 || s.Failed != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestWhatWaitsIsFlushedAtTheEndThoughTheCloudHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := config(t), &bucket{hang: true}
		c.Destination = capture.ToCloud
		p, stop := start(t, c, b)
		for i := range 25 {
			captured(t, p, event(fmt.Sprint(i)))
		}
		began := time.Now()
		stop()
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("the end took %s", took)
		}
		if s := p.Stats(); s.Failed != 25 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestDiskCapturesAreUploadedWhenThereIsANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := config(t), &bucket{offline: true}
		c.Upload = true
		p, _ := start(t, c, b)
		captured(t, p, large("a"))
		captured(t, p, event("b"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := files(t, c.DiskPath); len(got) != 2 || len(b.objects) != 0 {
			t.Fatalf("offline, %d files are on the disk and %d in the cloud", len(got), len(b.objects))
		}
		b.set(func() { b.offline, b.fail = false, errors.New("stalled") })
		time.Sleep(time.Minute)
		b.set(func() { b.fail = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if left := files(t, c.DiskPath); len(left) != 0 {
			t.Errorf("left on the disk: %v", left)
		}
		const folder = "sme-capture/turbines/digits/2000/01/01/00/"
		if len(b.order) != 2 || b.order[0] != folder+"dev-1-a-Output-1.bin" ||
			!strings.Contains(b.objects[b.order[1]], `"data-ref":"s3://my-sagemaker/`+folder+`dev-1-a-Output-1.bin"`) {
			t.Errorf("uploaded %v", b.objects)
		}
		if s := p.Stats(); s.Uploaded != 2 || s.DiskBytes != 0 {
			t.Errorf("counted %+v", s)
		}
		// The folder is gone; it comes back.
		captured(t, p, event("c"))
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		statusIs(t, p, "c", capture.Success)
	})
}

func TestTheOldestMakeRoomWhenTheQuotaIsReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		c.DiskQuota = 6 * 4096 // three events of a manifest and a tensor
		p, _ := start(t, c, nil)
		for i := range 8 {
			captured(t, p, large(fmt.Sprint(i)))
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		var kept []string
		for name := range files(t, c.DiskPath) {
			if strings.HasSuffix(name, ".bin") {
				kept = append(kept, strings.TrimPrefix(filepath.Base(name), "dev-1-")[:1])
			}
		}
		slices.Sort(kept)
		if s := p.Stats(); strings.Join(kept, "") != "567" || s.Deleted != 5 || s.DiskBytes != c.DiskQuota {
			t.Errorf("kept %v, counted %+v", kept, s)
		}
		if entries, err := os.ReadDir(filepath.Join(c.DiskPath,
			"sme-capture/turbines/digits/2000/01/01")); err != nil || len(entries) != 3 {
			t.Errorf("the folders are %v, %v", entries, err)
		}
	})
}

func TestWhatAPowerCutLeftIsClearedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		p, stop := start(t, c, nil)
		captured(t, p, large("whole"))
		stop()
		folder := filepath.Join(c.DiskPath, "sme-capture/turbines/digits/2000/01/01")
		orphan := filepath.Join(folder, "07", "lost-Input-1.bin")
		if err := os.MkdirAll(filepath.Dir(orphan), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{orphan, filepath.Join(folder, "00", ".tmp-1")} {
			if err := os.WriteFile(name, make([]byte, 10), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, _ = start(t, c, nil)
		if got := files(t, c.DiskPath); len(got) != 2 || p.Stats().DiskBytes != 2*4096 {
			t.Errorf("left: %v, counted %+v", got, p.Stats())
		}
		statusIs(t, p, "whole", capture.NotFound)
		// The forgotten id comes again: its tensors must not replace the old ones.
		captured(t, p, large("whole"))
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		if got := files(t, c.DiskPath); len(got) != 4 {
			t.Errorf("two events made %d files", len(got))
		}
	})
}

func TestOnlySoManyStatusesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		c.Statuses = 40
		p, _ := start(t, c, nil)
		for i := range 100 {
			captured(t, p, event(fmt.Sprint(i)))
			time.Sleep(time.Second)
		}
		time.Sleep(c.PushPeriod)
		synctest.Wait()
		statusIs(t, p, "59", capture.NotFound)
		statusIs(t, p, "60", capture.Success)
		statusIs(t, p, "99", capture.Success)
		captured(t, p, event("0"))
	})
}

func TestEveryFaultOfAConfigurationIsReported(t *testing.T) {
	c := capture.Config{
		Destination: "Tape", Prefix: "../up", Upload: true, EmbedLimit: 3073, BatchSize: 30, BufferSize: 30,
	}
	err := c.Validate()
	for _, want := range []string{
		"Disk or Cloud", "fleet", "device", "bucket", "prefix", "smaller than the capture buffer", "embed limit",
		"period", "quota", "statuses",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %q: %v", want, err)
		}
	}
	if c := config(t); c.Validate() != nil {
		t.Errorf("the default: %v", c.Validate())
	}
}
