package simdevices

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// Remote is a server over HTTP, for all devices of a process: it is Server with
// one set of credentials and one pool of connections. An operator may act for
// any device.
type Remote struct {
	url, region string
	keys        aws.Credentials
	http        *http.Client
	signer      *v4.Signer
	objects     *v4.Signer // of S3, where paths are escaped once
}

// callTime bounds a call that is not a download.
const callTime = 30 * time.Second

// maxAnswer bounds what is read of an answer that is not an object, in bytes.
const maxAnswer = 16 << 20

// NewRemote returns the server at url, such as http://127.0.0.1:9400, with at
// most so many connections; 0 is 256.
func NewRemote(url, region string, keys aws.Credentials, connections int) *Remote {
	if connections <= 0 {
		connections = defaultWorkers
	}
	return &Remote{
		url: strings.TrimRight(url, "/"), region: region, keys: keys,
		http: &http.Client{
			Transport: &http.Transport{
				MaxIdleConns: connections, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
				DisableCompression: true, IdleConnTimeout: 90 * time.Second,
			},
			// what is signed goes to one place
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		signer:  v4.NewSigner(),
		objects: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
	}
}

// Close ends the connections that no call uses.
func (r *Remote) Close() { r.http.CloseIdleConnections() }

// Refusal is an answer that is an error.
type Refusal struct {
	Status        int
	Code, Message string
	kind          fault.Kind
}

func (e *Refusal) Error() string { return fmt.Sprintf("%s (%d): %s", e.Code, e.Status, e.Message) }

// Unwrap exposes what kind of failure it is.
func (e *Refusal) Unwrap() error { return e.kind }

// Registration is Server's.
func (r *Remote) Registration(ctx context.Context, fleet, device string) (active bool, ttl time.Duration, err error) {
	var out sagemakeredge.GetDeviceRegistrationResult
	if _, err = r.post(ctx, "/GetDeviceRegistration", "",
		sagemakeredge.GetDeviceRegistrationRequest{DeviceName: &device, DeviceFleetName: &fleet}, &out); err != nil {
		return false, 0, err
	}
	active, err = strconv.ParseBool(aws.ToString(out.DeviceRegistration))
	seconds, err2 := strconv.ParseInt(aws.ToString(out.CacheTTL), 10, 32)
	return active, time.Duration(seconds) * time.Second, errors.Join(err, err2)
}

// Deployments is Server's.
func (r *Remote) Deployments(ctx context.Context, fleet, device string) ([]edge.Deployment, edge.Hints, error) {
	var out sagemakeredge.GetDeploymentsResult
	head, err := r.post(ctx, "/GetDeployments",
		"", sagemakeredge.GetDeploymentsRequest{
			DeviceName: &device, DeviceFleetName: &fleet, Understands: []string{edge.UnderstandsMirror},
		}, &out)
	if err != nil {
		return nil, edge.Hints{}, err
	}
	var all []edge.Deployment
	for _, d := range out.Deployments {
		o := edge.Deployment{Name: aws.ToString(d.DeploymentName)}
		if d.FailureHandlingPolicy != nil {
			o.OnFailure = edge.FailurePolicy(*d.FailureHandlingPolicy)
		}
		for _, m := range d.Definitions {
			def := edge.Definition{Handle: aws.ToString(m.ModelHandle), S3URL: aws.ToString(m.S3Url)}
			if m.Checksum != nil {
				def.SHA1 = aws.ToString(m.Checksum.Sum)
			}
			if m.State != nil {
				def.State = string(*m.State)
			}
			o.Definitions = append(o.Definitions, def)
		}
		o.Mirror = mirrorOf(d.Mirror)
		all = append(all, o)
	}
	return all, hints(head), nil
}

func hints(h http.Header) edge.Hints {
	read := func(name string) time.Duration {
		n, _ := strconv.ParseInt(h.Get(name), 10, 32) // none, or none that makes sense, is 0
		return time.Duration(max(0, n)) * time.Second
	}
	return edge.Hints{Poll: read("X-Slipway-Poll-After"), Heartbeat: read("X-Slipway-Heartbeat-After")}
}

// Heartbeat is Server's.
func (r *Remote) Heartbeat(ctx context.Context, h edge.Heartbeat) (edge.Hints, error) {
	in := sagemakeredge.SendHeartbeatRequest{
		AgentVersion: &h.AgentVersion, DeviceName: &h.Device, DeviceFleetName: &h.Fleet,
	}
	if h.HasModels {
		in.Models = make([]sagemakeredge.Model, 0, len(h.Models))
		for _, m := range h.Models {
			in.Models = append(in.Models, sagemakeredge.Model{
				ModelName: &m.Name, ModelVersion: &m.Version, LatestSampleTime: shape.At(m.LatestSample),
				LatestInference: shape.At(m.LatestInference),
			})
		}
	}
	if h.Result != nil {
		in.DeploymentResult = result(h.Result)
	}
	for _, c := range h.Comparisons {
		in.Comparisons = append(in.Comparisons, sagemakeredge.DeploymentComparison{
			DeploymentName: &c.Deployment, ModelHandle: &c.Handle, Comparison: comparison(&c.Comparison),
		})
	}
	head, err := r.post(ctx, "/SendHeartbeat", "", in, nil)
	return hints(head), err
}

func result(r *edge.Result) *sagemakeredge.DeploymentResult {
	out := &sagemakeredge.DeploymentResult{
		DeploymentName: &r.Deployment, DeploymentStatus: word[string](r.Status),
		DeploymentStatusMessage: word[string](r.Message),
		DeploymentStartTime:     shape.At(r.Start), DeploymentEndTime: shape.At(r.End),
	}
	for _, m := range r.Models {
		out.DeploymentModels = append(out.DeploymentModels, sagemakeredge.DeploymentModel{
			ModelHandle: &m.Handle, ModelName: word[string](m.Name), ModelVersion: word[string](m.Version),
			DesiredState: word[sagemakeredge.ModelState](m.Desired), State: word[sagemakeredge.ModelState](m.State),
			Status: word[sagemakeredge.DeploymentStatus](m.Status), StatusReason: word[string](m.Reason),
			RollbackFailureReason: word[string](m.RollbackFailure), Comparison: comparison(m.Comparison),
		})
	}
	return out
}

func mirrorOf(m *sagemakeredge.Mirror) *edge.Mirror {
	if m == nil {
		return nil
	}
	return &edge.Mirror{
		MaxDisagreement: aws.ToFloat64(m.MaxDisagreement), Time: edge.SecondsOf(aws.ToFloat64(m.TimeInSeconds)),
		MinPairs: int(aws.ToInt64(m.MinimumPairs)), Share: aws.ToFloat64(m.Share),
	}
}

// comparison is what simulated devices know of one.
func comparison(c *edge.Comparison) *sagemakeredge.Comparison {
	if c == nil {
		return nil
	}
	return &sagemakeredge.Comparison{
		Finding: word[string](string(c.Finding)), PreviousModelVersion: word[string](c.Old), Since: shape.At(c.Since),
		RanInSeconds: new(c.Ran.Seconds()), Compared: &c.Compared, Differing: &c.Differing, Failed: &c.Failed,
		Evidence: &c.Evidence,
	}
}

// word is a string of the wire; an empty one is absent.
func word[T ~string](s string) *T {
	if s == "" {
		return nil
	}
	return new(T(s))
}

// emptyHash is the SHA-256 of no bytes.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Fetch is Server's.
func (r *Remote) Fetch(ctx context.Context, s3url string, offset int64) (io.ReadCloser, int64, string, error) {
	path, ok := strings.CutPrefix(s3url, "s3://")
	if !ok {
		return nil, 0, "", fault.New(fault.Invalid, "%.100q is not s3://BUCKET/KEY", s3url)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/"+path, nil)
	if err != nil {
		return nil, 0, "", err
	}
	q.Header.Set("X-Amz-Content-Sha256", emptyHash)
	if offset > 0 {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	if err := r.objects.SignHTTP(ctx, r.keys, q, emptyHash, "s3", r.region, time.Now()); err != nil {
		return nil, 0, "", err
	}
	res, err := r.http.Do(q)
	if err != nil {
		return nil, 0, "", err
	}
	size := res.ContentLength
	switch {
	case res.StatusCode == http.StatusOK && offset == 0:
	case res.StatusCode == http.StatusPartialContent && offset > 0:
		size += offset
	default:
		err := refusal(res)
		_ = res.Body.Close() // nothing is lost with it
		return nil, 0, "", err
	}
	return res.Body, size, res.Header.Get("ETag"), nil
}

// post makes a signed call; a nil out is not read.
func (r *Remote) post(ctx context.Context, path, target string, in, out shape.Value) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	body := shape.Append(nil, in)
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	if target != "" {
		q.Header.Set("Content-Type", "application/x-amz-json-1.1")
		q.Header.Set("X-Amz-Target", target)
	}
	sum := sha256.Sum256(body)
	if err := r.signer.SignHTTP(ctx, r.keys, q, hex.EncodeToString(sum[:]),
		"sagemaker", r.region, time.Now()); err != nil {
		return nil, err
	}
	res, err := r.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && out != nil {
		err = shape.Decode(answer, out)
	}
	return res.Header, err
}

// refusal reads why the server did not do what it was asked.
func refusal(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, 16<<10)) // a broken answer still has its status
	var said struct {
		Type    string `json:"__type" xml:"-"`
		Code    string `json:"-" xml:"Code"`
		Message string `json:"message" xml:"Message"`
	}
	if json.Unmarshal(body, &said) != nil {
		_ = xml.Unmarshal(body, &said) // nor that: the status is all there is
	}
	e := &Refusal{Status: res.StatusCode, Code: said.Code, Message: said.Message}
	for _, code := range []string{res.Header.Get("X-Amzn-ErrorType"), said.Type} {
		if e.Code == "" {
			e.Code = code
		}
	}
	e.Code, _, _ = strings.Cut(e.Code, ":")
	switch {
	case e.Status == http.StatusTooManyRequests || strings.Contains(e.Code, "Throttl"):
		e.kind = fault.Limit
	case e.Status >= 500:
		e.kind = fault.Unavailable
	case e.Status == http.StatusForbidden:
		e.kind = fault.Denied
	case e.Status == http.StatusNotFound:
		e.kind = fault.NotFound
	case e.Status == http.StatusPreconditionFailed, e.Status == http.StatusRequestedRangeNotSatisfiable:
		e.kind = fault.Conflict
	default:
		e.kind = fault.Invalid
	}
	return e
}

// registrars is how many calls register devices at a time.
const registrars = 4

// Register registers the first count devices of the simulation in a fleet, and
// makes the fleet if there is none. Devices that are registered already stay as
// they are. tell is told how many are registered, from one call at a time.
func (r *Remote) Register(ctx context.Context, fleet string, count int, tell func(int)) error {
	_, err := r.post(ctx, "/",
		"SageMaker.DescribeDeviceFleet", sagemaker.DescribeDeviceFleetRequest{DeviceFleetName: &fleet}, nil)
	if _, refused := errors.AsType[*Refusal](err); refused {
		_, err = r.post(ctx, "/", "SageMaker.CreateDeviceFleet", sagemaker.CreateDeviceFleetRequest{
			DeviceFleetName: &fleet, Description: new("simulated devices"),
			OutputConfig: &sagemaker.EdgeOutputConfig{S3OutputLocation: new("s3://simulated/captured")},
		}, nil)
	}
	if err != nil {
		return fmt.Errorf("make the fleet: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	done := 0
	from := make(chan int)
	var wg sync.WaitGroup
	for range registrars {
		wg.Go(func() {
			for first := range from {
				n := min(edge.MaxRegister, count-first)
				if err := r.register(ctx, fleet, first, n); err != nil {
					cancel(fmt.Errorf("register devices: %w", err))
				}
				mu.Lock()
				if done += n; tell != nil {
					tell(done)
				}
				mu.Unlock()
			}
		})
	}
	for first := 0; first < count && ctx.Err() == nil; first += edge.MaxRegister {
		from <- first
	}
	close(from)
	wg.Wait()
	return context.Cause(ctx)
}

func (r *Remote) register(ctx context.Context, fleet string, first, n int) error {
	in := sagemaker.RegisterDevicesRequest{DeviceFleetName: &fleet}
	for i := first; i < first+n; i++ {
		in.Devices = append(in.Devices, sagemaker.Device{DeviceName: new(Name(i))})
	}
	_, err := r.post(ctx, "/", "SageMaker.RegisterDevices", in, nil)
	return err
}

// Roots returns the certificates that stand behind the server's packages; the
// server makes them if it has none yet.
func (r *Remote) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	var out slipway.SigningKeysOutput
	if _, err := r.post(ctx, "/", "Slipway.CreateSigningKey", slipway.CreateSigningKeyInput{}, &out); err != nil {
		return nil, fmt.Errorf("ask for the roots of packages: %w", err)
	}
	var roots []*x509.Certificate
	for _, k := range out.Roots {
		if k.Trusted == nil || !*k.Trusted {
			continue
		}
		block, _ := pem.Decode([]byte(aws.ToString(k.Certificate)))
		if block == nil {
			return nil, errors.New("a root of packages is not PEM")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a root of packages: %w", err)
		}
		roots = append(roots, c)
	}
	return roots, nil
}
