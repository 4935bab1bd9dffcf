package packaging

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Preset is a PresetDeploymentConfig (spec §6.2): how to write the Greengrass
// component of a package.
type Preset struct {
	ComponentName        string `json:"ComponentName"`
	ComponentDescription string `json:"ComponentDescription"`
	ComponentVersion     string `json:"ComponentVersion"`
	PlatformOS           string `json:"PlatformOS"`
	PlatformArchitecture string `json:"PlatformArchitecture"`
}

var (
	componentName = regexp.MustCompile(`^[a-zA-Z0-9-_.]{1,128}$`)
	semver        = regexp.MustCompile(`^(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})` +
		`(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?$`)
)

// architectures maps what the API calls a platform to what Greengrass does.
func architecture(a string) (string, bool) {
	switch strings.ToLower(a) {
	case "":
		return "", true
	case "windows32_x86":
		return "x86", true
	case "windows64_x64", "linux x86_64":
		return "amd64", true
	case "linux armv8":
		return "aarch64", true
	}
	return "", false
}

// ParsePreset reads a PresetDeploymentConfig and fills in what it leaves out.
func ParsePreset(config, job string) (Preset, error) {
	p := Preset{}
	if config != "" {
		if err := json.Unmarshal([]byte(config), &p); err != nil {
			return p, fault.New(fault.Invalid, "PresetDeploymentConfig is not valid JSON.").Because(err)
		}
	}
	if p.ComponentName == "" {
		p.ComponentName = "SagemakerEdgeManager" + job
	}
	if p.ComponentVersion == "" {
		p.ComponentVersion = "1.0.0"
	}
	_, known := architecture(p.PlatformArchitecture)
	switch {
	case !componentName.MatchString(p.ComponentName):
		return p, fault.New(fault.Invalid,
			"The ComponentName of PresetDeploymentConfig is not the name of a component.")
	case !semver.MatchString(p.ComponentVersion):
		return p, fault.New(fault.Invalid,
			"The ComponentVersion of PresetDeploymentConfig is not a version such as 1.0.0.")
	case len(p.ComponentDescription) > 1024:
		return p, fault.New(fault.Invalid,
			"The ComponentDescription of PresetDeploymentConfig has more than 1024 bytes.")
	case p.PlatformOS != "" && !strings.EqualFold(p.PlatformOS, "Windows") && !strings.EqualFold(p.PlatformOS, "Linux"):
		return p, fault.New(fault.Invalid, "The PlatformOS of PresetDeploymentConfig must be Windows or Linux.")
	case !known:
		return p, fault.New(fault.Invalid,
			"The PlatformArchitecture of PresetDeploymentConfig must be Windows32_x86, Windows64_x64, Linux x86_64 "+
				"or Linux ARMV8.")
	}
	return p, nil
}

// ARN returns the ARN that the component's version would have.
func (p Preset) ARN(s arn.Scope) string {
	return fmt.Sprintf("arn:%s:greengrass:%s:%s:components:%s:versions:%s", arn.Partition(s.Region), s.Region,
		s.Account, p.ComponentName, p.ComponentVersion)
}

// Recipe writes the component's recipe: it unpacks the package where
// applications look for it, /greengrass/v2/work/<ComponentName>.
func (p Preset) Recipe(packageURI string) ([]byte, error) {
	type object = map[string]any
	file := path.Base(packageURI)
	platform := object{"os": strings.ToLower(p.PlatformOS)}
	if p.PlatformOS == "" {
		platform["os"] = "*"
	}
	if a, _ := architecture(p.PlatformArchitecture); a != "" {
		platform["architecture"] = a
	}
	description := p.ComponentDescription
	if description == "" {
		description = "A model packaged by Slipway"
	}
	return json.MarshalIndent(object{
		"RecipeFormatVersion":  "2020-01-25",
		"ComponentName":        p.ComponentName,
		"ComponentVersion":     p.ComponentVersion,
		"ComponentDescription": description,
		"ComponentPublisher":   "Slipway",
		"Manifests": []object{{
			"Platform":  platform,
			"Artifacts": []object{{"Uri": packageURI}},
			"Lifecycle": object{"install": object{
				"Script": fmt.Sprintf(`tar -xzf "{artifacts:path}/%s" -C "{work:path}"`, file),
			}},
		}},
	}, "", "  ")
}
