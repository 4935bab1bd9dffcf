package hosting_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Whatever an operator lists and a model sets: what passes is in the list, as a
// shell would read it, and is nothing by which a loader takes code from a file.
func FuzzAModelSetsOnlyWhatItsImageAllows(f *testing.F) {
	for _, s := range [][2]string{
		{"MODEL_*,SAGEMAKER_*", "MODEL_NAME"},
		{"MODEL_*", "MODELS"},
		{"*", "LD_PRELOAD"},
		{"LD_*", "LD_AUDIT"},
		{"L*", "LD_PRELOAD"},
		{"SLIPWAY_*", "SLIPWAY_ONNX_LIB"},
		{"SLIPWAY_ONNX_*", "SLIPWAY_ONNX_THREADS"},
		{"G*,GCONV_*", "GCONV_PATH"},
		{"SM_*", "SM_MODEL_DIR"},
		{"A,,B", ""},
		{"SAGEMAKER_*", "SAGEMAKER_BIND_TO_PORT"},
		{"LOCPATH", "LOCPATH"},
		{"GLIBC_*", "GLIBC_TUNABLES"},
		{"PATH\x00*", "PATH\x00A"},
		{"M?*", "MX"},
	} {
		f.Add(s[0], s[1], "8080")
	}
	f.Fuzz(func(t *testing.T, list, name, value string) {
		allowed := strings.Split(list, ",")
		c := hosting.Container{Name: "c", Image: "i", Environment: map[string]string{name: value}}
		if err := hosting.CheckVariables(allowed); err != nil {
			if _, public := fault.Public(err); !errors.Is(err, fault.Invalid) || public == "" {
				t.Errorf("the list %q is refused with %v", list, err)
			}
			return
		}
		if err := c.CheckEnvironment(allowed); err != nil {
			if _, public := fault.Public(err); !errors.Is(err, fault.Invalid) || public == "" {
				t.Errorf("%q is refused with %v", name, err)
			}
			return
		}
		if _, kept := c.WithoutContract().Environment[name]; !kept {
			return // the server sets its own
		}
		listed := false
		for _, pattern := range allowed {
			if m, err := path.Match(pattern, name); err == nil && m && !strings.ContainsAny(pattern, `?[\`) {
				listed = true
			}
			family, is := strings.CutSuffix(pattern, "*")
			listed = listed || is && strings.HasPrefix(name, family)
		}
		dangerous := strings.HasPrefix(name, "LD_") || name == "GLIBC_TUNABLES" || name == "GCONV_PATH" ||
			name == "LOCPATH" || name == "SLIPWAY_" || name == "PATH"
		impossible := strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00")
		if !listed || dangerous && !contains(allowed, name) || impossible {
			t.Errorf("%q passes where [%s] are allowed", name, list)
		}
	})
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}
