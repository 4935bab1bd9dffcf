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
// docs/configuration.md is made of the comments here: begin each with the
// field's name.
type Config struct {
	// Device is the device's name.
	Device string
	// Fleet is the name of the fleet that it belongs to.
	Fleet string
	// Thing is what its certificate belongs to, if that has another name than
	// the device.
	Thing string
	// Region is the region of the fleet.
	Region string
	// RootsDir is the directory of the certificates that sign packages. Files
	// that anybody may write to are refused (spec §5.4).
	RootsDir string

	Cloud   Cloud
	Capture Capture

	// DataRoot holds packages and what the agent remembers. Two agents cannot
	// share one. Unless it is set, it is $STATE_DIRECTORY, which the service
	// manager made, or the directory "data" beside the file.
	DataRoot string
	// Poll is how often the agent asks for deployments, until the server hints
	// otherwise. A file without any key that begins with slipway_ keeps the old
	// agent's pace: once a day.
	Poll time.Duration
	// Heartbeat is how often the agent reports, until the server hints otherwise.
	Heartbeat time.Duration
	// Spread is within what time the first poll and heartbeat come after a start,
	// so that a fleet that got its power back does not come at once.
	Spread time.Duration
	// Socket is where applications connect; a path of at most 78 bytes. Unless
	// it is set or the command line says, it is agent.sock in $RUNTIME_DIRECTORY,
	// or beside the file.
	Socket string
	// SocketMode are the permissions of the socket.
	SocketMode fs.FileMode
	// AllowUIDs are the users who may connect; without any, all whom the
	// permissions let.
	AllowUIDs []uint32
	// Loopback is a host:port on the loopback interface that serves what the
	// socket does, for callers that show a token.
	Loopback string
	// TokenFile holds that token.
	TokenFile string
	// MaxMessage bounds a call of an application, in bytes.
	MaxMessage int64

	// ONNX says how slipway-onnx is started.
	ONNX ONNX
	// Engines are the programs that serve other runtimes, by the runtime's name:
	// a command under the container contract, ["program", "{port}"], or
	// {"command": […], "format": "oip-json", "env": {}, "header": {}}. In it
	// {port}, {socket} and {model_dir} stand for the worker's own.
	Engines map[string]Engine
	// ModelMemory is what all loaded models may take together; 0 means what the
	// machine has.
	ModelMemory int64
	// AgentMemory is what the agent's own heap aims to stay below.
	AgentMemory int64
	// MaxPackage bounds a package and what it unpacks to.
	MaxPackage int64
	// StrictTime refuses packages whose certificates the device's clock calls
	// expired or not yet valid.
	StrictTime bool
	// LogLevel is one of debug, info, warn and error.
	LogLevel string
	// Verbose makes the log level debug, if that is not set.
	Verbose bool

	// Ignored are the keys of the file that mean nothing here, sorted.
	Ignored []string
}

// Cloud says how to reach the server.
type Cloud struct {
	// Provider is Aws, or None for an agent that asks no server and serves what
	// applications load. Plug-ins are not loaded.
	Provider string
	// Credentials is where credentials come from: the whole URL
	// https://…/role-aliases/ALIAS/credentials, or a host alone, which means
	// the alias that the fleet got by default.
	Credentials string
	// Endpoint is where the data plane is, if not where credentials come from.
	Endpoint string
	// Objects is where the S3 API is, if not where the data plane is.
	Objects string
	// CAFile holds the certificates that the server is verified with; without
	// it the system's count.
	CAFile string
	// CertFile is the device's certificate.
	CertFile string
	// KeyFile is the certificate's private key.
	KeyFile string
	// TolerateClock accepts the server's certificate although the device's
	// clock calls it expired or not yet valid, as long as its chain, name and
	// purpose are right. It needs a file of CA certificates: only a CA of one's
	// own may be trusted that far. Who has stolen an expired key of the server's
	// can then pass for the server; packages are signed besides.
	TolerateClock bool
}

// Capture says what becomes of captured data (spec §7.5).
type Capture struct {
	// Destination is where captured data goes, Cloud or Disk.
	Destination string
	// Dir is where it lies on the disk; unless it is set, in the folder capture
	// below the data root.
	Dir string
	// Bucket is where it is uploaded to.
	Bucket string
	// Prefix begins the names of objects and of folders.
	Prefix string
	// Buffer is how many requests wait at most.
	Buffer int
	// Batch is how many requests are written together.
	Batch int
	// Push is how long requests wait for others to be written with.
	Push time.Duration
	// EmbedLimit is the largest tensor that is embedded, in bytes; larger ones
	// get a file of their own.
	EmbedLimit int
	// Upload has what lies on the disk uploaded, too, from time to time.
	Upload bool
	// UploadPeriod is the time between two such uploads.
	UploadPeriod time.Duration
}

// ONNX says how slipway-onnx is started.
type ONNX struct {
	// Program is the path of slipway-onnx, if that is neither beside the agent
	// nor on PATH.
	Program string
	// Library is the path of ONNX Runtime, if slipway-onnx does not find it by
	// itself.
	Library string
	// Threads is how many threads work on one run of a model; 0 means one a core.
	Threads int
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
