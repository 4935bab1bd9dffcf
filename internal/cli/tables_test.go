package cli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// answer reads what the API answers, from its own golden files.
func answer[T any](t *testing.T, name string) (v T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../api/slipway/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func golden(t *testing.T, name string, print func(*strings.Builder) error) {
	t.Helper()
	var b strings.Builder
	if err := print(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata/tables", name)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s:\n%s", name, d)
	}
}

func TestWhatPeopleSeeOfDeployments(t *testing.T) {
	for _, name := range []string{"succeeded", "rolled-back", "paused", "promoted"} {
		golden(t, name+".txt", func(b *strings.Builder) error {
			return showDeployment(b, answer[slipway.DescribeDeploymentOutput](t, name+".json"))
		})
	}
	golden(t, "list.txt", func(b *strings.Builder) error {
		all := answer[slipway.ListDeploymentsOutput](t, "list.json")
		bad := answer[slipway.DeploymentSummary](t, "rolled-back.json")
		all.Deployments = append([]slipway.DeploymentSummary{bad}, all.Deployments...)
		all.Events = []slipway.DeploymentEvent{{
			Time: bad.EndTime, Kind: new("EndpointStatus"), Message: new("The endpoint was InService and is " +
				"OutOfService. No instance passes its health checks: requests go to all that run, 2."),
		}}
		return showDeployments(b, all)
	})
	golden(t, "plan.txt", func(b *strings.Builder) error {
		return showPlan(b, answer[slipway.PlanUpdateEndpointOutput](t, "plan.json"))
	})
}

// What a model's container writes can end up in a FailureReason.
func TestWhatOthersWroteCannotDriveTheTerminal(t *testing.T) {
	d := answer[slipway.DescribeDeploymentOutput](t, "rolled-back.json")
	d.Summary, d.Steps[3].FailureReason = new("\x1b[2Jgone\r\n"), new("\x1b]0;title\a")
	var b strings.Builder
	if err := showDeployment(&b, d); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r\a") {
		t.Errorf("%q", b.String())
	}
}

func TestAnUpdateToPlanIsReadAsTheAWSCommandLineReadsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "d.json")
	if err := os.WriteFile(file, []byte(`{"RollingUpdatePolicy":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const names = `"EndpointConfigName":"c","EndpointName":"e"`
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"names":       {nil, `{` + names + `}`},
		"inline JSON": {[]string{"--deployment-config", `{"A":1}`}, `{"DeploymentConfig":{"A":1},` + names + `}`},
		"a file": {
			[]string{"--deployment-config", "file://" + file},
			`{"DeploymentConfig":{"RollingUpdatePolicy":{}},` + names + `}`,
		},
		"a yes": {
			[]string{"--retain-all-variant-properties"}, `{` + names + `,"RetainAllVariantProperties":true}`,
		},
		"a no": {[]string{"--no-retain-deployment-config"}, `{` + names + `,"RetainDeploymentConfig":false}`},
		"properties": {
			[]string{
				"--exclude-retained-variant-properties", "VariantPropertyType=DesiredWeight",
				"VariantPropertyType=DataCaptureConfig",
			},
			`{` + names +
				`,"ExcludeRetainedVariantProperties":[{"VariantPropertyType":"DesiredWeight"},` +
				`{"VariantPropertyType":"DataCaptureConfig"}]}`,
		},
		"property": {
			[]string{"--exclude-retained-variant-properties", `[{"VariantPropertyType":"DesiredWeight"}]`},
			`{` + names + `,"ExcludeRetainedVariantProperties":[{"VariantPropertyType":"DesiredWeight"}]}`,
		},
		"all as JSON": {
			[]string{"--cli-input-json", `{"EndpointName":"x","RetainDeploymentConfig":true}`},
			`{` + names + `,"RetainDeploymentConfig":true}`,
		},
		"no JSON": {
			[]string{"--deployment-config", "BlueGreenUpdatePolicy={}"}, "--deployment-config: is not JSON",
		},
		"no file": {[]string{"--deployment-config", "file:///nowhere/at/all"}, "no such file"},
		"no property": {
			[]string{"--exclude-retained-variant-properties", "DesiredWeight"},
			`"DesiredWeight" is not VariantPropertyType=NAME`,
		},
		"a stray word": {[]string{"stray"}, `unexpected argument "stray"`},
		"both": {
			[]string{"--retain-deployment-config", "--no-retain-deployment-config"}, "none of the others can be",
		},
	} {
		var u updateFlags
		cmd := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
		u.bind(cmd)
		var got string
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			in, err := u.request(args)
			if err != nil {
				return err
			}
			text, err := json.Marshal(in)
			got = string(text)
			return err
		}
		cmd.SetArgs(append([]string{"--endpoint-name", "e", "--endpoint-config-name", "c"}, c.args...))
		if err := cmd.Execute(); err != nil {
			got = err.Error()
		}
		if got != c.want && (strings.HasPrefix(c.want, "{") || !strings.Contains(got, c.want)) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
