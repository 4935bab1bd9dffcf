// Package config is what a Slipway server can be told: one struct with
// defaults that work, read from a YAML file. Acting on it is not its job.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Config tells a server what to be. Start from Default: a key that is absent
// from a file keeps its default. docs/configuration.md is made of the comments
// here: begin each with the field's name.
type Config struct {
	// Listen is the host:port that serves every API.
	Listen string `json:"listen"`
	// DataDir holds all state: credentials, database, objects, logs.
	DataDir string `json:"dataDir"`
	// Region is what `slipway env` prints and what ARNs contain. Requests that
	// are signed for any other region are accepted too, and get that region's
	// ARNs: each region is a name space of its own.
	Region string `json:"region"`
	// Account is the number of 12 digits in ARNs; quote it.
	Account string `json:"account"`
	// Images are the programs that serve models, by the name of the image that
	// a model asks for. slipway/onnx is built in.
	Images map[string]Image `json:"images"`
	// Database says where the control plane's records live.
	Database Database `json:"database"`
	// Limits bound what requests and models may take.
	Limits Limits `json:"limits"`
	// Log says how to log.
	Log Log `json:"log"`
	// Guardrails says what deployments have to hold beyond what a request asks.
	Guardrails Guardrails `json:"guardrails"`
	// Capture bounds what capturing requests may take of the server.
	Capture Capture `json:"capture"`
	// Devices says how devices are served, and how often they shall come.
	Devices Devices `json:"devices"`
	// Webhooks are told of everything that happens to endpoints, at most 20.
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Image is a program that serves models under the container contract.
type Image struct {
	// Command is the program and its arguments. A program without a slash is
	// looked for beside the slipway program first, then on PATH. In arguments,
	// {port} and {model_dir} stand for the instance's own; they are in its
	// environment, too, as SAGEMAKER_BIND_TO_PORT and SM_MODEL_DIR.
	Command []string `json:"command"`
	// Environment lists the variables that models of this image may set: names,
	// and families of them like HF_*. CreateModel refuses any other, for
	// interpreters and libraries take code by theirs (PYTHONPATH, NODE_OPTIONS).
	// Without the key it is SAGEMAKER_* and MODEL_*, and what slipway/onnx can be
	// told; [] allows none. The dynamic loader's variables and Slipway's own
	// cannot be allowed.
	Environment []string `json:"environment,omitzero"`
}

// Database says where the control plane's records live.
type Database struct {
	// URL is that of a PostgreSQL database,
	// postgres://user:password@host:5432/name. Without one the records are in
	// an SQLite file in the data directory.
	URL string `json:"url"`
	// Accept is the name of a state of the database that a server may start on
	// although its data directory was used with another one, as the refusal of
	// such a start gives it. It is good for one start.
	Accept string `json:"accept,omitempty"`
}

// Limits bound what requests and models may take. Each is above zero, but for
// LameDuck.
type Limits struct {
	// MaxBodyBytes is the largest body of an invocation; more is answered with
	// 413 (spec §6.1).
	MaxBodyBytes int64 `json:"maxBodyBytes"`
	// ModelTimeout is how long a model may take for one answer (spec §6.3).
	ModelTimeout Duration `json:"modelTimeout"`
	// StreamTimeout is how long a streamed answer may take in all (spec §6.5).
	StreamTimeout Duration `json:"streamTimeout"`
	// StartupWindow is how long an instance has to become healthy, unless its
	// variant says otherwise (spec §6.6).
	StartupWindow Duration `json:"startupWindow"`
	// StopGrace is the time from SIGTERM to SIGKILL of an instance (spec §6.6).
	StopGrace Duration `json:"stopGrace"`
	// MaxModelBytes is the largest model that is unpacked, in bytes.
	MaxModelBytes int64 `json:"maxModelBytes"`
	// ModelCacheBytes is how much model data is kept on this server, in bytes.
	// What an endpoint serves stays beyond that; what no model names any more
	// goes within minutes.
	ModelCacheBytes int64 `json:"modelCacheBytes"`
	// LameDuck is how long a stopping server still takes connections while
	// /readyz says that it stops, so that load balancers turn away first. 0s
	// turns them away at once.
	LameDuck Duration `json:"lameDuck"`
	// DrainTimeout is how long a stopping server waits for requests under way.
	DrainTimeout Duration `json:"drainTimeout"`
	// UploadLifetime is how long after its begin a multipart upload that nobody
	// completes is removed, with its parts.
	UploadLifetime Duration `json:"uploadLifetime"`
	// PresignedLifetime is how long a presigned URL may be good for. In Signature
	// Version 4 it is a week at most whatever this says.
	PresignedLifetime Duration `json:"presignedLifetime"`
	// Connections is how many connections there may be at a time on the address
	// that serves every API: a new one takes the place of the one that has waited
	// longest for its client. Of these, all but invocations get a quarter, and
	// tunnels a sixteenth. Devices have their own (devices.connections).
	Connections int64 `json:"connections"`
	// ConnectionsPerAddress is how many of them one address (of IPv6, one network
	// of 64 bits) may have that have sent nothing that verified.
	ConnectionsPerAddress int64 `json:"connectionsPerAddress"`
	// ConnectionsPerKey is how many of them one access key may have.
	ConnectionsPerKey int64 `json:"connectionsPerKey"`
	// RequestMemoryBytes is how much memory the bodies of invocations in flight
	// may take together, and what of the heads is longer than 4 KiB, in bytes; the
	// requests of all other APIs may take half as much besides. One key gets three
	// quarters of it, one address that has shown no key one quarter. Data capture
	// and shadows hold a quarter as much besides, at most.
	RequestMemoryBytes int64 `json:"requestMemoryBytes"`
}

// Guardrails says what deployments have to hold beyond what a request asks.
type Guardrails struct {
	// MinimumRequests is how many requests the new fleet has to answer after
	// each step before its bake may end: a bake that nobody used proves
	// nothing. It counts for updates with a DeploymentConfig, and the
	// deployment's timeout bounds the wait. 0 asks for none.
	MinimumRequests int `json:"minimumRequests"`
	// Gates are the words of the gates that judge every update, by kind, such as
	// {errors: action=rollback}. They are the words of the tags of endpoint
	// configurations, which win over them, word by word; what has requests copied,
	// only a tag can say. See docs/guardrails.md.
	Gates map[string]string `json:"gates,omitempty"`
}

// Capture bounds what capturing requests may take of the server.
type Capture struct {
	// SpoolBytes is how much captured data may wait on the disk for its bucket, in
	// bytes. With more nothing is captured, until less than seven tenths of it wait.
	SpoolBytes int64 `json:"spoolBytes"`
	// StopAtDiskPercent is how full the data directory's disk may become, in per
	// cent: from there on nothing is captured, and CaptureStatus is Stopped. 100
	// ignores the disk.
	StopAtDiskPercent int `json:"stopAtDiskPercent"`
	// ResumeBelowDiskPercent is how full that disk may be for capturing to go on.
	ResumeBelowDiskPercent int `json:"resumeBelowDiskPercent"`
}

// Log says how to log.
type Log struct {
	// Level is one of debug, info, warn and error.
	Level string `json:"level"`
	// Format is either text or json.
	Format string `json:"format"`
	// Requests is the level of the record that each request to an API gets: who
	// asked for what, from where, and how that ended. What the server failed at is
	// an error whatever this says.
	Requests string `json:"requests"`
	// Invocations is the level of the same record of each invocation, or off.
	// Invocations are counted without one, and a record of each costs the router some
	// microseconds.
	Invocations string `json:"invocations"`
}

// Off as Log.Invocations asks for no record of invocations.
const Off = "off"

// ONNXImage is the name of the built-in image: a server for ONNX models.
const ONNXImage = "slipway/onnx"

// Default returns the configuration of a server that was told nothing.
func Default() Config {
	return Config{
		Listen:  "127.0.0.1:9400",
		DataDir: "./slipway-data",
		Region:  "us-east-1",
		Account: "000000000000",
		Images: map[string]Image{
			ONNXImage: {Command: []string{"slipway-onnx", "--model-dir", "{model_dir}", "--port", "{port}"}},
		},
		Limits: Limits{
			MaxBodyBytes:  6291456,
			ModelTimeout:  Duration(time.Minute),
			StreamTimeout: Duration(8 * time.Minute),
			StartupWindow: Duration(8 * time.Minute),
			StopGrace:     Duration(30 * time.Second),
			MaxModelBytes: 16 << 30, ModelCacheBytes: 64 << 30,
			LameDuck:          Duration(time.Second),
			DrainTimeout:      Duration(30 * time.Second),
			UploadLifetime:    Duration(7 * 24 * time.Hour),
			PresignedLifetime: Duration(7 * 24 * time.Hour),
			Connections:       16384, ConnectionsPerAddress: 4096, ConnectionsPerKey: 12288,
			RequestMemoryBytes: 1 << 30,
		},
		Capture: Capture{SpoolBytes: 256 << 20, StopAtDiskPercent: 75, ResumeBelowDiskPercent: 70},
		Devices: defaultDevices(),
		Log:     Log{Level: "info", Format: "text", Requests: "info", Invocations: Off},
	}
}

// Load reads the YAML file at path over the defaults and validates the
// outcome. A key that Slipway does not know is an error. Every fault is
// reported at once, as a *Fault with its file, line and key.
func Load(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	return parse(path, text)
}

// Parse reads YAML as Load does.
func Parse(text []byte) (Config, error) { return parse("", text) }

func parse(file string, text []byte) (Config, error) {
	c := Default()
	if err := decode(file, text, &c); err != nil {
		return Config{}, err
	}
	return c, nil
}

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	regionPattern  = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)*-[0-9]+$`)
)

// Validate reports every fault at once, each with the key to mend.
func (c Config) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if err := checkAddress(c.Listen); err != nil {
		bad("listen: %w", err)
	}
	if c.DataDir == "" {
		bad("dataDir: must not be empty")
	}
	if !regionPattern.MatchString(c.Region) {
		bad("region: %q is not a region like us-east-1", c.Region)
	}
	if !accountPattern.MatchString(c.Account) {
		bad("account: %q is not a number of 12 digits; quote it in YAML", c.Account)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Images)) {
		switch command := c.Images[name].Command; {
		case name == "" || len(name) > 255 || strings.ContainsAny(name, " \t\r\n"):
			bad("images: %q cannot be the name of an image", name)
		case len(command) == 0 || command[0] == "":
			bad("images.%s.command: must name a program", name)
		}
		if err := hosting.CheckVariables(c.Images[name].Environment); err != nil {
			bad("images.%s.environment: %w", name, err)
		}
	}
	if err := c.Database.check(); err != nil {
		bad("database.url: %w", err)
	}
	faults = append(faults, c.Limits.faults()...)
	if c.Guardrails.MinimumRequests < 0 {
		bad("guardrails.minimumRequests: must not be negative")
	}
	for _, wrong := range append(gate.CheckServer(c.Guardrails.Gates), gate.ServerUnweighed(c.Guardrails.Gates)...) {
		bad("guardrails.gates.%s", wrong)
	}
	faults = append(faults, c.Capture.faults()...)
	faults = append(faults, c.Devices.faults()...)
	faults = append(faults, webhookFaults(c.Webhooks)...)
	levels := []string{"debug", "info", "warn", "error"}
	if !slices.Contains(levels, c.Log.Requests) {
		bad("log.requests: %q is none of debug, info, warn, error", c.Log.Requests)
	}
	if c.Log.Invocations != Off && !slices.Contains(levels, c.Log.Invocations) {
		bad("log.invocations: %q is none of off, debug, info, warn, error", c.Log.Invocations)
	}
	if !slices.Contains(levels, c.Log.Level) {
		bad("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format: %q is neither text nor json", c.Log.Format)
	}
	return errors.Join(faults...)
}

func (c Capture) faults() []error {
	var faults []error
	if c.SpoolBytes <= 0 {
		faults = append(faults, errors.New("capture.spoolBytes: must be above 0"))
	}
	if c.StopAtDiskPercent < 1 || c.StopAtDiskPercent > 100 {
		faults = append(faults, errors.New("capture.stopAtDiskPercent: must be 1 to 100"))
	}
	if c.ResumeBelowDiskPercent < 1 || c.ResumeBelowDiskPercent > c.StopAtDiskPercent {
		faults = append(faults, errors.New("capture.resumeBelowDiskPercent: must be 1 to capture.stopAtDiskPercent"))
	}
	return faults
}

func (l Limits) faults() []error {
	var faults []error
	for _, size := range []struct {
		key string
		n   int64
	}{
		{"maxBodyBytes", l.MaxBodyBytes},
		{"maxModelBytes", l.MaxModelBytes},
		{"modelCacheBytes", l.ModelCacheBytes},
		{"connections", l.Connections},
		{"connectionsPerAddress", l.ConnectionsPerAddress},
		{"connectionsPerKey", l.ConnectionsPerKey},
		{"requestMemoryBytes", l.RequestMemoryBytes},
	} {
		if size.n <= 0 {
			faults = append(faults, fmt.Errorf("limits.%s: must be above 0", size.key))
		}
	}
	for _, limit := range []struct {
		key string
		d   Duration
	}{
		{"modelTimeout", l.ModelTimeout},
		{"streamTimeout", l.StreamTimeout},
		{"startupWindow", l.StartupWindow},
		{"stopGrace", l.StopGrace},
		{"drainTimeout", l.DrainTimeout},
		{"uploadLifetime", l.UploadLifetime},
		{"presignedLifetime", l.PresignedLifetime},
	} {
		if limit.d <= 0 {
			faults = append(faults, fmt.Errorf("limits.%s: must be above 0", limit.key))
		}
	}
	if l.MaxBodyBytes > 0 && l.RequestMemoryBytes > 0 && l.RequestMemoryBytes < 4*l.MaxBodyBytes {
		faults = append(faults, errors.New(
			"limits.requestMemoryBytes: must be four times maxBodyBytes at the least, or no address could send such a body",
		))
	}
	if l.LameDuck < 0 {
		faults = append(faults, errors.New("limits.lameDuck: must not be negative"))
	}
	return faults
}

func (d Database) check() error {
	if d.URL == "" {
		return nil
	}
	u, err := url.Parse(d.URL)
	if err != nil {
		return errors.New("is not a URL") // the error would print the password
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return errors.New("must start with postgres://")
	}
	return nil
}

func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port", s)
	}
	if _, err := netip.ParseAddrPort("[::]:" + port); err != nil {
		return fmt.Errorf("%q is not a port", port)
	}
	if strings.ContainsAny(host, " /") {
		return fmt.Errorf("%q is not a host", host)
	}
	return nil
}

// Argv returns the command of image, and whether there is one. A program that
// lies beside the running one, as in a release, is named by its path; whether
// any other exists is found out when it is started.
func (c Config) Argv(image string) ([]string, bool) {
	i, known := c.Images[image]
	if !known || len(i.Command) == 0 {
		return nil, false
	}
	argv := slices.Clone(i.Command)
	if strings.Contains(argv[0], "/") {
		return argv, true
	}
	self, err := os.Executable()
	if err != nil {
		return argv, true
	}
	beside := filepath.Join(filepath.Dir(self), argv[0])
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		argv[0] = beside
	}
	return argv, true
}

// Variables returns what models of image may set in its environment.
func (c Config) Variables(image string) []string {
	allowed := c.Images[image].Environment
	if allowed == nil {
		allowed = hosting.DefaultVariables()
		if image == ONNXImage {
			for _, setting := range modelserverSettings() {
				allowed = append(allowed, "SLIPWAY_ONNX_"+setting)
			}
		}
	}
	return allowed
}

// modelserverSettings are those of slipway-onnx that it reads from a variable:
// where it listens, what it loads and where it logs are arguments alone.
func modelserverSettings() []string {
	return []string{
		"BATCH_FROM", "CONCURRENCY", "CUSTOM_ATTRIBUTES", "MAX_BATCH", "MAX_BODY", "MODEL_NAME", "QUEUE", "THREADS",
	}
}

// CredentialsPath is where the first start writes the administrator's keys.
func (c Config) CredentialsPath() string { return filepath.Join(c.DataDir, "credentials") }
