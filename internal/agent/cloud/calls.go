package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// who is in every call of the data plane.
type who struct {
	DeviceName      string
	DeviceFleetName string
}

func (c *Client) who() who { return who{c.cfg.Device, c.cfg.Fleet} }

// Limits of what a server may say about times.
const (
	defaultTTL  = time.Hour
	longestTTL  = 7 * 24 * time.Hour
	longestHint = 31 * 24 * time.Hour
)

// Registration asks whether the device is registered, and for how long that may
// be believed (spec §3.1).
func (c *Client) Registration(ctx context.Context) (active bool, ttl time.Duration, err error) {
	var said struct{ DeviceRegistration, CacheTTL string }
	if _, err := c.ask(ctx, "ask for the registration", "/GetDeviceRegistration", c.who(), &said); err != nil {
		return false, 0, err
	}
	ttl = defaultTTL
	if n, err := strconv.ParseInt(said.CacheTTL, 10, 64); err == nil && n >= 0 {
		ttl = min(time.Duration(min(n, int64(longestTTL/time.Second)))*time.Second, longestTTL)
	}
	active, err = strconv.ParseBool(said.DeviceRegistration)
	if err != nil {
		return false, 0, &Error{
			Kind: fault.Unavailable, Status: http.StatusOK,
			Message: "ask for the registration: the answer is neither true nor false",
		}
	}
	return active, ttl, nil
}

// Deployments asks what the device is to do (spec §3.2).
func (c *Client) Deployments(ctx context.Context) ([]edge.Deployment, edge.Hints, error) {
	var said struct {
		Deployments []struct {
			DeploymentName        string
			FailureHandlingPolicy edge.FailurePolicy
			Definitions           []struct {
				ModelHandle string
				S3Url       string
				Checksum    struct{ Type, Sum string }
				State       string
			}
			Mirror *beatMirror
		}
	}
	question := struct {
		who
		Understands []string // beyond the API: what the server may ask of this agent
	}{c.who(), []string{edge.UnderstandsMirror}}
	hints, err := c.ask(ctx, "ask for deployments", "/GetDeployments", question, &said)
	if err != nil {
		return nil, edge.Hints{}, err
	}
	all := make([]edge.Deployment, 0, len(said.Deployments))
	for _, d := range said.Deployments {
		deployment := edge.Deployment{Name: d.DeploymentName, OnFailure: d.FailureHandlingPolicy}
		for _, m := range d.Definitions {
			deployment.Definitions = append(deployment.Definitions, edge.Definition{
				Handle: m.ModelHandle, S3URL: m.S3Url, SHA1: m.Checksum.Sum, State: m.State,
			})
		}
		deployment.Mirror = d.Mirror.mirror()
		all = append(all, deployment)
	}
	return all, hints, nil
}

// Heartbeat reports (spec §3.3). The device and its fleet are the client's own,
// whatever h says. Models that the server was told of last time are left out,
// which the API reads as unchanged; now and then they are said again, for a
// server that has forgotten.
func (c *Client) Heartbeat(ctx context.Context, h edge.Heartbeat) (edge.Hints, error) {
	if h.HasModels && c.reported.same(h.Models) {
		h.HasModels = false
	}
	hints, err := c.ask(ctx, "send a heartbeat", "/SendHeartbeat", heartbeatOf(c.who(), h), nil)
	switch {
	case err != nil:
		c.reported.forget()
	case h.HasModels:
		c.reported.remember(h.Models)
	}
	return hints, err
}

// repeatModels is after how many heartbeats the models are said again.
const repeatModels = 12

// reportedModels is what models the server knows of.
type reportedModels struct {
	mu     sync.Mutex
	models []edge.LoadedModel
	left   int // heartbeats that may leave them out
}

func (t *reportedModels) same(models []edge.LoadedModel) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == 0 || !slices.Equal(t.models, models) {
		return false
	}
	t.left--
	return true
}

func (t *reportedModels) remember(models []edge.LoadedModel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.models, t.left = slices.Clone(models), repeatModels-1
}

func (t *reportedModels) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = 0
}

// ask makes one call of the data plane. A nil answer is not read.
func (c *Client) ask(ctx context.Context, what, path string, question, said any) (edge.Hints, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return edge.Hints{}, &Error{Kind: fault.Invalid, Message: what + ": it cannot be written as JSON", cause: err}
	}
	sum := sha256.Sum256(body)
	resp, err := c.send(ctx, call{
		what: what, service: serviceEdge, hash: hex.EncodeToString(sum[:]), good: isOK,
		request: func(ctx context.Context) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.Endpoint+path, bytes.NewReader(body))
		},
	})
	if err != nil {
		return edge.Hints{}, err
	}
	defer resp.close()
	if said != nil {
		if err := resp.decode(said); err != nil {
			return edge.Hints{}, failure(ctx, what, err)
		}
	}
	return edge.Hints{
		Poll: hint(resp.Header, "X-Slipway-Poll-After"), Heartbeat: hint(resp.Header, "X-Slipway-Heartbeat-After"),
	}, nil
}

// hint reads whole seconds; what makes no sense says nothing.
func hint(h http.Header, name string) time.Duration {
	n, err := strconv.ParseInt(h.Get(name), 10, 64)
	if err != nil || n < 1 || n > int64(longestHint/time.Second) {
		return 0
	}
	return time.Duration(n) * time.Second
}

// beatMirror is the wire's form of edge.Mirror, which is beyond the API.
type beatMirror struct {
	MaxDisagreement, TimeInSeconds, Share float64
	MinimumPairs                          int
	Outputs                               []edge.ComparedOutput
}

func (m *beatMirror) mirror() *edge.Mirror {
	if m == nil {
		return nil
	}
	return &edge.Mirror{
		MaxDisagreement: m.MaxDisagreement, Time: edge.SecondsOf(m.TimeInSeconds), MinPairs: m.MinimumPairs,
		Share: m.Share, Outputs: m.Outputs,
	}
}

// The wire's form of a heartbeat. Comparisons are beyond the API.
type (
	beat struct {
		AgentVersion string
		who
		Models           *[]beatModel           `json:",omitempty"` // absent: unchanged; empty: nothing is loaded
		AgentMetrics     []beatMetric           `json:",omitempty"`
		DeploymentResult *beatResult            `json:",omitempty"`
		Comparisons      []beatDeviceComparison `json:",omitempty"`
	}
	beatDeviceComparison struct {
		DeploymentName, ModelHandle string
		Comparison                  *beatComparison
	}
	beatComparison struct {
		Finding               string
		PreviousModelVersion  string  `json:",omitempty"`
		Since                 epoch   `json:",omitzero"`
		RanInSeconds          float64 `json:",omitempty"`
		Compared              int64   `json:",omitempty"`
		Differing             int64   `json:",omitempty"`
		Failed                int64   `json:",omitempty"`
		Late                  int64   `json:",omitempty"`
		PreviousFailed        int64   `json:",omitempty"`
		Shed                  int64   `json:",omitempty"`
		Repeated              int64   `json:",omitempty"`
		Incomparable          int64   `json:",omitempty"`
		PreviousTimeInSeconds float64 `json:",omitempty"`
		TimeInSeconds         float64 `json:",omitempty"`
		PreviousMemory        int64   `json:",omitempty"`
		Memory                int64   `json:",omitempty"`
		Evidence              float64 `json:",omitempty"`
	}
	beatModel struct {
		ModelName, ModelVersion string
		LatestSampleTime        epoch `json:",omitzero"`
		LatestInference         epoch `json:",omitzero"`
	}
	beatMetric struct {
		Dimension, MetricName string
		Value                 double
		Timestamp             epoch `json:",omitzero"`
	}
	beatResult struct {
		DeploymentName          string
		DeploymentStatus        string            `json:",omitempty"`
		DeploymentStatusMessage string            `json:",omitempty"`
		DeploymentStartTime     epoch             `json:",omitzero"`
		DeploymentEndTime       epoch             `json:",omitzero"`
		DeploymentModels        []beatModelResult `json:",omitempty"`
	}
	beatModelResult struct {
		ModelHandle           string
		ModelName             string          `json:",omitempty"`
		ModelVersion          string          `json:",omitempty"`
		DesiredState          string          `json:",omitempty"`
		State                 string          `json:",omitempty"`
		Status                string          `json:",omitempty"`
		StatusReason          string          `json:",omitempty"`
		RollbackFailureReason string          `json:",omitempty"`
		Comparison            *beatComparison `json:",omitempty"`
	}
)

func heartbeatOf(w who, h edge.Heartbeat) beat {
	b := beat{AgentVersion: h.AgentVersion, who: w}
	if h.HasModels {
		models := make([]beatModel, 0, len(h.Models))
		for _, m := range h.Models {
			models = append(models, beatModel{m.Name, m.Version, epoch{m.LatestSample}, epoch{m.LatestInference}})
		}
		b.Models = &models
	}
	for _, m := range h.Metrics {
		b.AgentMetrics = append(b.AgentMetrics, beatMetric{m.Dimension, m.Name, double(m.Value), epoch{m.At}})
	}
	if r := h.Result; r != nil {
		result := &beatResult{
			DeploymentName: r.Deployment, DeploymentStatus: r.Status, DeploymentStatusMessage: r.Message,
			DeploymentStartTime: epoch{r.Start}, DeploymentEndTime: epoch{r.End},
		}
		for _, m := range r.Models {
			result.DeploymentModels = append(result.DeploymentModels, beatModelResult{
				m.Handle, m.Name, m.Version, m.Desired, m.State, m.Status, m.Reason, m.RollbackFailure,
				comparisonOf(m.Comparison),
			})
		}
		b.DeploymentResult = result
	}
	for _, c := range h.Comparisons {
		b.Comparisons = append(b.Comparisons, beatDeviceComparison{c.Deployment, c.Handle, comparisonOf(&c.Comparison)})
	}
	return b
}

func comparisonOf(c *edge.Comparison) *beatComparison {
	if c == nil {
		return nil
	}
	return &beatComparison{
		Finding: string(c.Finding), PreviousModelVersion: c.Old, Since: epoch{c.Since}, RanInSeconds: c.Ran.Seconds(),
		Compared: c.Compared, Differing: c.Differing, Failed: c.Failed, Late: c.Late, PreviousFailed: c.OldFailed,
		Shed: c.Shed, Repeated: c.Repeated, Incomparable: c.Apart,
		PreviousTimeInSeconds: c.OldTime.Seconds(), TimeInSeconds: c.NewTime.Seconds(), PreviousMemory: c.OldBytes,
		Memory: c.NewBytes, Evidence: c.Evidence,
	}
}

// epoch is a time as seconds since 1970, to the millisecond (spec §1.2).
type epoch struct{ time.Time }

func (e epoch) MarshalJSON() ([]byte, error) {
	ms := e.UnixMilli()
	if ms%1000 == 0 {
		return strconv.AppendInt(nil, ms/1000, 10), nil
	}
	return strconv.AppendFloat(nil, float64(ms)/1000, 'f', 3, 64), nil
}

// double is a number that may be none (spec §1.2).
type double float64

func (d double) MarshalJSON() ([]byte, error) {
	switch v := float64(d); {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Infinity"`), nil
	default:
		return json.Marshal(v)
	}
}
