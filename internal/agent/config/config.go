// Package config is what a device agent can be told: Edge Manager's flat JSON
// file, read unchanged (spec §7.3), and keys of our own that begin with
// slipway_. A key that means nothing here is remembered, never an error: files
// of the old agent name libraries that this one does not need. Acting on a
// configuration is not its job.
package config

import (
	"fmt"
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
	// share one.
	DataRoot string
	// Poll and Heartbeat are how often the agent asks for deployments and
	// reports, until the server hints otherwise.
	Poll, Heartbeat time.Duration
	// Socket is where applications connect, unless the command line says.
	Socket string
	// OIPHTTP and OIPGRPC are host:port addresses that serve the Open Inference
	// Protocol besides the socket; "" for none.
	OIPHTTP, OIPGRPC string
	// MaxMessage bounds a call of an application, in bytes.
	MaxMessage int64
	// Engines maps a package's runtime to the command that serves it; {port}
	// and {model_dir} stand for the instance's own.
	Engines map[string][]string
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

// Default returns the configuration of a file that says nothing.
func Default() Config {
	return Config{
		Cloud: Cloud{Provider: ProviderAWS},
		Capture: Capture{
			Destination: ToDisk, Buffer: 30, Batch: 10, Push: 4 * time.Second,
			EmbedLimit: maxEmbed, UploadPeriod: 8 * time.Second,
		},
		DataRoot:    "/var/lib/slipway-agent",
		Poll:        time.Minute,
		Heartbeat:   5 * time.Minute,
		Socket:      "/run/slipway-agent/agent.sock",
		MaxMessage:  64 << 20,
		AgentMemory: 48 << 20,
		MaxPackage:  16 << 30,
		LogLevel:    "info",
		Engines: map[string][]string{
			"onnx": {"slipway-onnx", "--model-dir", "{model_dir}", "--port", "{port}"},
		},
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
