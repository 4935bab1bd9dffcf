package config_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/config"
)

// edgeManager is a file as Edge Manager's tooling wrote it, every key of spec
// §7.3 in it.
const edgeManager = `{
  "sagemaker_edge_core_device_uuid": "old-name",
  "sagemaker_edge_core_device_name": "cam-01",
  "sagemaker_edge_core_device_fleet_name": "plant-a",
  "sagemaker_edge_core_iot_thing_name": "thing:1",
  "sagemaker_edge_core_region": "us-west-2",
  "sagemaker_edge_core_root_certs_path": "/opt/edge/roots",
  "sagemaker_edge_core_endpoint_override": "edge.example.com:9443",
  "sagemaker_edge_provider_provider": "Aws",
  "sagemaker_edge_provider_provider_path": "/opt/edge/libprovider_aws.so",
  "sagemaker_edge_provider_aws_ca_cert_file": "/opt/edge/AmazonRootCA1.pem",
  "sagemaker_edge_provider_aws_cert_file": "/opt/edge/device.pem.crt",
  "sagemaker_edge_provider_aws_cert_pk_file": "/opt/edge/private.pem.key",
  "sagemaker_edge_provider_aws_iot_cred_endpoint":
    "https://c.example.com/role-aliases/SageMakerEdge-plant-a/credentials",
  "sagemaker_edge_provider_s3_bucket_name": "sagemaker-captures",
  "sagemaker_edge_core_folder_prefix": "demo/captures",
  "sagemaker_edge_core_capture_data_destination": "Cloud",
  "sagemaker_edge_core_capture_data_disk_path": "/var/edge/capture",
  "sagemaker_edge_core_capture_data_buffer_size": "40",
  "sagemaker_edge_core_capture_data_batch_size": 20,
  "sagemaker_edge_core_capture_data_push_period_seconds": " 5 ",
  "sagemaker_edge_core_capture_data_base64_embed_limit": 2048,
  "sagemaker_edge_core_capture_data_periodic_upload": "true",
  "sagemaker_edge_core_capture_data_periodic_upload_period_seconds": 9,
  "sagemaker_edge_log_verbose": true,
  "sagemaker_edge_telemetry_libsystemd_path": "/lib/libsystemd.so.0",
  "sagemaker_edge_db_module_path": "/opt/edge/libsagemaker_edge_db_handler_library.so",
  "sagemaker_edge_local_data_root_path": "/var/edge",
  "sagemaker_edge_deployment_lib_path": "/opt/edge/libdeployment_smedge_library.so",
  "sagemaker_edge_model_deployment_poll_interval": 30,
  "sagemaker_edge_dlr_backend_options": "TVM_TENSORRT_CACHE_DIR=/tmp"
}`

func TestAFileOfEdgeManagersAgentIsReadUnchanged(t *testing.T) {
	c, err := config.Parse([]byte(edgeManager), config.Place{Dir: "/etc"})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Device, want.Fleet, want.Thing, want.Region = "cam-01", "plant-a", "thing:1", "us-west-2"
	want.RootsDir, want.DataRoot, want.Socket = "/opt/edge/roots", "/var/edge", "/etc/agent.sock"
	want.Poll, want.Verbose, want.LogLevel = 30*time.Minute, true, "debug"
	want.Cloud = config.Cloud{
		Provider: "Aws", Endpoint: "edge.example.com:9443",
		Credentials: "https://c.example.com/role-aliases/SageMakerEdge-plant-a/credentials",
		CAFile:      "/opt/edge/AmazonRootCA1.pem", CertFile: "/opt/edge/device.pem.crt",
		KeyFile: "/opt/edge/private.pem.key",
	}
	want.Capture = config.Capture{
		Destination: "Cloud", Dir: "/var/edge/capture", Bucket: "sagemaker-captures", Prefix: "demo/captures",
		Buffer: 40, Batch: 20, Push: 5 * time.Second, EmbedLimit: 2048, Upload: true, UploadPeriod: 9 * time.Second,
	}
	want.Ignored = []string{"sagemaker_edge_dlr_backend_options"}
	if got, want := dump(t, c), dump(t, want); got != want {
		t.Errorf("read\n%s\nwant\n%s", got, want)
	}
	if got := c.DataURL(); got != "https://edge.example.com:9443" {
		t.Errorf("the data plane is at %s", got)
	}
	if got := c.ObjectsURL(); got != "https://edge.example.com:9443" {
		t.Errorf("objects are at %s", got)
	}
}

func dump(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// with returns the least file that is valid, with changes. A nil value takes a
// key away.
func with(t *testing.T, changes map[string]any) []byte {
	t.Helper()
	file := map[string]any{
		"sagemaker_edge_core_device_name":               "cam-01",
		"sagemaker_edge_core_device_fleet_name":         "plant-a",
		"sagemaker_edge_core_region":                    "us-east-1",
		"sagemaker_edge_core_root_certs_path":           "roots",
		"sagemaker_edge_provider_aws_cert_file":         "device.pem.crt",
		"sagemaker_edge_provider_aws_cert_pk_file":      "private.pem.key",
		"sagemaker_edge_provider_aws_iot_cred_endpoint": "https://s.example.com:9443/role-aliases/A/credentials",
	}
	for k, v := range changes {
		if v == nil {
			delete(file, k)
			continue
		}
		file[k] = v
	}
	return []byte(dump(t, file))
}

// meaning is what changes of a file do to a configuration.
type meaning struct {
	changes map[string]any
	get     func(config.Config) any
	want    any
}

func TestKeysMeanWhatTheyAlwaysMeant(t *testing.T) {
	check(t, map[string]meaning{
		"the old name of the device's name": {
			map[string]any{"sagemaker_edge_core_device_name": nil, "sagemaker_edge_core_device_uuid": "u-1"},
			func(c config.Config) any { return c.Device }, "u-1",
		},
		"a file of the old agent keeps its day between polls": {
			nil, func(c config.Config) any { return c.Poll }, 24 * time.Hour,
		},
		"a file with a key of ours polls every minute": {
			map[string]any{"slipway_heartbeat_seconds": 30}, func(c config.Config) any { return c.Poll }, time.Minute,
		},
		"seconds win over minutes": {
			map[string]any{"slipway_poll_seconds": "7", "sagemaker_edge_model_deployment_poll_interval": 9},
			func(c config.Config) any { return c.Poll }, 7 * time.Second,
		},
		"a credentials host alone means the fleet's own alias": {
			map[string]any{"sagemaker_edge_provider_aws_iot_cred_endpoint": "c.example.com"},
			func(c config.Config) any { return c.CredentialsURL() },
			"https://c.example.com/role-aliases/SageMakerEdge-plant-a/credentials",
		},
		"the data plane is where credentials come from": {
			nil, func(c config.Config) any { return c.DataURL() + " " + c.ObjectsURL() },
			"https://s.example.com:9443 https://s.example.com:9443",
		},
	})
}

func TestPlacesAndEnginesAreSettled(t *testing.T) {
	check(t, map[string]meaning{
		"objects may lie elsewhere": {
			map[string]any{"slipway_s3_endpoint": "https://s3.example.com/"},
			func(c config.Config) any { return c.DataURL() + " " + c.ObjectsURL() },
			"https://s.example.com:9443 https://s3.example.com",
		},
		"paths begin at the file": {
			map[string]any{"slipway_data_root": "data"},
			func(c config.Config) any { return c.Cloud.KeyFile + " " + c.RootsDir + " " + c.DataRoot },
			"/b/private.pem.key /b/roots /b/data",
		},
		"captured data lies below the data root": {
			map[string]any{"slipway_data_root": "/d"},
			func(c config.Config) any { return c.CaptureDir() },
			"/d/capture",
		},
		"an engine is a command": {
			map[string]any{"slipway_engines": map[string]any{"opaque": []string{"serve", "{port}"}}},
			func(c config.Config) any { return c.Engines["opaque"].Command[0] }, "serve",
		},
		"an engine may say how tensors travel": {
			map[string]any{
				"slipway_engines": map[string]any{"dlr": map[string]any{"command": []string{"dlr"}, "format": "npy"}},
			},
			func(c config.Config) any { return c.Engines["dlr"].Command[0] + " " + c.Engines["dlr"].Format }, "dlr npy",
		},
		"the socket has a mode": {
			map[string]any{"slipway_socket_mode": "0600"},
			func(c config.Config) any { return c.SocketMode },
			fs.FileMode(0o600),
		},
		"a level wins over being verbose": {
			map[string]any{"sagemaker_edge_log_verbose": "true", "slipway_log_level": "warn"},
			func(c config.Config) any { return c.LogLevel }, "warn",
		},
		"null is absent": {
			map[string]any{"slipway_socket": json.RawMessage("null")},
			func(c config.Config) any { return c.Socket + " " + c.DataRoot }, "/b/agent.sock /b/data",
		},
		"without a provider only the names are needed": {
			map[string]any{
				"sagemaker_edge_provider_provider": "None", "sagemaker_edge_provider_aws_cert_file": nil,
				"sagemaker_edge_provider_aws_cert_pk_file": nil, "sagemaker_edge_provider_aws_iot_cred_endpoint": nil,
				"sagemaker_edge_core_root_certs_path": nil, "sagemaker_edge_core_region": nil,
			},
			func(c config.Config) any { return c.Cloud.Provider }, "None",
		},
	})
}

func check(t *testing.T, cases map[string]meaning) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := config.Parse(with(t, tc.changes), config.Place{Dir: "/b"})
			if err != nil {
				t.Fatal(err)
			}
			if got := tc.get(c); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEveryFaultIsToldAtOnceByItsKey(t *testing.T) {
	bad := map[string]any{
		"sagemaker_edge_core_device_name":                      "-cam",
		"sagemaker_edge_core_device_fleet_name":                7,
		"sagemaker_edge_core_region":                           "us-east-1-and-more",
		"sagemaker_edge_core_iot_thing_name":                   "a thing",
		"sagemaker_edge_core_root_certs_path":                  nil,
		"sagemaker_edge_provider_aws_cert_pk_file":             nil,
		"sagemaker_edge_provider_aws_iot_cred_endpoint":        "http://s.example.com/role-aliases/A/credentials",
		"sagemaker_edge_provider_s3_bucket_name":               "No Bucket",
		"sagemaker_edge_core_folder_prefix":                    "../out",
		"sagemaker_edge_core_capture_data_destination":         "Moon",
		"sagemaker_edge_core_capture_data_buffer_size":         "many",
		"sagemaker_edge_core_capture_data_batch_size":          30,
		"sagemaker_edge_core_capture_data_base64_embed_limit":  4096,
		"sagemaker_edge_core_capture_data_periodic_upload":     "perhaps",
		"sagemaker_edge_core_capture_data_push_period_seconds": 1.5,
		"slipway_endpoint":                                     "https://user@s.example.com",
		"slipway_s3_endpoint":                                  "https://s.example.com/path",
		"slipway_tolerate_clock":                               true,
		"slipway_poll_seconds":                                 0,
		"slipway_spread_seconds":                               -1,
		"slipway_heartbeat_seconds":                            json.RawMessage("99999999999999999999"),
		"slipway_loopback":                                     "localhost",
		"slipway_token_file":                                   nil,
		"slipway_socket_mode":                                  "rw",
		"slipway_socket_uids":                                  []int{-1},
		"slipway_onnx_threads":                                 -1,
		"slipway_max_message_bytes":                            1,
		"slipway_engines":                                      "onnx",
		"slipway_model_memory_mb":                              -1,
		"slipway_agent_memory_mb":                              json.RawMessage("9223372036854775807"),
		"slipway_max_package_mb":                               0,
		"slipway_socket":                                       "/" + strings.Repeat("s", 200),
		"slipway_log_level":                                    "loud",
	}
	_, err := config.Parse(with(t, bad), config.Place{Dir: "/b"})
	if err == nil {
		t.Fatal("nothing was refused")
	}
	for key := range bad {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing is said of %s in:\n%v", key, err)
		}
	}
}

func TestWhatIsNoConfigurationIsRefused(t *testing.T) {
	for _, text := range []string{"", "[]", "nonsense", "{}{}", `{"a":`} {
		if _, err := config.Parse([]byte(text), config.Place{Dir: "/"}); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	path := filepath.Join(t.TempDir(), "agent.json")
	if err := os.WriteFile(path, []byte(`{"a":"`+strings.Repeat("x", 1<<20)+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, "", none); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a huge file: %v", err)
	}
}

func none(string) string { return "" }

func TestAServiceHasItsDataAndSocketWhereSystemdWantsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.json")
	env := map[string]string{
		"STATE_DIRECTORY": "/var/lib/slipway-agent:/other", "RUNTIME_DIRECTORY": "/run/slipway-agent",
	}
	for set, want := range map[string]string{
		"": "/var/lib/slipway-agent /run/slipway-agent/agent.sock", "set": "/d /s",
	} {
		changes := map[string]any{}
		if set != "" {
			changes = map[string]any{"slipway_data_root": "/d", "slipway_socket": "/s"}
		}
		if err := os.WriteFile(path, with(t, changes), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, "", func(k string) string { return env[k] })
		if got := c.DataRoot + " " + c.Socket; got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", set, got, err, want)
		}
	}
}

func TestUnknownKeysAreRememberedForOneLineOfTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.json")
	if err := os.WriteFile(path, with(t, map[string]any{"zeta": 1, "slipway_future": []int{1}}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, "", none)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"slipway_future", "zeta"}; !slices.Equal(c.Ignored, want) {
		t.Errorf("ignored %q, want %q", c.Ignored, want)
	}
	if want := filepath.Join(filepath.Dir(path), "roots"); c.RootsDir != want {
		t.Errorf("roots in %s, want %s", c.RootsDir, want)
	}
}

func FuzzAnyFileIsReadOrRefused(f *testing.F) {
	f.Add([]byte(edgeManager))
	f.Add([]byte(`{"slipway_engines":{"":[""],"a":{"command":["x"]}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := config.Parse(text, config.Place{Dir: "/"}); err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("what was read is not valid: %v", err)
			}
		}
	})
}

// People mend what they are told of: where it is, what it is, and what was meant.
func TestFaultsNameFileLineAndTheNearestKey(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\n  \"slipway_sokcet\": \"x\",\n  \"slipway_onnx_threads\": \"two\",\n" +
			"  \"slipway_log_level\": \"loud\"\n}": "" +
			"F:3: slipway_sokcet: is no key of the agent's; did you mean slipway_socket?\n" +
			"F:4: slipway_onnx_threads: must be a whole number, or a string with one\n" +
			"F:5: slipway_log_level: ",
		"{\"a\": 1,\n\"slipway_socket\": \"x\",\n\"slipway_socket\": \"y\"}": "F:3: slipway_socket: is given twice; " +
			"the first is in line 2",
		"{\n\"a\": 1,\n,}":     "F:3: not a JSON object: ",
		"\n[]":                 "F:2: not a JSON object: ",
		"{}\n{}":               "F:2: more than one JSON value",
		"":                     "F:1: not a JSON object: ",
		"{\"slipway_socket\":": "F:1: not a JSON object: ",
	} {
		path := filepath.Join(t.TempDir(), "agent.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path, "", func(string) string { return "" })
		if err == nil {
			t.Errorf("%s was taken", text)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), path, "F"); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
}
