// Package config is what a device agent can be told: Edge Manager's flat JSON
// file, read unchanged (spec §7.3), and keys of our own that begin with
// slipway_. A key that means nothing here is remembered, never an error: files
// of the old agent name libraries that this one does not need. Acting on a
// configuration is not its job.
package config

import (
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Providers of the cloud side.
const (
	ProviderAWS  = "Aws"  // credentials by certificate; ours speaks the same protocol
	ProviderNone = "None" // no cloud: models are loaded by applications alone
)

// Destinations of captured data.
const (
	ToCloud = "Cloud"
	ToDisk  = "Disk"
)

// Config tells an agent who it is, whom it trusts and what it may use. Start
// from Default: a key that is absent from a file keeps its default.
type Config struct {
	// Device and Fleet name the device, Thing is what its certificate belongs
	// to; "" when the device's name is the thing's too.
	Device, Fleet, Thing string
	Region               string
	// RootsDir is the directory of the certificates that sign packages. Files
	// that anybody may write to are refused (spec §5.4).
	RootsDir string

	Cloud   Cloud
	Capture Capture

	// DataRoot holds packages and what the agent remembers. Two agents cannot
	// share one. Unless it is set, it is what the service manager made, or the
	// directory "data" beside the file.
	DataRoot string
	// Poll and Heartbeat are how often the agent asks for deployments and
	// reports, until the server hints otherwise.
	Poll, Heartbeat time.Duration
	// Spread is within what time the first of each come after a start, so that
	// a fleet that got its power back does not come at once.
	Spread time.Duration
	// Socket is where applications connect: unless it is set or the command line
	// says, agent.sock in the service's runtime directory, or beside the file.
	// SocketMode is who may, and AllowUIDs, if there are any, who else may not.
	Socket     string
	SocketMode fs.FileMode
	AllowUIDs  []uint32
	// Loopback is a host:port on the loopback interface that serves what the
	// socket does; "" for none. Callers there show the token in TokenFile.
	Loopback, TokenFile string
	// MaxMessage bounds a call of an application, in bytes.
	MaxMessage int64

	// ONNX says how slipway-onnx is started, Engines what serves other
	// runtimes, by name.
	ONNX    ONNX
	Engines map[string]Engine
	// ModelMemory is what loaded models may take together, in bytes; 0 means
	// what the machine has.
	ModelMemory int64
	// AgentMemory is what the agent's own heap aims to stay below, in bytes.
	AgentMemory int64
	// MaxPackage bounds a package and what it unpacks to, in bytes.
	MaxPackage int64
	// StrictTime refuses packages whose certificates the device's clock calls
	// expired or not yet valid.
	StrictTime bool
	// LogLevel is debug, info, warn or error.
	LogLevel string

	// Ignored are the keys of the file that mean nothing here, sorted.
	Ignored []string
}

// Cloud says how to reach the server.
type Cloud struct {
	Provider string // ProviderAWS or ProviderNone
	// Credentials is the whole URL https://…/role-aliases/<alias>/credentials.
	Credentials string
	// Endpoint serves the data plane and Objects the S3 API; "" means where
	// Credentials points.
	Endpoint, Objects string
	// CAFile holds the certificates that the server is verified with; "" means
	// the system's. CertFile and KeyFile are the device's identity.
	CAFile, CertFile, KeyFile string
	// TolerateClock accepts the server's certificate although the device's
	// clock calls it expired or not yet valid. It needs a CAFile: only a CA of
	// one's own may be trusted that far. Who has stolen an expired key of the
	// server's can then pass for the server; packages are signed besides.
	TolerateClock bool
}

// Capture says what becomes of captured data (spec §7.5).
type Capture struct {
	Destination  string // ToCloud or ToDisk
	Dir          string // on the disk; "" means below the data root
	Bucket       string
	Prefix       string // may be empty
	Buffer       int    // requests that wait at most
	Batch        int    // requests that are flushed together
	Push         time.Duration
	EmbedLimit   int // larger tensors get a file of their own, in bytes
	Upload       bool
	UploadPeriod time.Duration
}

// ONNX says how slipway-onnx is started.
type ONNX struct {
	Program string // "" means beside the agent, or on PATH
	Library string // of ONNX Runtime; "" means where slipway-onnx finds it
	Threads int    // inside one run of a model
}

// Engine is a program of the container contract that serves a runtime. In its
// command {port}, {socket} and {model_dir} stand for the worker's own.
type Engine struct {
	Command []string          `json:"command"`
	Format  string            `json:"format,omitempty"` // how tensors travel; "" means oip-json
	Env     map[string]string `json:"env,omitempty"`
	Header  map[string]string `json:"header,omitempty"` // of every invocation
}

// Default returns the configuration of a file that says nothing.
func Default() Config {
	return Config{
		Cloud: Cloud{Provider: ProviderAWS},
		Capture: Capture{
			Destination: ToDisk, Buffer: 30, Batch: 10, Push: 4 * time.Second,
			EmbedLimit: maxEmbed, UploadPeriod: 8 * time.Second,
		},
		DataRoot:    "data",
		Poll:        time.Minute,
		Heartbeat:   5 * time.Minute,
		Spread:      10 * time.Second,
		Socket:      "agent.sock",
		SocketMode:  0o660,
		MaxMessage:  64 << 20,
		ONNX:        ONNX{Threads: 1},
		AgentMemory: 64 << 20,
		MaxPackage:  4 << 30,
		LogLevel:    "info",
	}
}

// oldPoll is how often Edge Manager's agent asked when its file did not say.
const oldPoll = 1440 * time.Minute

// DataURL returns the address of the data plane, without a trailing slash.
func (c Config) DataURL() string { return base(c.Cloud.Endpoint, c.CredentialsURL()) }

// ObjectsURL returns the address of the S3 API, without a trailing slash.
func (c Config) ObjectsURL() string { return base(c.Cloud.Objects, c.DataURL()) }

func base(own, other string) string {
	if own != "" {
		if !strings.Contains(own, "://") {
			own = "https://" + own
		}
		return strings.TrimRight(own, "/")
	}
	u, err := url.Parse(other)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// CredentialsURL returns where credentials come from. Edge Manager's guide calls
// the key a host name while every file in use has the whole URL (spec §5.1);
// a host alone means the alias that fleets get by default.
func (c Config) CredentialsURL() string {
	given := c.Cloud.Credentials
	if given == "" || strings.Contains(given, "://") {
		return given
	}
	return fmt.Sprintf("https://%s/role-aliases/SageMakerEdge-%s/credentials", strings.TrimRight(given, "/"), c.Fleet)
}

// CaptureDir returns where captured data lies on the disk.
func (c Config) CaptureDir() string {
	if c.Capture.Dir != "" {
		return c.Capture.Dir
	}
	return filepath.Join(c.DataRoot, "capture")
}

// RunDir returns the directory for the sockets of workers: beside the
// application's, which has to be short as well.
func (c Config) RunDir() string { return c.Socket + ".d" }
