package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/internal/config"
)

// anyDisk has requests captured however full the disk of the tests is.
func anyDisk(c *config.Config) {
	c.Capture.StopAtDiskPercent, c.Capture.ResumeBelowDiskPercent = 100, 100
}

// captureLine is a captured request as those who read it decode it.
type captureLine struct {
	CaptureData struct {
		EndpointInput, EndpointOutput *struct{ ObservedContentType, Mode, Data, Encoding string }
	}
	EventMetadata struct {
		EventID, InferenceID, InferenceTime string
		CustomAttributes                    []string
		Truncated                           bool
	}
	EventVersion string
}

// everything is a DataCaptureConfig of every request, both sides.
func everything(prefix string) *types.DataCaptureConfig {
	return &types.DataCaptureConfig{
		InitialSamplingPercentage: aws.Int32(100), DestinationS3Uri: aws.String("s3://captured/" + prefix),
		CaptureOptions: []types.CaptureOption{{CaptureMode: types.CaptureModeInputAndOutput}},
		CaptureContentTypeHeader: &types.CaptureContentTypeHeader{
			CsvContentTypes: []string{"text/csv"}, JsonContentTypes: []string{"application/json"},
		},
	}
}

// captures makes a configuration of a model that captures; nil: it does not.
func (c *sdk) captures(name, model string, capture *types.DataCaptureConfig) {
	c.t.Helper()
	must(c.sagemaker.CreateEndpointConfig(c.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, DataCaptureConfig: capture,
		ProductionVariants: []types.ProductionVariant{variant("main", model, 2)},
	}))(c.t)
}

// ask invokes "live" with an inference id and attributes, and no retries.
func (c *sdk) ask(id, attributes, body string) error {
	in := &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String("live"), ContentType: aws.String("text/csv"), Body: []byte(body), InferenceId: &id,
	}
	if attributes != "" {
		in.CustomAttributes = &attributes
	}
	_, err := c.once.InvokeEndpoint(c.t.Context(), in)
	return err
}

// askUntil sends requests from four callers until end, which is called when so many
// were answered, has returned; it is told how many were sent by then. It returns
// the ids of those answered before that.
func (c *sdk) askUntil(many int, end func(sent int64)) (ids []string) {
	c.t.Helper()
	var mu sync.Mutex
	var answered []string
	var n atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprint("r", n.Add(1))
				if c.ask(id, "", strings.Repeat("1,", 500)) == nil {
					mu.Lock()
					answered = append(answered, id)
					mu.Unlock()
				}
			}
		})
	}
	eventually(c.t, time.Minute, "requests are answered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		ids = slices.Clone(answered)
		return len(ids) >= many
	})
	end(n.Load())
	close(stop)
	wg.Wait()
	return ids
}

// captured returns the captured requests by their inference id, and the objects
// that they are in. Half a line, or a line twice, fails the test.
func (c *sdk) captured() (lines map[string]captureLine, keys []string) {
	c.t.Helper()
	lines = map[string]captureLine{}
	bucket := aws.String("captured")
	pages := s3.NewListObjectsV2Paginator(c.s3, &s3.ListObjectsV2Input{Bucket: bucket})
	for pages.HasMorePages() {
		page := must(pages.NextPage(c.t.Context()))(c.t)
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
			got := must(c.s3.GetObject(c.t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: o.Key}))(c.t)
			text := string(must(io.ReadAll(got.Body))(c.t))
			if !strings.HasSuffix(text, "\n") {
				c.t.Errorf("%s ends with half a line", *o.Key)
			}
			for one := range strings.Lines(text) {
				var l captureLine
				if err := json.Unmarshal([]byte(one), &l); err != nil {
					c.t.Fatalf("%s: %q: %v", *o.Key, one, err)
				}
				if _, twice := lines[l.EventMetadata.InferenceID]; twice {
					c.t.Errorf("%s is captured twice", l.EventMetadata.InferenceID)
				}
				lines[l.EventMetadata.InferenceID] = l
			}
		}
	}
	return lines, keys
}

func newCapturing(t *testing.T, change ...func(*config.Config)) (*server, *sdk) {
	t.Helper()
	s := startServer(t, append(change, anyDisk)...)
	c := s.sdk()
	must(c.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("captured")}))(t)
	c.deployable("m", 2, nil)
	return s, c
}

// Whatever is captured when the server is killed, its next start puts: whole lines
// only, none twice, and all that had been answered a while before.
func TestCapturedRequestsSurviveAKill(t *testing.T) {
	s, c := newCapturing(t)
	c.captures("kept", "m", everything("deep/down"))
	c.createEndpoint("live", "kept")
	sure := c.askUntil(300, func(sent int64) {
		// Lines are written in the order of the answers: when there are as many as
		// requests had been sent, those that had been answered are among them.
		eventually(t, time.Minute, "what was answered is on the disk", func() bool {
			return s.exposed("slipway_capture_lines_total") >= float64(sent)
		})
		s.kill()
	})
	if files, _ := filepath.Glob(filepath.Join(s.dataDir, "capture", "*.jsonl")); len(files) != 1 {
		t.Errorf("the spool has %q", files)
	}
	s.restart()
	eventually(t, time.Minute, "the spool is empty", func() bool {
		files, err := os.ReadDir(filepath.Join(s.dataDir, "capture"))
		return err == nil && len(files) == 0
	})
	lines, keys := c.captured()
	for _, id := range sure {
		if _, ok := lines[id]; !ok {
			t.Errorf("%s was answered and counted before the kill and is not captured", id)
		}
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, "deep/down/live/main/") || !strings.HasSuffix(k, ".jsonl") {
			t.Errorf("a key is %s", k)
		}
	}

	// A server that stops puts what it has.
	if err := c.ask("before-the-stop", "", "1"); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.restart()
	if lines, _ := c.captured(); lines["before-the-stop"].EventVersion != "0" {
		t.Error("a request before the stop is not captured")
	}
	c.deleteEndpoint("live")
}

// Spec §5.2: what is captured of calls that end in every way.
func TestWhatIsCapturedOfEachOutcome(t *testing.T) {
	s, c := newCapturing(t, func(c *config.Config) { c.Limits.ModelTimeout = config.Duration(time.Second) })
	c.captures("kept", "m", everything("p"))
	c.captures("plain", "m", nil)
	c.createEndpoint("live", "kept")
	d := c.describe("live").DataCaptureConfig
	if d == nil || d.CaptureStatus != types.CaptureStatusStarted || !aws.ToBool(d.EnableCapture) ||
		aws.ToString(d.KmsKeyId) != "" || d.KmsKeyId == nil {
		t.Errorf("DescribeEndpoint shows %+v", d)
	}
	for id, attributes := range map[string]string{
		"plain": "", "echo": "echo=1,custom=x", "refused": "status=400", "failed": "status=500",
		"reset": "reset=1", "slow": "sleep_ms=3000", "big": "bytes=7000000", "broken": "chunks=3,abort_after=2",
	} {
		_ = c.ask(id, attributes, "1,2,é") // what becomes of it is in the bucket
	}
	stream := must(c.once.InvokeEndpointWithResponseStream(
		t.Context(), &sagemakerruntime.InvokeEndpointWithResponseStreamInput{
			EndpointName: aws.String("live"), ContentType: aws.String("text/csv"), Body: []byte("1"),
			CustomAttributes: aws.String("chunks=3,chunk_ms=20"), InferenceId: aws.String("stream"),
		}))(t)
	for range stream.GetStream().Events() { // to its end
	}
	if err := stream.GetStream().Close(); err != nil {
		t.Error(err)
	}
	c.update("plain", nil)
	c.awaitInService("live")
	var lines map[string]captureLine
	eventually(t, time.Minute, "the last file is put", func() bool {
		lines, _ = c.captured()
		return len(lines) == 9
	})
	type side struct{ data, encoding string }
	const model = `{"name":"m"`
	for id, want := range map[string]struct{ in, out side }{
		"plain":   {side{"1,2,é", "CSV"}, side{model, "JSON"}},
		"echo":    {side{"1,2,é", "CSV"}, side{"1,2,é", "CSV"}},
		"refused": {side{"1,2,é", "CSV"}, side{model, "JSON"}},
		"failed":  {side{"1,2,é", "CSV"}, side{model, "JSON"}},
		"reset":   {side{"1,2,é", "CSV"}, side{}},
		"slow":    {side{"1,2,é", "CSV"}, side{}},
		"broken":  {side{"1,2,é", "CSV"}, side{}},
		"big":     {side{"1,2,é", "CSV"}, side{"eHh4", "BASE64"}},
		"stream":  {side{"1", "CSV"}, side{"Y2h1bmsgMApjaHVuayAxCmNodW5rIDIK", "BASE64"}},
	} {
		l, ok := lines[id]
		if !ok {
			t.Errorf("%s is not captured", id)
			continue
		}
		in, out := l.CaptureData.EndpointInput, l.CaptureData.EndpointOutput
		if in == nil || in.Data != want.in.data || in.Encoding != want.in.encoding {
			t.Errorf("%s: the input is %+v", id, in)
		}
		if (out == nil) != (want.out == side{}) ||
			out != nil && (out.Encoding != want.out.encoding || !strings.HasPrefix(out.Data, want.out.data)) {
			t.Errorf("%s: the output is %+v", id, out)
		}
		if (id == "big") != l.EventMetadata.Truncated {
			t.Errorf("%s: truncated is %v", id, l.EventMetadata.Truncated)
		}
	}
	if got := lines["echo"].EventMetadata.CustomAttributes; !slices.Equal(got, []string{"echo=1,custom=x"}) {
		t.Errorf("the attributes are %q", got)
	}
	s.wantNoSecrets("captured")
}

// wantNoSecrets looks for the caller's keys and signatures in all objects.
func (s *server) wantNoSecrets(bucket string) {
	s.t.Helper()
	keys := must(s.awsConfig().Credentials.Retrieve(s.t.Context()))(s.t)
	root := filepath.Join(s.dataDir, "objects", "buckets", bucket)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range []string{keys.AccessKeyID, keys.SecretAccessKey, "Authorization", "AWS4-HMAC"} {
			if strings.Contains(string(text), secret) {
				s.t.Errorf("%s holds %q", path, secret)
			}
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// Two fleets of a canary capture into one variant's files, each what its
// configuration says.
func TestACanaryIsCapturedBesideTheOldFleet(t *testing.T) {
	_, c := newCapturing(t)
	c.deployable("m2", 2, nil)
	c.captures("old", "m", everything("p"))
	inputs := everything("p")
	inputs.CaptureOptions = []types.CaptureOption{{CaptureMode: types.CaptureModeInput}}
	c.captures("new", "m2", inputs)
	c.captures("none", "m2", nil)
	c.createEndpoint("live", "old")
	guarded := guardrail("lever")
	provider{c}.manual("lever")
	guarded.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.WaitIntervalInSeconds = aws.Int32(5)
	c.update("new", guarded)
	both := map[bool]int{}
	n := 0
	eventually(t, time.Minute, "the update is over", func() bool {
		for range 10 {
			n++
			if err := c.ask(fmt.Sprint("r", n), "", "1"); err != nil {
				t.Fatal(err)
			}
		}
		return c.describe("live").EndpointStatus == types.EndpointStatusInService
	})
	c.update("none", nil)
	c.awaitInService("live")
	var lines map[string]captureLine
	eventually(t, time.Minute, "all is captured", func() bool {
		lines, _ = c.captured()
		return len(lines) == n
	})
	for _, l := range lines {
		both[l.CaptureData.EndpointOutput != nil]++
	}
	if both[true] < 10 || both[false] < 10 {
		t.Errorf("of %d requests, %d were captured of the old fleet and %d of the new", n, both[true], both[false])
	}
	if d := c.describe("live").DataCaptureConfig; d != nil {
		t.Errorf("without a capture DescribeEndpoint shows %+v", d)
	}
}

// The SageMaker SDK's way to change a capture, with boto3 (spec §5.5).
func TestBoto3ChangesACapture(t *testing.T) {
	t.Parallel()
	s := startServer(t, anyDisk)
	s.client(python(t), "testdata/py/capture.py", s.modelData("v1"))
	s.stop()
}
