// Package cloudtest is a server for tests of the device agent: real TLS with a
// certificate authority of its own, credentials for client certificates, real
// signatures checked, the data plane and objects, and levers for what goes
// wrong. It promises to be as strict as the real server about who is calling;
// deciding what devices should do is not its job: tests say.
package cloudtest

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the data plane's checksum
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Alias is the role alias of the server.
const Alias = "SageMakerEdge-plant"

// Server is a fake of the server's side.
type Server struct {
	URL string
	CA  CA
	// CAFile, CertFile and KeyFile are a device's identity.
	CAFile, CertFile, KeyFile string

	// Sent and Received count the bytes of connections, as the server sees
	// them; Conns counts connections.
	Sent, Received, Conns atomic.Int64

	http *httptest.Server

	mu          sync.Mutex
	intercept   func(w http.ResponseWriter, r *http.Request) bool
	now         func() time.Time
	life        time.Duration
	keys        map[string]sigv4.Key
	issued      int
	deployments []Deployment
	objects     map[string][]byte
	beats       []Beat
	header      http.Header
	calls       []string
}

// Deployment is an entry of GetDeployments.
type Deployment struct {
	DeploymentName, Type, FailureHandlingPolicy string
	Definitions                                 []Definition
}

// Definition is a model of a Deployment.
type Definition struct {
	ModelHandle, S3Url string
	Checksum           struct{ Type, Sum string }
	State              string
}

// Beat is a heartbeat as it came.
type Beat struct {
	AgentVersion, DeviceName, DeviceFleetName string
	Models                                    []struct {
		ModelName, ModelVersion           string
		LatestSampleTime, LatestInference float64
	}
	AgentMetrics []struct {
		Dimension, MetricName string
		Value                 any
		Timestamp             float64
	}
	DeploymentResult *Result
}

// Result is the outcome of a deployment as it came.
type Result struct {
	DeploymentName, DeploymentStatus, DeploymentStatusMessage string
	DeploymentStartTime, DeploymentEndTime                    float64
	DeploymentModels                                          []struct {
		ModelHandle, ModelName, ModelVersion, DesiredState, State, Status, StatusReason, RollbackFailureReason string
	}
}

// New starts a server that the test stops at its end.
func New(tb testing.TB) *Server {
	tb.Helper()
	return Start(tb, NewCA(tb, "Test CA"), func(*httptest.Server) {})
}

// Start starts a server under a CA; change may configure it before.
func Start(tb testing.TB, ca CA, change func(*httptest.Server)) *Server {
	tb.Helper()
	dir := tb.TempDir()
	s := &Server{
		CA: ca, CAFile: filepath.Join(dir, "ca.pem"), now: time.Now, life: time.Hour,
		keys: map[string]sigv4.Key{}, objects: map[string][]byte{}, header: http.Header{},
	}
	Write(tb, s.CAFile, ca.PEM(), 0o444)
	from, until := time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 30)
	s.CertFile, s.KeyFile = Save(tb, dir, ca.Issue(tb, "cam-01", false, from, until))
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	s.http = httptest.NewUnstartedServer(s)
	s.http.EnableHTTP2 = true
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(tb, "server", true, from, until)},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: pool,
	}
	s.http.Listener = &counting{s.http.Listener, s}
	change(s.http)
	s.http.StartTLS()
	tb.Cleanup(s.http.Close)
	s.URL = s.http.URL
	return s
}

// Credentials is the URL of the credentials provider.
func (s *Server) Credentials() string { return s.URL + "/role-aliases/" + Alias + "/credentials" }

// Close stops the server before its test ends.
func (s *Server) Close() { s.http.CloseClientConnections(); s.http.Close() }

// Drop closes every connection of clients.
func (s *Server) Drop() { s.http.CloseClientConnections() }

// Intercept lets f answer requests instead: as long as it returns true.
func (s *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Clock sets the server's clock.
func (s *Server) Clock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Life sets how long new credentials live.
func (s *Server) Life(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = d
}

// Revoke makes every credential unknown that was issued so far.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
}

// Offer is what GetDeployments answers from now on.
func (s *Server) Offer(all ...Deployment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deployments = slices.Clone(all)
}

// Answer sets a header of every answer of the data plane.
func (s *Server) Answer(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header.Set(name, value)
}

// Store puts an object at s3://bucket/key and returns its SHA-1.
func (s *Server) Store(bucket, key string, data []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[bucket+"/"+key] = slices.Clone(data)
	return sum(data)
}

func sum(data []byte) string {
	h := sha1.Sum(data) //nolint:gosec // the data plane's checksum
	return hex.EncodeToString(h[:])
}

// Objects returns what is stored, by bucket/key.
func (s *Server) Objects() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.objects)
}

// Beats returns the heartbeats so far.
func (s *Server) Beats() []Beat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.beats)
}

// Calls returns what was asked so far: "POST /SendHeartbeat 200".
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Issued returns how many credentials were given out.
func (s *Server) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// Deploy makes a deployment of one package that is stored at s3://bucket/key.
func Deploy(name, handle, bucket, key, sha1 string) Deployment {
	d := Definition{ModelHandle: handle, S3Url: "s3://" + bucket + "/" + key, State: "DEPLOY"}
	d.Checksum.Type, d.Checksum.Sum = "SHA1", sha1
	return Deployment{
		DeploymentName: name, Type: "Model", FailureHandlingPolicy: "ROLLBACK_ON_FAILURE", Definitions: []Definition{d},
	}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	intercept, now, header := s.intercept, s.now(), s.header.Clone()
	s.mu.Unlock()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	if intercept != nil && intercept(w, r) {
		return
	}
	status := http.StatusOK
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, status))
	}()
	if strings.HasPrefix(r.URL.Path, "/role-aliases/") {
		status = s.credentials(w, r, now)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		status = 0
		return
	}
	if _, err := sigv4.NewVerifier(ring{s}).Verify(sigv4.FromHTTP(r), body, now); err != nil {
		status = refuse(w, err)
		return
	}
	maps.Copy(w.Header(), header)
	switch r.URL.Path {
	case "/GetDeviceRegistration":
		_, _ = io.WriteString(w, `{"DeviceRegistration":"true","CacheTTL":"3600"}`) // the agent sees what is missing
	case "/GetDeployments":
		s.mu.Lock()
		all := append([]Deployment{}, s.deployments...)
		s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"Deployments": all}) // as above
	case "/SendHeartbeat":
		var b Beat
		if json.Unmarshal(body, &b) != nil {
			status = http.StatusBadRequest
			w.WriteHeader(status)
			return
		}
		s.beat(b)
	default:
		s.object(w, r, body)
	}
}

// beat takes a heartbeat; a deployment that it ends is offered no more.
func (s *Server) beat(b Beat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats = append(s.beats, b)
	if res := b.DeploymentResult; res != nil && res.DeploymentStatus != "" {
		s.deployments = slices.DeleteFunc(s.deployments, func(d Deployment) bool {
			return d.DeploymentName == res.DeploymentName
		})
	}
}

func refuse(w http.ResponseWriter, err error) int {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		w.WriteHeader(http.StatusInternalServerError)
		return http.StatusInternalServerError
	}
	w.Header().Set("X-Amzn-ErrorType", e.Code)
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": e.Message}) // as above
	return e.Status
}

func (s *Server) credentials(w http.ResponseWriter, r *http.Request, now time.Time) int {
	if len(r.TLS.PeerCertificates) == 0 || r.URL.Path != "/role-aliases/"+Alias+"/credentials" {
		w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
		w.WriteHeader(http.StatusForbidden)
		// the agent sees what is missing
		_, _ = io.WriteString(w, `{"message":"Certificate is invalid on this endpoint"}`)
		return http.StatusForbidden
	}
	s.mu.Lock()
	s.issued++
	k := sigv4.Key{
		ID: fmt.Sprintf("ASIA%016d", s.issued), Secret: strings.Repeat("s", 40),
		SessionToken: strings.Repeat("token", 60) + fmt.Sprint(s.issued), Expires: now.Add(s.life),
	}
	s.keys[k.ID] = k
	s.mu.Unlock()
	// The agent sees what is missing.
	_ = json.NewEncoder(w).Encode(map[string]any{"credentials": map[string]string{
		"accessKeyId": k.ID, "secretAccessKey": k.Secret, "sessionToken": k.SessionToken,
		"expiration": k.Expires.UTC().Format(time.RFC3339),
	}})
	return http.StatusOK
}

func (s *Server) object(w http.ResponseWriter, r *http.Request, body []byte) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if r.Method == http.MethodPut {
		s.mu.Lock()
		s.objects[name] = body
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	data, ok := s.objects[name]
	s.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		// As above.
		_, _ = io.WriteString(w,
			"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>")
		return
	}
	w.Header().Set("ETag", `"`+sum(data)+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// ring is the server's keys to the verifier.
type ring struct{ s *Server }

func (k ring) Key(id string) (sigv4.Key, bool) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	key, ok := k.s.keys[id]
	return key, ok
}

// counting counts what goes over connections, below TLS.
type counting struct {
	net.Listener
	s *Server
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.s.Conns.Add(1)
	return &countedConn{c, l.s}, nil
}

type countedConn struct {
	net.Conn
	s *Server
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.Received.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.s.Sent.Add(int64(n))
	return n, err
}

// Until waits for a condition, as long as the context lasts.
func Until(ctx context.Context, tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if done() {
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}
