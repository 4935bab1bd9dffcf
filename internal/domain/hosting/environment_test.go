package hosting

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Each of these has some program or library take code, configuration, trust or
// an address from whoever sets it.
func TestAModelSetsNothingThatARuntimeReads(t *testing.T) {
	for name := range strings.FieldsSeq(`
		LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG_OUTPUT LD_ORIGIN_PATH GCONV_PATH GLIBC_TUNABLES LOCPATH
		NLSPATH MALLOC_CONF HOSTALIASES RES_OPTIONS LOCALDOMAIN PATH HOME TMPDIR SHELL LANG IFS PS4
		ENV BASH_ENV SHELLOPTS BASHOPTS PROMPT_COMMAND BASH_FUNC_x BASH_XTRACEFD
		PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONUSERBASE PYTHONWARNINGS PYTHONBREAKPOINT
		PYTHONPYCACHEPREFIX PYTHONEXECUTABLE PYTHONPLATLIBDIR VIRTUAL_ENV PIP_INDEX_URL GUNICORN_CMD_ARGS FLASK_APP
		UVICORN_APP NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NODE_REPL_EXTERNAL_MODULE npm_config_registry
		PERL5LIB PERL5OPT PERL5DB PERLLIB PERL_UNICODE RUBYOPT RUBYLIB GEM_HOME GEM_PATH BUNDLE_GEMFILE
		JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH DOTNET_STARTUP_HOOKS CORECLR_PROFILER_PATH
		R_PROFILE R_LIBS LUA_INIT LUA_PATH PHPRC PHP_INI_SCAN_DIR JULIA_LOAD_PATH ERL_FLAGS TCLLIBPATH
		GODEBUG GOTRACEBACK GOGC GOMEMLIMIT GOCOVERDIR OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES
		SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE CURL_HOME GIT_SSH_COMMAND
		http_proxy HTTP_PROXY https_proxy HTTPS_PROXY ALL_PROXY no_proxy AWS_ENDPOINT_URL AWS_CONFIG_FILE
		OMP_TOOL_LIBRARIES KMP_SETTINGS CUDA_INJECTION64_PATH OCL_ICD_FILENAMES VK_ICD_FILENAMES XDG_CONFIG_HOME
		SAGEMAKER_BIND_TO_PORT SM_MODEL_DIR SLIPWAY_INSTANCE_ID SLIPWAY_INSTANCE_STATE SLIPWAY_INSTANCE_DIR
		SLIPWAY_ONNX_LIB SLIPWAY_ONNX_HOST SLIPWAY_ONNX_LISTEN SLIPWAY_ONNXRUNTIME SLIPWAY_FAILPOINT
		SLIPWAY_WORKER_TOKEN`) {
		c := Container{Name: "primary", Image: "i", Environment: map[string]string{"MODEL_A": "1", name: "x"}}
		if err := c.CheckEnvironment(DefaultVariables()); !errors.Is(err, fault.Invalid) ||
			!strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAModelSetsWhatItsImageAllows(t *testing.T) {
	for name, c := range map[string]struct {
		allowed []string
		set     string
		refused bool
	}{
		"what SageMaker documents":             {DefaultVariables(), "SAGEMAKER_PROGRAM", false},
		"another of them":                      {DefaultVariables(), "SAGEMAKER_MODEL_SERVER_WORKERS", false},
		"a setting of the model's own":         {DefaultVariables(), "MODEL_THRESHOLD", false},
		"a family that the image names":        {[]string{"HF_*"}, "HF_TASK", false},
		"a name that the image names":          {[]string{"PYTHONPATH"}, "PYTHONPATH", false},
		"more than that name":                  {[]string{"HF_TASK"}, "HF_TASK_2", true},
		"another spelling":                     {[]string{"HF_TASK"}, "hf_task", true},
		"anything where nothing is allowed":    {nil, "MODEL_A", true},
		"the loader's, whatever is allowed":    {[]string{"LD_*"}, "LD_PRELOAD", true},
		"the port, within an allowed family":   {[]string{"SAGEMAKER_*"}, "SAGEMAKER_BIND_TO_PORT", true},
		"Slipway's own, whatever is allowed":   {[]string{"SLIPWAY_*"}, "SLIPWAY_INSTANCE_STATE", true},
		"a setting of the built-in image":      {[]string{"SLIPWAY_ONNX_QUEUE"}, "SLIPWAY_ONNX_QUEUE", false},
		"the library of the built-in image":    {[]string{"SLIPWAY_ONNX_QUEUE"}, "SLIPWAY_ONNX_LIB", true},
		"the built-in image's other variable":  {[]string{"SLIPWAY_*"}, "SLIPWAY_ONNXRUNTIME", true},
		"an empty name where there are prefix": {DefaultVariables(), "", true},
	} {
		err := Container{Name: "primary", Environment: map[string]string{c.set: "x"}}.CheckEnvironment(c.allowed)
		if errors.Is(err, fault.Invalid) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// SDKs write what the container contract says anyhow, and the server sets over it.
func TestWhatTheContractSaysMayBeSaid(t *testing.T) {
	usual := map[string]string{"SAGEMAKER_BIND_TO_PORT": "8080", "SM_MODEL_DIR": "/opt/ml/model"}
	if err := (Container{Environment: usual}).CheckEnvironment(nil); err != nil {
		t.Error(err)
	}
	other := Container{Environment: map[string]string{"SM_MODEL_DIR": "/etc", "SAGEMAKER_BIND_TO_PORT": "1"}}
	if err := other.CheckEnvironment(DefaultVariables()); !errors.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if err := other.WithoutContract().CheckEnvironment(nil); err != nil || len(other.Environment) != 2 {
		t.Errorf("a model of before that was refused: %v, %v", err, other)
	}
}

func TestAListOfVariablesNamesThemOrTheirFamily(t *testing.T) {
	if err := CheckVariables([]string{"HF_*", "A", "_b2", "SLIPWAY_ONNX_QUEUE"}); err != nil {
		t.Error(err)
	}
	for _, entry := range []string{
		"", "*", "A*", "PYTHON*", "A_*", "A-B", "1A", "A=B", "*_X", "LD_*", "LD_PRELOAD", "SLIPWAY_*", "SM_MODEL_DIR",
	} {
		if err := CheckVariables([]string{entry}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", entry, err)
		}
	}
}
