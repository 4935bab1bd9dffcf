package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func newPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a change would do, without doing it",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPlanUpdate())
	return cmd
}

// updateFlags are those of 'aws sagemaker update-endpoint'.
type updateFlags struct {
	input, endpoint, config, deployment, exclude string

	retainAll, noRetainAll, retainDeployment, noRetainDeployment bool
}

func newPlanUpdate() *cobra.Command {
	var c connection
	var u updateFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "update-endpoint --endpoint-name NAME --endpoint-config-name NAME",
		Short: "Show the timeline of an update of an endpoint",
		Long: `Takes the arguments of 'aws sagemaker update-endpoint', lets the server judge them as it
would an update, and shows what would run: each step with its instances, its traffic, its
wait and how long it may take at most, the most instances at a time, which alarms are
watched, and what is suspicious. Nothing is changed. Exits 2 if something will go wrong for
sure, such as a gate that waits for a proof which the traffic cannot give.`,
		Example: `  slipway plan update-endpoint --endpoint-name e --endpoint-config-name v2 --deployment-config ` +
			`file://canary.json`,
		Args: cobra.ArbitraryArgs, // properties to exclude
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := u.request(args)
			if err != nil {
				return err
			}
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			var out slipway.PlanUpdateEndpointOutput
			answer, err := r.call(cmd.Context(), "PlanUpdateEndpoint", in, &out)
			switch {
			case err != nil:
				return err
			case c.json:
				err = printJSON(cmd.OutOrStdout(), answer)
			default:
				err = showPlan(cmd.OutOrStdout(), out)
			}
			doomed := func(f slipway.Finding) bool { return shape.Val(f.Severity) == "Error" }
			if err == nil && !force && slices.ContainsFunc(out.Findings, doomed) {
				return &exit{2, "this update would be rolled back; --force plans it all the same"}
			}
			return err
		},
	}
	c.bind(cmd)
	u.bind(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "exit 0 also if something will go wrong for sure")
	return cmd
}

func (u *updateFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&u.endpoint, "endpoint-name", "", "the endpoint")
	f.StringVar(&u.config, "endpoint-config-name", "", "the configuration to update it to")
	f.StringVar(&u.deployment, "deployment-config", "", "guardrails, as JSON or file://PATH")
	f.StringVar(
		&u.exclude, "exclude-retained-variant-properties", "",
		"as JSON, or VariantPropertyType=NAME, several separated by spaces",
	)
	f.StringVar(&u.input, "cli-input-json", "", "all arguments, as JSON or file://PATH; others override it")
	f.BoolVar(&u.retainAll, "retain-all-variant-properties", false, "keep instance counts and weights")
	f.BoolVar(&u.noRetainAll, "no-retain-all-variant-properties", false, "take them from the new configuration")
	f.BoolVar(&u.retainDeployment, "retain-deployment-config", false, "use the guardrails of the update before")
	f.BoolVar(&u.noRetainDeployment, "no-retain-deployment-config", false, "do not")
	cmd.MarkFlagsMutuallyExclusive("retain-all-variant-properties", "no-retain-all-variant-properties")
	cmd.MarkFlagsMutuallyExclusive("retain-deployment-config", "no-retain-deployment-config")
}

// request puts the flags together to what UpdateEndpoint takes. args are
// further properties to exclude, which the AWS command line takes unmarked.
func (u updateFlags) request(args []string) (map[string]any, error) {
	in := map[string]any{}
	if u.input != "" {
		text, err := document("cli-input-json", u.input)
		if err == nil {
			err = json.Unmarshal(text, &in)
		}
		if err != nil {
			return nil, fmt.Errorf("--cli-input-json: %w", err)
		}
	}
	for name, v := range map[string]string{"EndpointName": u.endpoint, "EndpointConfigName": u.config} {
		if v != "" {
			in[name] = v
		}
	}
	if in["EndpointName"] == nil || in["EndpointConfigName"] == nil {
		return nil, errors.New("--endpoint-name and --endpoint-config-name are required")
	}
	if u.deployment != "" {
		text, err := document("deployment-config", u.deployment)
		if err != nil {
			return nil, fmt.Errorf("--deployment-config: %w", err)
		}
		in["DeploymentConfig"] = text
	}
	if u.exclude != "" || len(args) > 0 {
		list, err := excluded(u.exclude, args)
		if err != nil {
			return nil, err
		}
		in["ExcludeRetainedVariantProperties"] = list
	}
	for _, f := range []struct {
		name    string
		yes, no bool
	}{
		{"RetainAllVariantProperties", u.retainAll, u.noRetainAll},
		{"RetainDeploymentConfig", u.retainDeployment, u.noRetainDeployment},
	} {
		if f.yes || f.no {
			in[f.name] = f.yes
		}
	}
	return in, nil
}

// document reads JSON given as it is or as file://PATH.
func document(flag, s string) (json.RawMessage, error) {
	text := []byte(s)
	if path, ok := strings.CutPrefix(s, "file://"); ok {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("is not JSON; write it as '{…}' or name a file: --%s file://PATH", flag)
	}
	return text, nil
}

func excluded(first string, more []string) (any, error) {
	const flag, key = "--exclude-retained-variant-properties", "VariantPropertyType="
	if strings.HasPrefix(strings.TrimSpace(first), "[") || strings.HasPrefix(first, "file://") {
		if len(more) > 0 {
			return nil, fmt.Errorf("unexpected argument %q", more[0])
		}
		text, err := document(flag[2:], first)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		return text, nil
	}
	list := []map[string]string{}
	for _, s := range append(strings.Fields(first), more...) {
		name, ok := strings.CutPrefix(s, key)
		switch {
		case !ok && first == "":
			return nil, fmt.Errorf("unexpected argument %q", s)
		case !ok:
			return nil, fmt.Errorf("%s: %q is not %sNAME", flag, s, key)
		}
		list = append(list, map[string]string{"VariantPropertyType": name})
	}
	return list, nil
}
