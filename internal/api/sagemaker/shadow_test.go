package sagemaker_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

func TestAShadowIsEchoedAndShownBesideItsVariant(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	shadow := variant("s", "m", 1)
	shadow.InitialVariantWeight = new(float32(0.5))
	_, err := w.CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: new("c2"), ProductionVariants: []types.ProductionVariant{variant("v", "m", 2)},
		ShadowProductionVariants: []types.ProductionVariant{shadow},
	})
	w.ok(err)
	_, config := w.raw("DescribeEndpointConfig", `{"EndpointConfigName":"c2"}`)
	if want := `"ShadowProductionVariants":[{"VariantName":"s","ModelName":"m","InitialInstanceCount":1,` +
		`"InstanceType":"ml.m5.large","InitialVariantWeight":0.5}]`; !strings.Contains(config, want) {
		t.Errorf("%s lacks\n%s", config, want)
	}
	_, err = w.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: new("e"), EndpointConfigName: new("c2"),
	})
	w.ok(err)
	if p := w.describe("e").PendingDeploymentSummary; p == nil || len(p.ShadowProductionVariants) != 1 ||
		*p.ShadowProductionVariants[0].VariantName != "s" || *p.ShadowProductionVariants[0].CurrentInstanceCount != 0 ||
		*p.ShadowProductionVariants[0].DesiredInstanceCount != 1 || p.ShadowProductionVariants[0].InstanceType !=
		"ml.m5.large" || len(p.ProductionVariants) != 1 {
		t.Errorf("pending: %+v", p)
	}
	w.settle("e")
	out := w.describe("e")
	if len(out.ProductionVariants) != 1 || len(out.ShadowProductionVariants) != 1 {
		t.Fatalf("%d variants and %d shadows", len(out.ProductionVariants), len(out.ShadowProductionVariants))
	}
	if s := out.ShadowProductionVariants[0]; *s.VariantName != "s" || *s.CurrentWeight != 0.5 ||
		*s.DesiredWeight != 0.5 || *s.CurrentInstanceCount != 1 || *s.DesiredInstanceCount != 1 ||
		len(s.DeployedImages) != 1 {
		t.Errorf("%+v", s)
	}

	// Its weight and count change by its name.
	_, err = w.UpdateEndpointWeightsAndCapacities(t.Context(), &sagemaker.UpdateEndpointWeightsAndCapacitiesInput{
		EndpointName: new("e"),
		DesiredWeightsAndCapacities: []types.DesiredWeightAndCapacity{
			{VariantName: new("s"), DesiredWeight: new(float32(0.25)), DesiredInstanceCount: new(int32(2))},
		},
	})
	w.ok(err)
	if s := w.describe("e").ShadowProductionVariants[0]; *s.CurrentWeight != 0.5 || *s.DesiredWeight != 0.25 ||
		*s.CurrentInstanceCount != 1 || *s.DesiredInstanceCount != 2 {
		t.Errorf("while it scales: %+v", s)
	}
	w.settle("e")
	out = w.describe("e")
	if s := out.ShadowProductionVariants[0]; *s.CurrentWeight != 0.25 || *s.CurrentInstanceCount != 2 ||
		out.EndpointStatus != types.EndpointStatusInService {
		t.Errorf("%s: %+v", out.EndpointStatus, s)
	}

	// And it goes by an update to a configuration without it.
	_, err = w.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: new("e"), EndpointConfigName: new("c"),
	})
	w.ok(err)
	w.settle("e")
	if out := w.describe("e"); len(out.ShadowProductionVariants) != 0 ||
		out.EndpointStatus != types.EndpointStatusInService {
		t.Errorf("%s: %+v", out.EndpointStatus, out.ShadowProductionVariants)
	}
}

func TestShadowsThatAWSHasNotAreRefused(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	create := func(prod, shadows []types.ProductionVariant) error {
		_, err := w.CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
			EndpointConfigName: new("c"), ProductionVariants: prod, ShadowProductionVariants: shadows,
		})
		return err
	}
	a, b := variant("a", "m", 1), variant("b", "m", 1)
	w.refused(create([]types.ProductionVariant{a, b}, []types.ProductionVariant{variant("s", "m", 1)}),
		"ValidationException", "ShadowProductionVariants requires exactly one production variant and one shadow "+
			"variant, but there are 2 and 1.")
	w.refused(create([]types.ProductionVariant{a}, []types.ProductionVariant{a}),
		"ValidationException", "Variant names must be unique. Found duplicates: [a].")
	w.refused(create([]types.ProductionVariant{a}, []types.ProductionVariant{variant("s", "none", 1)}),
		"ValidationException", `Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/none".`)
}
