package arch

// rule says what some packages may import of the module. Patterns name
// packages; x/... is x and all below it. What no rule allows is forbidden: each
// wing imports from those below it alone, and the agent, the model server and
// the simulated devices stand beside the server, not on it. Imports by tests
// are free, but for the domain's.
type rule struct {
	who string
	may []string
}

// rules is every import that is allowed, from the bottom up
// (docs/ARCHITECTURE.md, "The house").
var rules = []rule{
	// The domain decides. Refusals are faults, resources know their names.
	{"internal/domain/fault", nil},
	{"internal/domain/spelling", nil},
	{"internal/domain/enroll", nil},
	{"internal/domain/evidence", nil},
	{"internal/domain/arn", may(domain("fault"))},
	{"internal/domain/tensor", may(domain("fault"))},
	{"internal/domain/traffic", may(domain("arn"))},
	{"internal/domain/gate", may(domain("evidence", "fault", "spelling"))},
	{"internal/domain/rollout", may(domain("fault", "gate"))},
	{"internal/domain/hosting", may(domain("arn", "fault", "gate", "rollout", "traffic"))},
	{"internal/domain/record", may(domain("arn", "evidence", "fault", "gate", "hosting", "rollout"))},
	{"internal/domain/notice", may(domain("hosting", "rollout"))},
	{"internal/domain/outcome", may(domain("hosting", "notice", "record", "rollout", "traffic"))},
	{"internal/domain/alarm", may(domain("fault", "alarm/formula", "alarm/metric", "alarm/rule"))},
	{"internal/domain/alarm/formula", may(domain("fault"))},
	{"internal/domain/alarm/metric", may(domain("fault"))},
	{"internal/domain/alarm/rule", may(domain("fault"))},
	{"internal/domain/edge", may(domain("arn", "evidence", "fault"))},
	{"internal/domain/packaging", may(domain("arn", "fault"))},
	{"internal/domain/trust", may(domain("arn", "fault"))},

	// The platform does, one thing each. Only the store knows what is decided.
	{"internal/platform/answer", may(domain("fault", "tensor"), platform("codec"))},
	{"internal/platform/artifact", may(domain("fault", "hosting"), platform("failpoint", "objects", "untrusted"))},
	{"internal/platform/bundle", may(platform("untrusted"))},
	{"internal/platform/build", nil},
	{"internal/platform/child", may(domain("fault"))},
	{"internal/platform/clock", nil},
	{"internal/platform/codec", may(domain("fault", "tensor"))},
	{"internal/platform/connlimit", nil},
	{"internal/platform/devicetls", may(domain("fault"), platform("connlimit"))},
	{"internal/platform/failpoint", nil},
	{"internal/platform/filelock", nil},
	{"internal/platform/interrupt", nil},
	{"internal/platform/http1", may(platform("connlimit"))},
	{"internal/platform/id", nil},
	{"internal/platform/loop", nil},
	{"internal/platform/objects", may(domain("fault"), platform("failpoint", "objects/checksum"))},
	{"internal/platform/objects/checksum", nil},
	{"internal/platform/oiphttp", may(domain("fault", "tensor"))},
	{"internal/platform/onnxfile", may(domain("tensor"))},
	{"internal/platform/pgtest", nil},
	{"internal/platform/provider", may(domain("hosting"))},
	{
		"internal/platform/provider/process",
		may(domain("fault", "hosting"), platform("child", "failpoint", "filelock", "provider")),
	},
	{"internal/platform/provider/providertest", may(domain("fault", "hosting"), platform("provider"))},
	{"internal/platform/provider/testmodel/...", nil},
	{"internal/platform/store", may(domain("fault", "hosting"), platform("loop"))},
	{"internal/platform/store/alarms", may(domain("alarm"), platform("store"))},
	{"internal/platform/store/edge", may(domain("arn", "edge", "fault"), platform("store"))},
	{
		"internal/platform/store/hosting",
		may(domain("arn", "hosting", "notice", "outcome", "record", "traffic"), platform("id", "loop", "store")),
	},
	{"internal/platform/store/identity", may(domain("arn", "trust"), platform("store"))},
	{"internal/platform/store/jobs", may(domain("arn", "packaging"), platform("store"))},
	{"internal/platform/store/metrics", may(domain("alarm/metric"), platform("store"))},
	{"internal/platform/store/storetest", may(platform("pgtest", "store"))},
	{"internal/platform/store/formats", nil},
	{"internal/platform/trips", may(domain("hosting"))},
	{"internal/platform/untrusted", nil},

	// A service is one aggregate's: of the store it knows that one's package.
	{"internal/service/...", may(domain("..."), platform("clock", "failpoint", "id", "loop"))},
	{"internal/service/alarms", may(platform("store/alarms", "store/hosting"), service("metrics"))},
	// It resolves the resources that tags are of, whatever their kind.
	{"internal/service/control", may(platform("store/edge", "store/hosting", "store/jobs"))},
	{"internal/service/capture", may(platform("connlimit", "objects"), service("router"))},
	{"internal/service/deployer", may(platform("store/hosting"), service("evidence"))},
	{"internal/service/gates", may(platform("answer", "connlimit"), service("router"))},
	{"internal/service/evidence", may(service("alarms", "metrics"))},
	{"internal/service/fleet", may(platform("store/edge"))},
	// It registers a device and gives it an identity in one transaction.
	{"internal/service/identity", may(platform("devicetls", "store/edge", "store/identity"))},
	{"internal/service/instance", may(platform("provider", "store/hosting"))},
	{"internal/service/mirror", may(platform("answer", "connlimit", "http1"), service("router"))},
	{"internal/service/notify", may(platform("store/hosting"))},
	{
		"internal/service/packaging",
		may(platform("artifact", "bundle", "child", "objects", "onnxfile", "store/jobs", "untrusted")),
	},
	{"internal/service/router", may(platform("connlimit", "http1"))},
	{"internal/service/metrics", may(platform("store/metrics"))},

	// The wire knows who calls and how a call is written, and no service.
	{"internal/wire/shape", may(domain("fault"))},
	{"internal/wire/shape/...", may(wire("shape"))},
	{"internal/wire/awserr", may(domain("fault"), wire("shape"))},
	{"internal/wire/rpc", may(domain("fault"), wire("access", "awserr", "shape"))},
	{"internal/wire/awsjson", may(wire("awserr", "rpc", "shape"))},
	{"internal/wire/awsquery", may(wire("awserr", "rpc", "shape"))},
	{"internal/wire/cborrpc", may(wire("awserr", "rpc", "shape"))},
	{"internal/wire/restjson", may(wire("awserr", "rpc", "shape"))},
	{"internal/wire/awshost", nil},
	{"internal/wire/eventstream", nil},
	{"internal/wire/tunnel", may(platform("connlimit"), wire("awshost"))},
	{"internal/wire/page", may(domain("arn", "fault"))},
	{"internal/wire/tags", may(domain("hosting"), wire("shape", "shape/cloudwatch", "shape/iot", "shape/sagemaker"))},
	{"internal/wire/sigv4", may(platform("objects", "objects/checksum"), wire("awshost"))},
	{"internal/wire/access", may(domain("arn", "fault"), wire("sigv4"))},
	{"internal/wire/gateway", may(domain("fault"), platform("connlimit"), wire("..."))},

	// An API turns shapes into a call of the service behind it.
	{"internal/api/...", may(domain("..."), wire("..."))},
	{"internal/api/cloudwatch", may(service("alarms", "metrics"))},
	{"internal/api/credentials", may(platform("connlimit", "devicetls"), service("identity"))},
	{"internal/api/iot", may(service("identity"))},
	{"internal/api/runtime", may(platform("connlimit", "http1"), service("router"))},
	{"internal/api/s3", may(platform("objects", "objects/checksum"))},
	{"internal/api/sagemaker", may(service("control"))},
	{"internal/api/sagemaker/fleet", may(service("fleet"), in("internal/api/sagemaker"))},
	{"internal/api/sagemaker/jobs", may(service("packaging"), in("internal/api/sagemaker"))},
	{"internal/api/slipway", may(service("control", "fleet", "identity", "packaging"), in("internal/api/sagemaker"))},

	// The agent is a program of its own: of the server's wings it knows what is
	// decided on both sides, and what files and tensors look like.
	{
		"internal/agent/...",
		may(domain("edge", "enroll", "fault", "tensor"), platform("bundle", "child", "codec", "untrusted")),
	},
	{"internal/agent", may(agent("..."), platform("build"))},
	{"internal/agent/capture", may(agent("model"))},
	{"internal/agent/cloudtest", may(wire("sigv4"))},
	{"internal/agent/config", may(domain("spelling"))},
	{"internal/agent/depot", may(agent("disk"))},
	{"internal/agent/device", may(agent("depot", "disk", "model"))},
	{"internal/agent/engine", may(agent("model"), platform("oiphttp"))},
	{"internal/agent/enroll", may(agent("config"))},
	{"internal/agent/golden", may(agent("model"))},
	{"internal/agent/handles", may(agent("model"))},
	{"internal/agent/mirror", may(agent("handles", "model"), platform("answer"))},
	{"internal/agent/serve", may(agent("capture", "handles", "model", "proto/...", "shm"), platform("oiphttp"))},

	// So is the model server.
	{"internal/modelserver", may(domain("fault", "tensor"), platform("codec", "oiphttp"))},
	{"internal/modelserver/onnx", may(domain("tensor"), platform("onnxfile"))},
	{"internal/modelserver/onnxtest", may(in("internal/modelserver/onnx"))},

	// A simulated fleet speaks to a server as agents do.
	{"internal/simdevices", may(
		agent("depot", "device", "disk", "golden", "model"), domain("edge", "fault", "tensor"), platform("bundle"),
		wire("shape", "shape/sagemaker", "shape/sagemakeredge", "shape/slipway"), in("internal/openload"),
	)},

	// The programs. Only app wires, and only a command runs it.
	{"internal/app", may(
		domain("..."), platform("..."), service("..."), wire("..."), in("internal/api/...", "internal/config"),
	)},
	{"internal/config", may(domain("gate", "hosting", "notice", "spelling"))},
	{"internal/cli", may(
		agent("enroll"), domain("edge", "enroll", "spelling"), platform("build", "bundle", "interrupt"),
		wire("shape", "shape/slipway", "tunnel"),
		in("internal/app", "internal/config", "internal/demo", "internal/simdevices"),
	)},
	{"internal/demo", may(agent("proto/edgemanager"), platform("child"), in("internal/openload", "models"))},
	{"internal/openload", nil},
	{"internal/gates", may(domain("evidence"))},
	{"internal/bench", may(
		agent("engine", "handles", "model", "proto/edgemanager", "serve"),
		domain("alarm/metric", "arn", "hosting", "outcome", "rollout", "traffic"),
		platform("bundle", "child", "connlimit", "http1", "objects", "pgtest", "store", "store/hosting"),
		service("capture", "gates", "mirror", "router"), wire("sigv4"),
		in("internal/api/runtime", "internal/openload", "internal/simdevices", "models", "models/onnxwrite"),
	)},
	{"cmd/slipway", may(in("internal/cli"))},
	{"cmd/slipway-agent", may(agent("config", "enroll"), platform("build", "interrupt"), in("internal/agent"))},
	{"cmd/slipway-onnx", may(
		platform("build", "interrupt", "onnxfile"), in("internal/modelserver", "internal/modelserver/onnx"),
	)},

	// The samples, and the tools and tests that nothing imports.
	{"models", nil},
	{"models/onnxwrite", nil},
	{"models/train", may(in("models/onnxwrite"))},
	{"tools/...", nil},
	{"internal/arch", nil},
	{"internal/docs", nil},
	{"internal/e2e", nil},
	{"internal/sim", nil},
}

func in(packages ...string) []string { return packages }

func domain(names ...string) []string   { return below("internal/domain/", names) }
func platform(names ...string) []string { return below("internal/platform/", names) }
func service(names ...string) []string  { return below("internal/service/", names) }
func wire(names ...string) []string     { return below("internal/wire/", names) }
func agent(names ...string) []string    { return below("internal/agent/", names) }

func below(folder string, names []string) (out []string) {
	for _, n := range names {
		out = append(out, folder+n)
	}
	return out
}

func may(lists ...[]string) (out []string) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
