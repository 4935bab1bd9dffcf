package sagemaker_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

func tagged(kind gate.Kind, words string) []types.Tag {
	return []types.Tag{{Key: new(gate.TagPrefix + string(kind)), Value: &words}}
}

// gatedConfig creates a configuration with a tag that sets a gate.
func (w *world) gatedConfig(name string, kind gate.Kind, words string) error {
	_, err := w.CreateEndpointConfig(w.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{variant("v", "m", 2)},
		Tags: tagged(kind, words),
	})
	return err
}

const misspelt = `Tag "slipway:gate:errors" says "ratoi", which is none of its words; did you mean "ratio"? They are ` +
	`action, alpha, patience, wait, ratio, plus and proven.`

func TestTagsThatSetGatesAreRefusedWithTheConfiguration(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	w.refused(w.gatedConfig("c", gate.Errors, "ratoi=2"), "ValidationException", misspelt)
	_, err := w.DescribeEndpointConfig(
		t.Context(), &sagemaker.DescribeEndpointConfigInput{EndpointConfigName: new("c")},
	)
	w.refused(err, "ValidationException", `Could not find endpoint configuration "`+prefix+`endpoint-config/c".`)

	w.ok(w.gatedConfig("c", gate.Errors, "ratio=2 action=hold"))
	arn := prefix + "endpoint-config/c"
	_, err = w.AddTags(t.Context(), &sagemaker.AddTagsInput{ResourceArn: &arn, Tags: tagged(gate.Errors, "ratoi=2")})
	w.refused(err, "ValidationException", misspelt)
	all, err := w.ListTags(t.Context(), &sagemaker.ListTagsInput{ResourceArn: &arn})
	w.ok(err)
	if len(all.Tags) != 1 || *all.Tags[0].Value != "ratio=2 action=hold" {
		t.Errorf("what was refused changed the tags: %v", all.Tags)
	}
	_, err = w.AddTags(t.Context(), &sagemaker.AddTagsInput{ResourceArn: &arn, Tags: tagged(gate.Drift, "")})
	w.ok(err)
	model := prefix + "model/m" // tags of others are their own business
	_, err = w.AddTags(t.Context(), &sagemaker.AddTagsInput{ResourceArn: &model, Tags: tagged("x", "ratoi=2")})
	w.ok(err)
}

func TestGatesAreFrozenWhenAnUpdateIsAccepted(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	w.ok(w.gatedConfig("held", gate.Errors, "action=hold"))
	in := &sagemaker.UpdateEndpointInput{EndpointName: new("e"), EndpointConfigName: new("held")}
	_, err := w.UpdateEndpoint(t.Context(), in)
	w.refused(err, "ValidationException", `Gate "errors" cannot have action=hold here: a deployment of type `+
		`ALL_AT_ONCE never has both fleets answer requests, so nothing can be compared.`)
	if e := w.describe("e"); e.EndpointStatus != types.EndpointStatusInService || *e.EndpointConfigName != "c" {
		t.Errorf("what was refused changed the endpoint: %s of %s", e.EndpointStatus, *e.EndpointConfigName)
	}
	one := types.CapacitySize{Type: types.CapacitySizeTypeInstanceCount, Value: new(int32(1))}
	in.DeploymentConfig = &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
		TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
			Type: types.TrafficRoutingConfigTypeCanary, CanarySize: &one, WaitIntervalInSeconds: new(int32(60)),
		},
	}}
	_, err = w.UpdateEndpoint(t.Context(), in)
	w.ok(err)
	arn := prefix + "endpoint-config/held"
	_, err = w.AddTags(t.Context(), &sagemaker.AddTagsInput{ResourceArn: &arn, Tags: tagged(gate.Errors, "ratio=9")})
	w.ok(err)
	e, err := w.db.EndpointOf(t.Context(), w.deployment("e"))
	w.ok(err)
	var got []string
	for _, g := range e.Deployment.Plan.Policy.Gates {
		for _, s := range g.Words() {
			got = append(got, string(g.Kind)+": "+s.Word+"="+s.Value+" by "+string(s.From))
		}
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"errors: action=hold by tag", "errors: ratio=1.5 by default", "latency: action=report",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("frozen are\n%s\nwant %s", text, want)
		}
	}
}

// deployment returns the id of an endpoint's deployment.
func (w *world) deployment(name string) hosting.DeploymentID {
	w.t.Helper()
	e, _, err := w.db.EndpointView(w.t.Context(), scope, name)
	w.ok(err)
	return e.Deployment.ID
}
