package edge_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

const cam1 = `"DeviceName":"cam-1","DeviceFleetName":"plant"`

func TestADeviceHearsWhatItHasToDo(t *testing.T) {
	w := newWorld(t, nil)
	key := w.device(t, "thing-1")
	status, got, header := w.call(t, key, "GetDeployments", `{`+cam1+`}`)
	want := `{"Deployments":[{"DeploymentName":"d-01hq7m3c9k2v8xw5t4n6p0r1sa","Type":"Model",` +
		`"FailureHandlingPolicy":"ROLLBACK_ON_FAILURE","Definitions":[` +
		`{"ModelHandle":"defects","S3Url":"s3://b/packages/defects-1.1.tar.gz","Checksum":{"Type":"SHA1",` +
		`"Sum":"da39a3ee5e6b4b0d3255bfef95601890afd80709"},"State":"DEPLOY"},` +
		`{"ModelHandle":"old","State":"UNDEPLOY"}]}]}`
	if status != 200 || got != want || header.Get("X-Slipway-Poll-After") != "90" ||
		header.Get("X-Slipway-Heartbeat-After") != "2" {
		t.Errorf("%d %s %v", status, got, header)
	}
	if w.scope.Region != "us-west-2" || w.scope.Account != "123456789012" {
		t.Error(w.scope)
	}
	status, got, header = w.call(
		t, w.device(t, "cam-2"), "GetDeployments", `{"DeviceName":"cam-2","DeviceFleetName":"plant"}`,
	)
	if status != 200 || got != `{"Deployments":[]}` || header["X-Slipway-Poll-After"] != nil {
		t.Errorf("%d %s %v", status, got, header)
	}
}

func TestADeviceHearsWhetherItIsRegistered(t *testing.T) {
	w := newWorld(t, nil)
	for body, want := range map[string]string{
		`{` + cam1 + `}`: `{"DeviceRegistration":"true","CacheTTL":"3600"}`,
		`{"DeviceName":"x","DeviceFleetName":"elsewhere"}`: `{"DeviceRegistration":"false","CacheTTL":"60"}`,
	} {
		if status, got, _ := w.call(t, w.device(t, "thing-1"), "GetDeviceRegistration", body); status != 200 ||
			got != want {
			t.Errorf("%d %s", status, got)
		}
	}
}

func TestADeviceActsForItselfOnly(t *testing.T) {
	w := newWorld(t, nil)
	for _, op := range []string{"GetDeployments", "GetDeviceRegistration", "SendHeartbeat"} {
		body := `{` + cam1 + `,"AgentVersion":"1"}`
		if status, got, _ := w.call(t, w.admin, op, body); status != 200 {
			t.Errorf("an operator: %d %s", status, got)
		}
		for _, thing := range []string{"thing-2", "cam-1", ""} {
			status, got, header := w.call(t, w.device(t, thing), op, body)
			if status != 403 || header.Get("x-amzn-ErrorType") != "AccessDeniedException" ||
				!strings.HasPrefix(got, `{"Message":`) {
				t.Errorf("%s by %q: %d %s", op, thing, status, got)
			}
		}
	}
}

func TestAHeartbeatSaysAllOfADevice(t *testing.T) {
	w := newWorld(t, nil)
	status, got, header := w.call(t, w.device(t, "thing-1"), "SendHeartbeat",
		`{"AgentVersion":"1.20220822.836f3023",`+cam1+`,
		"Models":[{"ModelName":"defects","ModelVersion":"1.0",
			"LatestInference":1700000000.5,"LatestSampleTime":"2023-11-14T22:13:21Z",
			"ModelMetrics":[{"Dimension":"model/defects","MetricName":"Latency","Value":3}]},
			{"ModelName":"a_b","ModelVersion":"1-rc"}],
		"AgentMetrics":[{"Dimension":"device/cam-01","MetricName":"CpuUtilization",
			"Value":12.5,"Timestamp":1700000001}],
		"DeploymentResult":{"DeploymentName":"d-01","DeploymentStatus":"FAIL","DeploymentStatusMessage":"1 of 1",
			"DeploymentStartTime":1699999990,"DeploymentEndTime":1699999999,
			"DeploymentModels":[{"ModelHandle":"defects","ModelName":"x","ModelVersion":"1.1",
				"DesiredState":"DEPLOY","State":"DEPLOY","Status":"FAIL",
				"StatusReason":"checksum mismatch","RollbackFailureReason":"r"}]}}`)
	if status != 200 || got != "" || header.Get("X-Slipway-Poll-After") != "90" ||
		header.Get("X-Slipway-Heartbeat-After") != "2" {
		t.Fatalf("%d %s %v", status, got, header)
	}
	sec := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	want := edge.Heartbeat{
		Fleet: "plant", Device: "cam-1", AgentVersion: "1.20220822.836f3023", HasModels: true,
		Models: []edge.LoadedModel{
			{Name: "defects", Version: "1.0", LatestInference: sec(1700000000500), LatestSample: sec(1700000001000)},
			{Name: "a_b", Version: "1-rc"},
		},
		Metrics: []edge.Metric{
			{Dimension: "device/cam-01", Name: "CpuUtilization", Value: 12.5, At: sec(1700000001000)},
			{Dimension: "model/defects", Name: "Latency", Value: 3},
		},
		Result: &edge.Result{
			Deployment: "d-01", Status: "FAIL", Message: "1 of 1", Start: sec(1699999990000), End: sec(1699999999000),
			Models: []edge.ModelResult{{
				Handle: "defects", Name: "x", Version: "1.1", Desired: "DEPLOY", State: "DEPLOY", Status: "FAIL",
				Reason: "checksum mismatch", RollbackFailure: "r",
			}},
		},
	}
	if diff := cmp.Diff(want, w.last(t)); diff != "" {
		t.Error(diff)
	}
}

func TestMetricsNeverMakeAHeartbeatFail(t *testing.T) {
	w := newWorld(t, nil)
	key := w.device(t, "thing-1")
	good := `{"MetricName":"CpuUtilization","Value":1}`
	for name, tt := range map[string]struct {
		members       string
		kept, dropped int
	}{
		"none":               {``, 0, 0},
		"null":               {`,"AgentMetrics":null`, 0, 0},
		"an empty list":      {`,"AgentMetrics":[]`, 0, 0},
		"no list":            {`,"AgentMetrics":{"a":[1]}`, 0, 1},
		"a word":             {`,"AgentMetrics":"garbage"`, 0, 1},
		"one good among bad": {`,"AgentMetrics":[1,null,"x",[],{},` + good + `]`, 1, 5},
		"a value of the wrong type": {
			`,"AgentMetrics":[{"MetricName":"Name","Value":"12"},{"MetricName":"Name","Value":true}]`, 0, 2,
		},
		"no value": {`,"AgentMetrics":[{"MetricName":"Name"}]`, 0, 1},
		"a value that is no number": {
			`,"AgentMetrics":[{"MetricName":"Name","Value":"NaN"},{"MetricName":"Name","Value":"-Infinity"}]`, 0, 2,
		},
		"a name outside the pattern": {
			`,"AgentMetrics":[{"MetricName":"a b c d","Value":1},{"MetricName":"abc","Value":1}]`, 0, 2,
		},
		"a dimension outside of it": {`,"AgentMetrics":[{"Dimension":"-x","MetricName":"Name","Value":1}]`, 0, 1},
		"a time that is none": {
			`,"AgentMetrics":[{"MetricName":"Name","Value":1,"Timestamp":1e300},{"MetricName":"Name","Value":1,` +
				`"Timestamp":"noon"}]`,
			0, 2,
		},
		"a time in words": {
			`,"AgentMetrics":[{"MetricName":"Name","Value":1,"Timestamp":"2026-11-22T01:00:00+01:00"}]`, 1, 0,
		},
		"metrics of a model": {
			`,"Models":[{"ModelName":"m","ModelMetrics":7},{"ModelMetrics":[` + good + `,3]}]`, 1, 2,
		},
		"more than are taken": {
			`,"AgentMetrics":[` + strings.Repeat(good+`,`, 1200) + good + `]`, 1000, 201,
		},
		"names of models, as they are": {
			`,"Models":[{"ModelName":"` + strings.Repeat("é", 300) + `","ModelVersion":"x/y"}]`, 0, 0,
		},
		"a model that has no name at all": {`,"Models":[{}]`, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			status, got, _ := w.call(t, key, "SendHeartbeat", `{`+cam1+`,"AgentVersion":"1"`+tt.members+`}`)
			if status != 200 || got != "" {
				t.Fatalf("%d %s", status, got)
			}
			if h := w.last(t); len(h.Metrics) != tt.kept || h.Dropped != tt.dropped {
				t.Errorf("%d kept and %d dropped", len(h.Metrics), h.Dropped)
			}
		})
	}
}

func TestAbsentModelsAreNotNoModels(t *testing.T) {
	w := newWorld(t, nil)
	for members, has := range map[string]bool{``: false, `,"Models":null`: false, `,"Models":[]`: true} {
		if status, got, _ := w.call(
			t, w.admin, "SendHeartbeat", `{`+cam1+`,"AgentVersion":"1"`+members+`}`,
		); status != 200 ||
			w.last(t).HasModels != has {
			t.Errorf("%q: %d %s %+v", members, status, got, w.last(t))
		}
	}
}

func TestAHeartbeatThatIsNoneIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	key := w.device(t, "thing-1")
	for name, tt := range map[string]struct {
		body, code, message string
		status              int
	}{
		"nothing": {
			``, "ValidationException",
			"3 validation errors detected: Value null at 'agentVersion' failed to satisfy constraint: Member must " +
				"not be null; Value null at 'deviceName'",
			400,
		},
		"no agent version": {
			`{` + cam1 + `}`, "ValidationException",
			"1 validation error detected: Value null at 'agentVersion' failed to satisfy constraint: Member must not " +
				"be null",
			400,
		},
		"an agent version": {
			`{` + cam1 + `,"AgentVersion":"1-2"}`, "ValidationException",
			"1 validation error detected: Value '1-2' at 'agentVersion' failed to satisfy constraint: Member must " +
				"satisfy regular expression pattern: ^[a-zA-Z0-9\\\\ \\\\_\\\\.]+",
			400,
		},
		"a number for a name": {
			`{"DeviceName":7,"DeviceFleetName":"plant","AgentVersion":"1"}`, "SerializationException",
			"NUMBER_VALUE can not be converted to a String", 400,
		},
		"a word for models": {
			`{` + cam1 + `,"AgentVersion":"1","Models":"x"}`, "SerializationException", "Expected list or null", 400,
		},
		"a null among models": {
			`{` + cam1 + `,"AgentVersion":"1","Models":[null]}`, "SerializationException",
			"Null value found where not expected", 400,
		},
		"a status of its own": {
			`{` + cam1 + `,"AgentVersion":"1","DeploymentResult":{"DeploymentModels":[{"Status":"MAYBE"}]}}`,
			"ValidationException",
			"1 validation error detected: Value 'MAYBE' at 'deploymentResult.deploymentModels.1.member.status' " +
				"failed to satisfy constraint: Member must satisfy enum value set: [SUCCESS, FAIL]",
			400,
		},
		"metrics that break it": {
			`{` + cam1 + `,"AgentVersion":"1","AgentMetrics":[}`, "SerializationException",
			"The request body is not valid JSON", 400,
		},
		"too many models": {
			`{` + cam1 + `,"AgentVersion":"1","Models":[` + strings.Repeat(`{},`, 500) + `{}]}`, "ValidationException",
			"A heartbeat can report at most 500 models, not 501.", 400,
		},
		"too many results": {
			`{` + cam1 + `,"AgentVersion":"1","DeploymentResult":{"DeploymentModels":[` + strings.Repeat(`{},`, 100) +
				`{}]}}`,
			"ValidationException", "A deployment can report at most 100 models, not 101.", 400,
		},
		"too large a body": {
			`{` + cam1 + `,"AgentVersion":"1","x":"` + strings.Repeat("x", 256<<10) + `"}`,
			"RequestEntityTooLargeException", "The request body has more than 262144 bytes.", 413,
		},
		"an unknown device": {
			`{"DeviceName":"cam_9","DeviceFleetName":"plant","AgentVersion":"1"}`, "ValidationException",
			"No device with name cam_9 in device fleet plant", 400,
		},
		"a heartbeat too many": {
			`{` + cam1 + `,"AgentVersion":"busy"}`, "ThrottlingException", "Too many heartbeats.", 429,
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, got, header := w.call(t, key, "SendHeartbeat", tt.body)
			if status != tt.status || header.Get("x-amzn-ErrorType") != tt.code ||
				!strings.HasPrefix(got, `{"Message":"`+tt.message) {
				t.Errorf("%d %s: %s", status, header.Get("x-amzn-ErrorType"), got)
			}
		})
	}
	status, got, header := w.call(
		t, w.admin, "GetDeviceRegistration", `{"DeviceName":"broken","DeviceFleetName":"plant"}`,
	)
	if status != 500 || header.Get("x-amzn-ErrorType") != "InternalServiceException" ||
		got != `{"Message":"internal error"}` {
		t.Error(status, got, header)
	}
}

// Nobody has to sign to be decoded here: the fuzzer is let past the gateway.
func FuzzAHeartbeatIsTakenOrRefusedInGoodOrder(f *testing.F) {
	f.Add([]byte(
		`{"AgentVersion":"1",` + cam1 +
			`,"AgentMetrics":[{"MetricName":"Name","Value":"NaN","Timestamp":1}],"Models":[{"ModelName":"m",` +
			`"ModelMetrics":[[]]}]}`,
	))
	f.Add([]byte(
		`{"AgentVersion":"1",` + cam1 +
			`,"DeploymentResult":{"DeploymentModels":[{"Status":"FAIL"}],"DeploymentEndTime":"2026-11-22T01:00:00Z"}}`,
	))
	w := newWorld(f, slog.New(slog.DiscardHandler))
	h := operator(w)
	f.Fuzz(func(t *testing.T, body []byte) {
		w.beats = nil
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("POST", "/SendHeartbeat", strings.NewReader(string(body))))
		switch {
		case rec.Code == 200 && len(w.beats) != 1, rec.Code != 200 && len(w.beats) != 0:
			t.Fatalf("%d with %d heartbeats", rec.Code, len(w.beats))
		case rec.Code >= 500:
			t.Fatal(rec.Code, rec.Body)
		case rec.Code != 200:
			var e struct{ Message string }
			if json.Unmarshal(rec.Body.Bytes(), &e) != nil || e.Message == "" {
				t.Fatal(rec.Body)
			}
			return
		}
		b := w.beats[0]
		if len(b.Metrics) > 1000 || len(b.Models) > 500 || b.Device == "" || b.Fleet == "" || b.AgentVersion == "" {
			t.Fatalf("%+v", b)
		}
		for _, m := range b.Metrics {
			if m.Name == "" || math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
				t.Fatalf("%+v", m)
			}
		}
		// Whatever the metrics are, without them it is the same heartbeat.
		var doc map[string]json.RawMessage
		if json.Unmarshal(body, &doc) == nil && b.Models == nil {
			delete(doc, "AgentMetrics")
			again, _ := json.Marshal(doc) // it was JSON
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest("POST", "/SendHeartbeat", strings.NewReader(string(again))))
			if rec.Code != 200 {
				t.Fatalf("%d %s without metrics: %s", rec.Code, rec.Body, again)
			}
		}
	})
}

// One signed heartbeat of a device through the gateway and the API.
func BenchmarkHeartbeat(b *testing.B) {
	w := newWorld(b, slog.New(slog.DiscardHandler))
	w.fleets.beats = make([]edge.Heartbeat, 0, 1)
	r := request(b, w.device(
		b, "thing-1",
	), "SendHeartbeat", `{"AgentVersion":"1.0",`+cam1+`,"Models":[{"ModelName":"defects","ModelVersion":"1.0",`+
		`"LatestInference":1700000000.5}],`+
		`"AgentMetrics":[{"Dimension":"device/cam-01","MetricName":"CpuUtilization","Value":12.5,`+
		`"Timestamp":1700000001}]}`)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		again := *r
		again.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, &again)
		if rec.Code != 200 {
			b.Fatal(rec.Code, rec.Body)
		}
		w.fleets.beats = w.fleets.beats[:0]
	}
}
