package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// ownPrefix begins every key that is ours.
const ownPrefix = "slipway_"

// Place is where a configuration stands and what its place offers. Paths that
// are not absolute begin at Dir, so that a bundle may lie anywhere. State and
// Runtime are the directories that a service manager made for data and for
// sockets; "" leaves both in Dir. Socket wins over what the file says, unless
// it is "".
type Place struct{ Dir, State, Runtime, Socket string }

// Load reads the file at path over the defaults and validates the outcome. Every
// fault is in the error, as a *Fault with its file, line and key. socket, if not
// "", wins over the file's; getenv tells what systemd made for the service.
func Load(path, socket string, getenv func(string) string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer f.Close() // only read: nothing can be lost
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, err
	}
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, err
	}
	first := func(list string) string { dir, _, _ := strings.Cut(list, ":"); return dir }
	return parse(
		path, text, Place{dir, first(getenv("STATE_DIRECTORY")), first(getenv("RUNTIME_DIRECTORY")), socket},
	)
}

// Parse reads the text of a file at a place. Every fault is in the error.
func Parse(text []byte, at Place) (Config, error) { return parse("", text, at) }

func parse(file string, text []byte, at Place) (Config, error) {
	c := Default()
	c.DataRoot, c.Socket = filepath.Join(at.State, c.DataRoot), filepath.Join(at.Runtime, c.Socket)
	if at.State != "" {
		c.DataRoot = at.State
	}
	d := &document{file: file, text: text}
	if !d.open() {
		return Config{}, d.err()
	}
	known := c.settings()
	for _, key := range slices.Sorted(maps.Keys(d.keys)) {
		set, ok := known[key]
		switch {
		case ok && string(d.keys[key]) != "null":
			if err := set(d.keys[key]); err != nil {
				d.fault(d.lines[key], key, err.Error())
			}
		case ok || loaded(key) || d.misspelt(key, known):
		default:
			c.Ignored = append(c.Ignored, key)
		}
	}
	c.settle(d.keys)
	c.anchor(at.Dir)
	if at.Socket != "" {
		c.Socket = at.Socket
	}
	if err := c.Validate(); err != nil {
		d.refused(err)
	}
	if err := d.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// settle gives the defaults that depend on other keys.
func (c *Config) settle(file map[string]json.RawMessage) {
	has := func(key string) bool { _, ok := file[key]; return ok }
	ours := false
	for key := range file {
		ours = ours || strings.HasPrefix(key, ownPrefix)
	}
	// A file of the old agent keeps the pace that it had (spec §8.2, 4).
	if !ours && !has("sagemaker_edge_model_deployment_poll_interval") {
		c.Poll = oldPoll
	}
	// The newer name of a key wins, wherever they stand in the file.
	for newer, older := range map[string]string{
		"sagemaker_edge_core_device_name": "sagemaker_edge_core_device_uuid",
		"slipway_endpoint":                "sagemaker_edge_core_endpoint_override",
		"slipway_tls_ca":                  "sagemaker_edge_provider_aws_ca_cert_file",
		"slipway_data_root":               "sagemaker_edge_local_data_root_path",
		"slipway_poll_seconds":            "sagemaker_edge_model_deployment_poll_interval",
	} {
		if has(newer) && has(older) {
			// A fault in it was told already.
			_ = c.settings()[newer](file[newer])
		}
	}
	if c.Verbose && !has("slipway_log_level") {
		c.LogLevel = "debug"
	}
}

// anchor makes the paths absolute.
func (c *Config) anchor(dir string) {
	for _, p := range []*string{
		&c.RootsDir, &c.DataRoot, &c.Socket, &c.Capture.Dir, &c.TokenFile,
		&c.Cloud.CAFile, &c.Cloud.CertFile, &c.Cloud.KeyFile,
	} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// setter reads the value of one key.
type setter func(json.RawMessage) error

// settings are the keys that mean something, and where their values go.
func (c *Config) settings() map[string]setter {
	return map[string]setter{
		"sagemaker_edge_core_device_name":       text(&c.Device),
		"sagemaker_edge_core_device_uuid":       text(&c.Device), // its name until 2021
		"sagemaker_edge_core_device_fleet_name": text(&c.Fleet),
		"sagemaker_edge_core_iot_thing_name":    text(&c.Thing),
		"sagemaker_edge_core_region":            text(&c.Region),
		"sagemaker_edge_core_root_certs_path":   text(&c.RootsDir),
		"sagemaker_edge_core_endpoint_override": text(&c.Cloud.Endpoint),

		"sagemaker_edge_provider_provider":              text(&c.Cloud.Provider),
		"sagemaker_edge_provider_aws_ca_cert_file":      text(&c.Cloud.CAFile),
		"sagemaker_edge_provider_aws_cert_file":         text(&c.Cloud.CertFile),
		"sagemaker_edge_provider_aws_cert_pk_file":      text(&c.Cloud.KeyFile),
		"sagemaker_edge_provider_aws_iot_cred_endpoint": text(&c.Cloud.Credentials),
		"sagemaker_edge_provider_s3_bucket_name":        text(&c.Capture.Bucket),

		"sagemaker_edge_core_folder_prefix":                               text(&c.Capture.Prefix),
		"sagemaker_edge_core_capture_data_destination":                    text(&c.Capture.Destination),
		"sagemaker_edge_core_capture_data_disk_path":                      text(&c.Capture.Dir),
		"sagemaker_edge_core_capture_data_buffer_size":                    whole(&c.Capture.Buffer),
		"sagemaker_edge_core_capture_data_batch_size":                     whole(&c.Capture.Batch),
		"sagemaker_edge_core_capture_data_push_period_seconds":            seconds(&c.Capture.Push),
		"sagemaker_edge_core_capture_data_base64_embed_limit":             whole(&c.Capture.EmbedLimit),
		"sagemaker_edge_core_capture_data_periodic_upload":                flag(&c.Capture.Upload),
		"sagemaker_edge_core_capture_data_periodic_upload_period_seconds": seconds(&c.Capture.UploadPeriod),

		"sagemaker_edge_log_verbose":                    flag(&c.Verbose),
		"sagemaker_edge_local_data_root_path":           text(&c.DataRoot),
		"sagemaker_edge_model_deployment_poll_interval": minutes(&c.Poll),

		"slipway_endpoint":          text(&c.Cloud.Endpoint),
		"slipway_s3_endpoint":       text(&c.Cloud.Objects),
		"slipway_tls_ca":            text(&c.Cloud.CAFile),
		"slipway_tolerate_clock":    flag(&c.Cloud.TolerateClock),
		"slipway_data_root":         text(&c.DataRoot),
		"slipway_poll_seconds":      seconds(&c.Poll),
		"slipway_heartbeat_seconds": seconds(&c.Heartbeat),
		"slipway_spread_seconds":    seconds(&c.Spread),
		"slipway_socket":            text(&c.Socket),
		"slipway_socket_mode":       mode(&c.SocketMode),
		"slipway_socket_uids":       users(&c.AllowUIDs),
		"slipway_loopback":          text(&c.Loopback),
		"slipway_token_file":        text(&c.TokenFile),
		"slipway_max_message_bytes": whole(&c.MaxMessage),
		"slipway_engines":           engines(&c.Engines),
		"slipway_onnx_program":      text(&c.ONNX.Program),
		"slipway_onnx_library":      text(&c.ONNX.Library),
		"slipway_onnx_threads":      whole(&c.ONNX.Threads),
		"slipway_model_memory_mb":   mebibytes(&c.ModelMemory),
		"slipway_agent_memory_mb":   mebibytes(&c.AgentMemory),
		"slipway_max_package_mb":    mebibytes(&c.MaxPackage),
		"slipway_strict_time":       flag(&c.StrictTime),
		"slipway_log_level":         text(&c.LogLevel),
	}
}

// loaded reports whether key names something of the old agent's that is built
// into this one, or means nothing to it by design: not worth a word.
func loaded(key string) bool {
	switch key {
	case "sagemaker_edge_provider_provider_path", "sagemaker_edge_telemetry_libsystemd_path",
		"sagemaker_edge_db_module_path", "sagemaker_edge_deployment_lib_path":
		return true
	}
	return false
}

func text(to *string) setter {
	return func(raw json.RawMessage) error {
		if err := json.Unmarshal(raw, to); err != nil {
			return errors.New("must be a string")
		}
		*to = strings.TrimSpace(*to)
		return nil
	}
}

// number reads a number, or a string that holds one.
func number(raw json.RawMessage) (int64, error) {
	s := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &s); err != nil {
			return 0, err
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, errors.New("must be a whole number, or a string with one")
	}
	return n, nil
}

func whole[T int | int64](to *T) setter {
	return func(raw json.RawMessage) error {
		n, err := number(raw)
		if err != nil {
			return err
		}
		if int64(T(n)) != n {
			return fmt.Errorf("%d is too large", n)
		}
		*to = T(n)
		return nil
	}
}

// scaled reads a number of units; what does not fit is a fault.
func scaled(raw json.RawMessage, unit int64) (int64, error) {
	n, err := number(raw)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, fmt.Errorf("%d is too large", n)
	}
	return n * unit, nil
}

func seconds(to *time.Duration) setter { return duration(to, time.Second) }

func minutes(to *time.Duration) setter { return duration(to, time.Minute) }

func duration(to *time.Duration, unit time.Duration) setter {
	return func(raw json.RawMessage) error {
		n, err := scaled(raw, int64(unit))
		if err == nil {
			*to = time.Duration(n)
		}
		return err
	}
}

func mebibytes(to *int64) setter {
	return func(raw json.RawMessage) error {
		n, err := scaled(raw, 1<<20)
		if err == nil {
			*to = n
		}
		return err
	}
}

// flag reads a truth value, or a string that holds one.
func flag(to *bool) setter {
	return func(raw json.RawMessage) error {
		s := string(raw)
		if len(raw) > 0 && raw[0] == '"' {
			if err := json.Unmarshal(raw, &s); err != nil {
				return err
			}
		}
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "true", "1":
			*to = true
		case "false", "0", "":
			*to = false
		default:
			return errors.New("must be true or false")
		}
		return nil
	}
}

// mode reads permissions, "0660".
func mode(to *fs.FileMode) setter {
	return func(raw json.RawMessage) error {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return errors.New(`must be a string such as "0660"`)
		}
		n, err := strconv.ParseUint(s, 8, 9)
		if err != nil {
			return fmt.Errorf("%q is not permissions such as 0660", s)
		}
		*to = fs.FileMode(n)
		return nil
	}
}

func users(to *[]uint32) setter {
	return func(raw json.RawMessage) error {
		if json.Unmarshal(raw, to) != nil {
			return errors.New("must be a list of user ids")
		}
		return nil
	}
}

// engines reads programs by runtime; a list alone is a command.
func engines(to *map[string]Engine) setter {
	return func(raw json.RawMessage) error {
		var given map[string]json.RawMessage
		if json.Unmarshal(raw, &given) != nil {
			return errors.New(`must map runtimes to programs: {"opaque": ["program", "argument"]}`)
		}
		*to = make(map[string]Engine, len(given))
		for _, runtime := range slices.Sorted(maps.Keys(given)) {
			var e Engine
			dec := json.NewDecoder(bytes.NewReader(given[runtime]))
			dec.DisallowUnknownFields()
			if json.Unmarshal(given[runtime], &e.Command) != nil && dec.Decode(&e) != nil {
				return fmt.Errorf(`%q must be a command, or have "command", "format", "env" and "header"`, runtime)
			}
			(*to)[runtime] = e
		}
		return nil
	}
}
