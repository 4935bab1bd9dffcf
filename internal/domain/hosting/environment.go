package hosting

import (
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// DefaultVariables is what models may set in the environment of an image that
// says nothing else: what SageMaker documents for its containers, and a name
// space for a model's own settings that no interpreter, loader or library reads.
func DefaultVariables() []string { return []string{"SAGEMAKER_*", "MODEL_*"} }

// CheckEnvironment refuses a container that sets a variable which its image does
// not let models set. An entry of allowed is a name, or the beginning of names
// before a "*". A list of what is dangerous instead would never be whole: every
// interpreter and library reads variables by which it takes code from a file.
func (c Container) CheckEnvironment(allowed []string) error {
	for _, name := range slices.Sorted(maps.Keys(c.Environment)) {
		usual, contract := contractVariable(name)
		switch {
		case !variableName(name) || strings.Contains(c.Environment[name], "\x00"): // no process could get it
			return fault.New(fault.Invalid,
				"Environment variable %q of container %q has a name or a value that no variable can have.", name, c.Name)
		case contract && c.Environment[name] == usual: // as SDKs write it; the server sets its own
		case ReservedVariable(name):
			return fault.New(fault.Invalid,
				"Environment variable %q of container %q is reserved: a model cannot set it.", name, c.Name)
		case !slices.ContainsFunc(allowed, func(pattern string) bool { return covers(pattern, name) }):
			return fault.New(fault.Invalid,
				"Environment variable %q of container %q may not be set by models of image %q, which may set [%s]. "+
					"The server's configuration says what they may, under images.NAME.environment.",
				name, c.Name, c.Image, strings.Join(allowed, ", "))
		}
	}
	return nil
}

// WithoutContract returns the container without the variables that the server sets
// over whatever a model says. A model of before that was refused must still start.
func (c Container) WithoutContract() Container {
	c.Environment = maps.Clone(c.Environment)
	maps.DeleteFunc(c.Environment, func(name, _ string) bool {
		_, contract := contractVariable(name)
		return contract
	})
	return c
}

// contractVariable returns what SageMaker's container contract has in a variable that
// the server sets.
func contractVariable(name string) (usual string, contract bool) {
	switch name {
	case "SAGEMAKER_BIND_TO_PORT":
		return "8080", true
	case "SM_MODEL_DIR":
		return "/opt/ml/model", true
	}
	return "", false
}

func covers(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// ReservedVariable reports whether no model may set a variable, whatever its
// image allows: the dynamic loader's, and those by which Slipway tells an
// instance what it is.
func ReservedVariable(name string) bool {
	if _, contract := contractVariable(name); contract || LoaderVariable(name) {
		return true
	}
	return strings.HasPrefix(name, "SLIPWAY_") && !strings.HasPrefix(name, "SLIPWAY_ONNX_")
}

// LoaderVariable reports whether the C library or its dynamic loader reads a
// variable in every program: it would run code of a model's choice inside a
// program that the operator chose.
func LoaderVariable(name string) bool {
	return strings.HasPrefix(name, "LD_") || name == "GCONV_PATH" || name == "GLIBC_TUNABLES" || name == "LOCPATH"
}

// CheckVariables refuses an entry that a list of allowed variables cannot have.
// A pattern has to name a family, FAMILY_*: one that covers more would let in
// what nobody thought of.
func CheckVariables(allowed []string) error {
	for _, entry := range allowed {
		name, pattern := strings.CutSuffix(entry, "*")
		switch {
		case !variableName(name) || pattern && (len(name) < 3 || !strings.HasSuffix(name, "_")):
			return fault.New(fault.Invalid,
				"%q is neither the name of a variable nor a family of them like MODEL_*", entry)
		case ReservedVariable(name) || name == "SLIPWAY_":
			return fault.New(fault.Invalid, "%q is reserved: no model may set it", entry)
		}
	}
	return nil
}

func variableName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
