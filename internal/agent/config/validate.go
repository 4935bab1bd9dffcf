package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the old agent's file (spec §7.3) and of the data plane's names
// (spec §1.5).
const (
	maxName   = 63
	maxRegion = 15
	maxEmbed  = 3072
	// longest is the longest period that makes sense.
	longest = 31 * 24 * time.Hour
)

// MaxSocket is the longest path of a socket, in bytes: it leaves room, in what
// the kernel takes, for those of workers, which are beside it.
const MaxSocket = 78

var (
	deviceName = regexp.MustCompile(`^[a-zA-Z0-9]([-_]*[a-zA-Z0-9])*$`)
	thingName  = regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// faults gathers everything that is wrong.
type faults []error

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

// unless adds a fault that does not hold.
func (f *faults) unless(ok bool, format string, args ...any) {
	if !ok {
		f.add(format, args...)
	}
}

// Validate reports every fault at once, in the names of the file's keys.
func (c Config) Validate() error {
	var f faults
	name := func(key, v string) {
		f.unless(len(v) <= maxName && deviceName.MatchString(v),
			"%s: %q must be 1 to %d letters, digits, '-' and '_', and begin and end with a letter or digit", key, v,
			maxName)
	}
	name("sagemaker_edge_core_device_name", c.Device)
	name("sagemaker_edge_core_device_fleet_name", c.Fleet)
	f.unless(c.Thing == "" || len(c.Thing) <= 128 && thingName.MatchString(c.Thing),
		"sagemaker_edge_core_iot_thing_name: %q is not a name of a thing", c.Thing)
	c.validateCloud(&f)
	c.validateCapture(&f)
	c.validatePaths(&f)
	span := func(key string, d time.Duration) {
		f.unless(d >= time.Second && d <= longest,
			"%s: must be from one second to %d days", key, longest/(24*time.Hour))
	}
	span("slipway_poll_seconds (or sagemaker_edge_model_deployment_poll_interval)", c.Poll)
	span("slipway_heartbeat_seconds", c.Heartbeat)
	f.unless(c.Spread >= 0 && c.Spread <= longest,
		"slipway_spread_seconds: must be from 0 to %d days", longest/(24*time.Hour))
	f.unless(c.Loopback == "" || hostPort(c.Loopback), "slipway_loopback: %q is not host:port", c.Loopback)
	f.unless(c.Loopback == "" || c.TokenFile != "",
		"slipway_token_file: is missing, and the loopback port is open to every user of the device")
	f.unless(c.SocketMode&0o200 != 0, "slipway_socket_mode: the owner must be able to connect")
	f.unless(c.MaxMessage >= 64<<10 && c.MaxMessage <= 1<<30, "slipway_max_message_bytes: must be from 64 KiB to 1 GiB")
	f.unless(c.ModelMemory >= 0, "slipway_model_memory_mb: must not be negative")
	f.unless(c.AgentMemory >= 16<<20, "slipway_agent_memory_mb: must be at least 16")
	f.unless(c.MaxPackage >= 1<<20, "slipway_max_package_mb: must be at least 1")
	for _, runtime := range slices.Sorted(maps.Keys(c.Engines)) {
		command := c.Engines[runtime].Command
		f.unless(runtime != "" && len(command) > 0 && command[0] != "", "slipway_engines: %q needs a program", runtime)
	}
	f.unless(c.ONNX.Threads >= 0 && c.ONNX.Threads <= 1024, "slipway_onnx_threads: must be 0 to 1024")
	f.unless(slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel),
		"slipway_log_level: %q is not debug, info, warn or error", c.LogLevel)
	return errors.Join(f...)
}

func hostPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
}

func (c Config) validateCloud(f *faults) {
	switch c.Cloud.Provider {
	case ProviderNone:
		return
	case ProviderAWS:
	default:
		f.add("sagemaker_edge_provider_provider: %q is not Aws or None (plug-ins are not loaded)", c.Cloud.Provider)
		return
	}
	f.unless(c.Region != "" && len(c.Region) <= maxRegion && regionName.MatchString(c.Region),
		"sagemaker_edge_core_region: %q is not a region's name", c.Region)
	need := func(key, v string) { f.unless(v != "", "%s: is missing", key) }
	need("sagemaker_edge_provider_aws_cert_file", c.Cloud.CertFile)
	need("sagemaker_edge_provider_aws_cert_pk_file", c.Cloud.KeyFile)
	need("sagemaker_edge_core_root_certs_path", c.RootsDir)
	if need("sagemaker_edge_provider_aws_iot_cred_endpoint", c.Cloud.Credentials); c.Cloud.Credentials != "" {
		u, err := url.Parse(c.CredentialsURL())
		f.unless(err == nil && secure(u) && strings.Contains(u.Path, "/role-aliases/"),
			"sagemaker_edge_provider_aws_iot_cred_endpoint: must be https://HOST/role-aliases/ALIAS/credentials")
	}
	for key, v := range map[string]string{
		"slipway_endpoint (or sagemaker_edge_core_endpoint_override)": c.Cloud.Endpoint,
		"slipway_s3_endpoint": c.Cloud.Objects,
	} {
		if v != "" {
			u, err := url.Parse(base(v, ""))
			f.unless(err == nil && secure(u) && u.Path == "" && u.RawQuery == "", "%s: must be https://HOST", key)
		}
	}
	f.unless(!c.Cloud.TolerateClock || c.Cloud.CAFile != "",
		"slipway_tolerate_clock: needs a CA of one's own in sagemaker_edge_provider_aws_ca_cert_file")
}

// secure reports whether u may carry signed requests: the signature protects
// them, but not what comes back.
func secure(u *url.URL) bool { return u.Scheme == "https" && u.Host != "" && u.User == nil }

func (c Config) validateCapture(f *faults) {
	const prefix = "sagemaker_edge_core_capture_data_"
	k := c.Capture
	cloud := k.Destination == ToCloud || k.Upload
	f.unless(k.Destination == ToCloud || k.Destination == ToDisk,
		"%sdestination: %q is not Cloud or Disk", prefix, k.Destination)
	f.unless(k.Bucket == "" || bucketName.MatchString(k.Bucket),
		"sagemaker_edge_provider_s3_bucket_name: %q is not the name of a bucket", k.Bucket)
	f.unless(!cloud || k.Bucket != "",
		"sagemaker_edge_provider_s3_bucket_name: is missing, and captured data is to be uploaded")
	f.unless(!cloud || c.Cloud.Provider != ProviderNone,
		"%sdestination: without a provider captured data stays on the disk", prefix)
	f.unless(k.Buffer >= 1 && k.Buffer <= 1<<20, "%sbuffer_size: must be 1 to %d", prefix, 1<<20)
	f.unless(k.Batch >= 1 && (k.Batch < k.Buffer || k.Buffer == 1),
		"%sbatch_size: must be at least 1 and less than the buffer's %d", prefix, k.Buffer)
	f.unless(k.EmbedLimit >= 1 && k.EmbedLimit <= maxEmbed, "%sbase64_embed_limit: must be 1 to %d", prefix, maxEmbed)
	f.unless(k.Push >= time.Second && k.Push <= longest, "%spush_period_seconds: must be at least 1", prefix)
	f.unless(k.UploadPeriod >= time.Second && k.UploadPeriod <= longest,
		"%speriodic_upload_period_seconds: must be at least 1", prefix)
	clean := k.Prefix == "" || filepath.IsLocal(k.Prefix) && !strings.Contains(k.Prefix, "\\")
	f.unless(clean, "sagemaker_edge_core_folder_prefix: %q leaves the folder", k.Prefix)
}

func (c Config) validatePaths(f *faults) {
	f.unless(c.DataRoot != "", "slipway_data_root (or sagemaker_edge_local_data_root_path): is missing")
	f.unless(c.Socket != "" && len(c.Socket) <= MaxSocket, "slipway_socket: a path of 1 to %d bytes", MaxSocket)
}
