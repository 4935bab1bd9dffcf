// Package arch holds the tests that keep the import graph as documented.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const mod = "github.com/slipway-ml/slipway/"

// wings lists the folders from the bottom up (docs/ARCHITECTURE.md, "The
// house"). A package may import from the wings below its own and from its own
// children. A folder missing here fails the test: decide on purpose.
var wings = []struct {
	name    string
	folders []string
}{
	{"domain", []string{"internal/domain"}},
	{"platform", []string{"internal/platform"}},
	{"service", []string{"internal/service"}},
	{"wire", []string{"internal/wire"}},
	{"api", []string{"internal/api"}},
	{"programs", []string{"internal/app", "internal/config", "internal/cli", "internal/demo", "internal/modelserver", "internal/bench", "internal/openload", "models", "internal/agent", "internal/simdevices"}},
	{"cmd", []string{"cmd", "tools", "internal/arch", "internal/docs", "internal/apptest", "internal/e2e", "internal/sim"}},
}

// sideways lists the imports inside a wing that are allowed, and why.
var sideways = map[string]map[string]string{
	"internal/domain/record": {"internal/domain/hosting": "it tells of an endpoint's deployment", "internal/domain/rollout": "a deployment's steps are a rollout's", "internal/domain/arn": "resources know their names", "internal/domain/fault": "an unknown deployment is a fault"},
	"internal/domain/notice": {"internal/domain/hosting": "it tells of an endpoint", "internal/domain/rollout": "and of what its fleets are doing"},
	"internal/api/slipway":   {"internal/api/sagemaker": "an update is planned as it is asked for"},

	"internal/domain/traffic":   {"internal/domain/arn": "an endpoint is of a scope"},
	"internal/domain/hosting":   {"internal/domain/traffic": "an endpoint says where its requests go", "internal/domain/arn": "resources know their names", "internal/domain/fault": "rules are refused with a fault", "internal/domain/rollout": "an accepted update is a rollout plan"},
	"internal/domain/arn":       {"internal/domain/fault": "a malformed name is a fault"},
	"internal/domain/edge":      {"internal/domain/arn": "resources know their names", "internal/domain/fault": "rules are refused with a fault"},
	"internal/domain/packaging": {"internal/domain/arn": "resources know their names", "internal/domain/fault": "rules are refused with a fault"},
	"internal/domain/trust":     {"internal/domain/arn": "resources know their names", "internal/domain/fault": "rules are refused with a fault"},
	"internal/domain/tensor":    {"internal/domain/fault": "inputs that do not fit are refused with a fault"},
	"internal/domain/rollout":   {"internal/domain/fault": "a plan that cannot run is a fault"},

	"internal/domain/alarm":         {"internal/domain/fault": "an alarm that cannot be is a fault"},
	"internal/domain/alarm/metric":  {"internal/domain/fault": "samples are refused with a fault"},
	"internal/domain/alarm/formula": {"internal/domain/fault": "an expression that makes no sense is a fault"},
	"internal/domain/alarm/rule":    {"internal/domain/fault": "a rule that makes no sense is a fault"},

	"internal/platform/store/storetest": {"internal/platform/pgtest": "tests run on PostgreSQL, too"},

	"internal/platform/provider/process": {"internal/platform/child": "instances are children"},

	"internal/platform/artifact": {"internal/platform/objects": "model data is an object"},
	"internal/platform/store":    {"internal/platform/loop": "it has the queues of loops"},
	"internal/wire/gateway": {
		"internal/wire/awsjson": "refusals are written in it", "internal/wire/awsquery": "refusals are written in it",
		"internal/wire/cborrpc": "refusals are written in it", "internal/wire/restjson": "refusals are written in it",
		"internal/wire/shape/cloudwatch": "its requests are told by their target", "internal/wire/shape/iot": "it has an API",
		"internal/wire/shape/sagemaker": "its requests are told by their target", "internal/wire/shape/sagemakeredge": "its requests are told by their paths",
		"internal/wire/shape/slipway": "its requests are told by their target", "internal/wire/shape/sts": "it has an API",
	},
	"internal/service/deployer": {"internal/service/evidence": "a turn decides on it"},
	"internal/service/evidence": {"internal/service/watch": "it says what makes a plan's alarms doubtful"},
	"internal/app":              {"internal/config": "it runs a configuration"},
	"internal/bench": {
		"internal/openload": "it measures at a fixed rate", "internal/simdevices": "it measures a server under a fleet of devices", "models": "it deploys and swaps them",
		"internal/agent/engine": "it swaps models as the agent does", "internal/agent/handles": "it swaps models as the agent does", "internal/agent/model": "it swaps models as the agent does",
		"internal/agent/serve": "and calls them as applications do", "internal/agent/proto/edgemanager": "and calls them as applications do",
	},
	"internal/demo": {"internal/openload": "it puts the endpoint under load", "models": "it deploys them", "internal/agent/proto/edgemanager": "an application on a device speaks it"},
	"internal/cli":  {"internal/app": "commands run programs", "internal/config": "commands read configuration", "internal/demo": "a command runs it", "internal/agent/enroll": "it enrolls for a device that gets a bundle", "internal/simdevices": "a command runs it"},

	"internal/agent/enroll": {"internal/agent/config": "it writes one that can be read"},

	"internal/modelserver/onnxtest": {"internal/modelserver/onnx": "it starts the runtime for tests"},
	"internal/agent/capture":        {"internal/agent/model": "tensor types have words in captured data"},
	"internal/agent/depot":          {"internal/agent/disk": "it lies on one"},
	"internal/agent/device":         {"internal/agent/disk": "files go through it", "internal/agent/depot": "it keeps what is on the disk", "internal/agent/model": "it loads models"},
	"internal/agent/handles":        {"internal/agent/model": "it keeps loaded models"},
	"internal/agent/serve":          {"internal/agent/model": "it serves loaded models", "internal/agent/capture": "it takes captures", "internal/agent/shm": "tensors may lie in shared memory", "internal/agent/proto/edgemanager": "a protocol", "internal/agent/proto/oip": "a protocol", "internal/agent/handles": "its tests call through the table"},
	"internal/agent/engine":         {"internal/agent/model": "it serves its contract"},
	"internal/agent/golden":         {"internal/agent/model": "it asks a loaded model"},
	"internal/simdevices":           {"internal/agent/device": "each is the agent's state machine", "internal/agent/disk": "on a simulated disk", "internal/agent/depot": "which says what a device believes", "internal/agent/model": "it simulates an engine", "internal/agent/golden": "packages have golden inputs", "internal/openload": "it counts with its histogram"},
	"models/train":                  {"models/onnxwrite": "it writes what it trained"},
}

// everyWireMayImport are packages of the wire that the others there build on.
var everyWireMayImport = map[string]bool{
	"internal/wire/shape": true, "internal/wire/awserr": true, "internal/wire/access": true, "internal/wire/sigv4": true,
	"internal/wire/rpc": true, "internal/wire/page": true,
}

// everyPlatformMayImport are packages that any part of the platform may use.
var everyPlatformMayImport = map[string]bool{
	"internal/platform/failpoint": true, "internal/platform/id": true, "internal/platform/clock": true,
}

func wingOf(pkg string) int {
	for i, w := range wings {
		for _, f := range w.folders {
			if pkg == f || strings.HasPrefix(pkg, f+"/") {
				return i
			}
		}
	}
	return -1
}

func TestImportsGoDownward(t *testing.T) {
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, mod)
		from := wingOf(pkg)
		if from < 0 {
			t.Errorf("package %s has no rule", pkg)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, mod)
			if !ours {
				continue
			}
			to := wingOf(dep)
			switch {
			case to < from:
			case strings.HasPrefix(dep, pkg+"/"): // its own child
			case to == from && parent(dep) == parent(pkg) && wings[from].name == "wire" && everyWireMayImport[dep]:
			case to == from && wings[from].name == "platform" && everyPlatformMayImport[dep]:
			case to == from && sideways[pkg][dep] != "":
			case to == from && strings.HasPrefix(pkg, dep+"/"): // a child serves its parent's contract
			case wings[from].name == "cmd":
			default:
				t.Errorf("%s must not import %s", pkg, dep)
			}
		}
	}
}

// The domain is pure: it decides, and never does.
func TestTheDomainDoesNoIO(t *testing.T) {
	banned := map[string]bool{"os": true, "net": true, "net/http": true, "database/sql": true, "log": true, "log/slog": true, "sync": true, "math/rand": true}
	for _, p := range packages(t) {
		if wingOf(strings.TrimPrefix(p.ImportPath, mod)) != 0 {
			continue
		}
		for _, imp := range p.Imports {
			if banned[imp] {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

func parent(pkg string) string { return pkg[:max(0, strings.LastIndexByte(pkg, '/'))] }

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if len(ps) < 3 {
		t.Fatalf("only %d packages were listed", len(ps))
	}
	return ps
}
