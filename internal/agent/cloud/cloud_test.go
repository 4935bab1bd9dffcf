package cloud_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/agent/cloud"
	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// dial returns a client of s.
func dial(t *testing.T, s *cloudtest.Server, change ...func(*cloud.Config)) *cloud.Client {
	t.Helper()
	cfg := cloud.Config{
		Credentials: s.Credentials(), Endpoint: s.URL, Objects: s.URL, Region: "us-east-1", Fleet: "plant",
		Device: "cam-01",
		CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, UserAgent: "slipway-agent/test",
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := cloud.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func beat(t *testing.T, c *cloud.Client) {
	t.Helper()
	if _, err := c.Heartbeat(t.Context(), edge.Heartbeat{AgentVersion: "1"}); err != nil {
		t.Fatal(err)
	}
}

func TestADeviceAsksWithItsCertificateAndSignsWhatItSays(t *testing.T) {
	s := cloudtest.New(t)
	s.Answer("X-Slipway-Poll-After", "90")
	s.Answer("X-Slipway-Heartbeat-After", "soon")
	s.Offer(cloudtest.Deploy("d-1", "defects", "models", "a b+c.tar.gz", "da39"))
	c := dial(t, s)
	active, ttl, err := c.Registration(t.Context())
	if err != nil || !active || ttl != time.Hour {
		t.Errorf("registration: %v for %v, %v", active, ttl, err)
	}
	got, hints, err := c.Deployments(t.Context())
	want := []edge.Deployment{{
		Name: "d-1", OnFailure: edge.RollbackOnFailure,
		Definitions: []edge.Definition{
			{Handle: "defects", S3URL: "s3://models/a b+c.tar.gz", SHA1: "da39", State: edge.Deploy},
		},
	}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("deployments: %v\n%s", err, d)
	}
	if want := (edge.Hints{Poll: 90 * time.Second}); hints != want {
		t.Errorf("hints %v, want %v", hints, want)
	}
	if s.Issued() != 1 {
		t.Errorf("%d credentials for two calls", s.Issued())
	}
}

func TestAHeartbeatSaysAllThatTheAgentKnows(t *testing.T) {
	s := cloudtest.New(t)
	var body map[string]any
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/SendHeartbeat" {
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			return true
		}
		return false
	})
	at := time.UnixMilli(1700000000500)
	_, err := dial(t, s).Heartbeat(t.Context(), edge.Heartbeat{
		AgentVersion: "1.2", Device: "another", Fleet: "another",
		Models: []edge.LoadedModel{{Name: "defects", Version: "1.0", LatestInference: at}}, HasModels: true,
		Metrics: []edge.Metric{
			{Dimension: "device/cam-01", Name: "CpuUtilization", Value: 12.5, At: time.Unix(1700000001, 0)},
			{Dimension: "d", Name: "none", Value: math.NaN()},
			{Dimension: "d", Name: "much", Value: math.Inf(1)},
		},
		Result: &edge.Result{
			Deployment: "d-1", Status: "FAIL", Message: "1 of 1 models failed", Start: at, End: at.Add(time.Second),
			Models: []edge.ModelResult{
				{
					Handle: "defects", Name: "defects", Version: "1.1", Desired: "DEPLOY", State: "DEPLOY",
					Status: "FAIL", Reason: "checksum mismatch",
				},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"AgentVersion": "1.2", "DeviceName": "cam-01", "DeviceFleetName": "plant",
		"Models": []any{map[string]any{"ModelName": "defects", "ModelVersion": "1.0", "LatestInference": 1700000000.5}},
		"AgentMetrics": []any{
			map[string]any{
				"Dimension": "device/cam-01", "MetricName": "CpuUtilization", "Value": 12.5, "Timestamp": 1700000001.0,
			},
			map[string]any{"Dimension": "d", "MetricName": "none", "Value": "NaN"},
			map[string]any{"Dimension": "d", "MetricName": "much", "Value": "Infinity"},
		},
		"DeploymentResult": map[string]any{
			"DeploymentName": "d-1", "DeploymentStatus": "FAIL", "DeploymentStatusMessage": "1 of 1 models failed",
			"DeploymentStartTime": 1700000000.5, "DeploymentEndTime": 1700000001.5,
			"DeploymentModels": []any{map[string]any{
				"ModelHandle": "defects", "ModelName": "defects", "ModelVersion": "1.1",
				"DesiredState": "DEPLOY", "State": "DEPLOY", "Status": "FAIL", "StatusReason": "checksum mismatch",
			}},
		},
	}
	if d := cmp.Diff(want, body); d != "" {
		t.Error(d)
	}
}

func TestModelsAreSaidWhenTheyChangeAndNowAndThen(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	said := make(chan string, 1)
	status := http.StatusOK
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/SendHeartbeat" {
			return false
		}
		var beat struct{ Models json.RawMessage }
		_ = json.NewDecoder(r.Body).Decode(&beat)
		w.WriteHeader(status)
		said <- string(beat.Models)
		return true
	})
	one := edge.Heartbeat{
		AgentVersion: "1", HasModels: true, Models: []edge.LoadedModel{{Name: "defects", Version: "1"}},
	}
	none := edge.Heartbeat{AgentVersion: "1", HasModels: true}
	const text = `[{"ModelName":"defects","ModelVersion":"1"}]`
	beat := func(h edge.Heartbeat, want string) {
		t.Helper()
		_, err := c.Heartbeat(t.Context(), h)
		if got := <-said; got != want || (err == nil) != (status == http.StatusOK) {
			t.Errorf("said %q and got %v, want %q", got, err, want)
		}
	}
	beat(edge.Heartbeat{AgentVersion: "1"}, "")
	beat(none, "[]")
	beat(none, "")
	beat(one, text)
	status = http.StatusInternalServerError
	beat(one, "")
	status = http.StatusOK
	beat(one, text)
	for range 11 {
		beat(one, "")
	}
	beat(one, text)
}

func TestCredentialsAreRenewedInTimeAndUsedToTheirEndWhileTheServerIsAway(t *testing.T) {
	s := cloudtest.New(t)
	var thing string
	away := false
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/role-aliases/") {
			return false
		}
		thing = r.Header.Get("x-amzn-iot-thingname")
		if away {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return away
	})
	c := dial(t, s, func(cfg *cloud.Config) { cfg.Thing = "thing-7" })
	beat(t, c)
	if thing != "thing-7" {
		t.Errorf("the thing was called %q", thing)
	}
	c.Age(30 * time.Minute) // less than half of their life
	beat(t, c)
	if s.Issued() != 1 {
		t.Fatal("they were renewed too early")
	}
	c.Age(11 * time.Minute) // more than two thirds
	beat(t, c)
	if s.Issued() != 2 {
		t.Fatal("they were not renewed")
	}
	away = true
	c.Age(50 * time.Minute)
	beat(t, c) // with the old ones
	c.Age(time.Hour)
	_, err := c.Heartbeat(t.Context(), edge.Heartbeat{})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("without any: %v", err)
	}
	away = false
	beat(t, c)
}

func TestCredentialsThatTheServerRefusesAreReplacedOnce(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	beat(t, c)
	s.Revoke()
	beat(t, c)
	if s.Issued() != 2 {
		t.Errorf("%d credentials were issued, want 2", s.Issued())
	}
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/role-aliases/") {
			w.Header().Set("X-Amzn-ErrorType", "ExpiredTokenException")
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	_, err := c.Heartbeat(t.Context(), edge.Heartbeat{})
	if !errors.Is(err, fault.Denied) || s.Issued() != 3 {
		t.Errorf("%v after %d credentials", err, s.Issued())
	}
}

func TestARevokedCertificateIsDeniedInTheServersWords(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s, func(cfg *cloud.Config) { cfg.Credentials = s.URL + "/role-aliases/other/credentials" })
	_, err := c.Heartbeat(t.Context(), edge.Heartbeat{})
	if !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "Certificate is invalid on this endpoint") {
		t.Error(err)
	}
}

func TestRefusalsAreToldApart(t *testing.T) {
	cases := map[string]struct {
		status     int
		code, body string
		want       error
		says       string
	}{
		"denied": {403, "AccessDeniedException", `{"Message":"not for you"}`, fault.Denied, "not for you"},
		"not registered": {
			400, "ValidationException:http://x", `{"Message":"No device with name cam-01 in device fleet plant"}`,
			cloud.ErrNotRegistered, "No device with name",
		},
		"throttled": {400, "ThrottlingException", `{}`, fault.Limit, "Throttling"},
		"slow down": {429, "", ``, fault.Limit, "429"},
		"another wrong thing": {
			400, "", `{"__type":"ns#ValidationException","message":"wrong"}`, fault.Invalid,
			"ValidationException: wrong",
		},
		"an inner fault":     {500, "InternalServiceException", `{}`, fault.Unavailable, "500"},
		"overloaded":         {503, "", `<html>`, fault.Unavailable, "503"},
		"no such path":       {404, "", `nothing`, fault.NotFound, "404"},
		"control characters": {403, "", "{\"Message\":\"a\\u0007b\\nc\"}", fault.Denied, "a b c"},
		"a redirect":         {307, "", ``, fault.Invalid, "redirects are not followed"},
	}
	s := cloudtest.New(t)
	c := dial(t, s)
	beat(t, c)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
				asked++
				if tc.code != "" {
					w.Header().Set("X-Amzn-ErrorType", tc.code)
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
				return true
			})
			_, _, err := c.Deployments(t.Context())
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v (%v), want %v saying %q", err, errors.Unwrap(err), tc.want, tc.says)
			}
			if asked != 1 {
				t.Errorf("it was asked %d times", asked)
			}
			c.Resume()
		})
	}
}

func TestAServerThatThrottlesIsLeftAlone(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	beat(t, c)
	asked := 0
	s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		asked++
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	for range 3 {
		_, err := c.Heartbeat(t.Context(), edge.Heartbeat{})
		e, ok := errors.AsType[*cloud.Error](err)
		if !ok || e.Kind != fault.Limit || e.RetryAfter < 50*time.Second {
			t.Errorf("%v", err)
		}
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
}

func TestRedirectsAreNotFollowedAnywhere(t *testing.T) {
	other := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other++ }))
	defer elsewhere.Close()
	s := cloudtest.New(t)
	c := dial(t, s)
	beat(t, c)
	c.Age(2 * time.Hour)
	for _, from := range []string{"/role-aliases/", "/SendHeartbeat", "/models/"} {
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, from) {
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		})
		_, err := c.Heartbeat(t.Context(), edge.Heartbeat{})
		if err == nil {
			_, _, _, err = c.Fetch(t.Context(), "s3://models/m", 0)
		}
		if err == nil || !strings.Contains(err.Error(), "redirects are not followed") {
			t.Errorf("%s: %v", from, err)
		}
	}
	if other != 0 {
		t.Errorf("the other server was asked %d times", other)
	}
}

func TestFaultsOfAConfigurationAreToldAtOnce(t *testing.T) {
	_, err := cloud.New(cloud.Config{
		Credentials: "http://a", Endpoint: "a", Objects: "https://u@a", CertFile: "/none", TolerateClock: true,
	})
	for _, word := range []string{"credentials", "endpoint", "objects", "identity", "CA of one's own"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("nothing is said of %s: %v", word, err)
		}
	}
}

func TestOnlineIsWhetherTheLastCallGotAnAnswer(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	if c.Online() {
		t.Error("before the first call")
	}
	beat(t, c)
	if !c.Online() {
		t.Error("after an answer")
	}
	s.Close()
	if _, err := c.Heartbeat(t.Context(), edge.Heartbeat{}); !errors.Is(err, fault.Unavailable) || c.Online() {
		t.Errorf("after none: %v", err)
	}
	if calls := s.Calls(); !slices.Contains(calls, "POST /SendHeartbeat 200") {
		t.Errorf("calls: %q", calls)
	}
}
