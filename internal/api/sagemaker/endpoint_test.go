package sagemaker_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

var times = regexp.MustCompile(`Time":\d{10}(\.\d{1,3})?`)

// timeless is an answer with every time as T.
func timeless(answer string) string { return times.ReplaceAllString(answer, `Time":T`) }

// Parts of how the endpoint is described.
const (
	image = `"DeployedImages":[{"SpecifiedImage":"slipway/onnx","ResolvedImage":"slipway/onnx",` +
		`"ResolutionTime":T}]`
	head = `{"EndpointName":"E-1","EndpointArn":"arn:aws:sagemaker:us-east-1:000000000000:endpoint/E-1",`
	last = `"LastDeploymentConfig":{"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{` +
		`"Type":"ALL_AT_ONCE","WaitIntervalInSeconds":0}}}`
)

func TestAnEndpointIsDescribedAtEveryStageOfItsLife(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	w.config("c1", "m", 2)
	w.config("c2", "m", 1)
	create := &sagemaker.CreateEndpointInput{EndpointName: new("E-1"), EndpointConfigName: new("c1")}
	out, err := w.CreateEndpoint(t.Context(), create)
	w.ok(err)
	if *out.EndpointArn != "arn:aws:sagemaker:us-east-1:000000000000:endpoint/E-1" {
		t.Errorf("ARN %s", *out.EndpointArn)
	}
	w.shows("e-1", `{"EndpointName":"E-1","EndpointArn":"arn:aws:sagemaker:us-east-1:000000000000:endpoint/E-1",`+
		`"EndpointConfigName":"c1","EndpointStatus":"Creating","CreationTime":T,"LastModifiedTime":T,`+
		`"PendingDeploymentSummary":{"EndpointConfigName":"c1","ProductionVariants":[{"VariantName":"v",`+
		`"DeployedImages":[{"SpecifiedImage":"slipway/onnx","ResolvedImage":"slipway/onnx","ResolutionTime":T}],`+
		`"CurrentWeight":1.0,"DesiredWeight":1.0,"CurrentInstanceCount":0,"DesiredInstanceCount":2,`+
		`"InstanceType":"ml.m5.large",`+
		`"VariantStatus":[{"Status":"Creating","StatusMessage":"Launching 2 instance(s).","StartTime":T}]}],`+
		`"StartTime":T}}`)

	w.settle("E-1")
	w.shows("E-1", head+`"EndpointConfigName":"c1","ProductionVariants":[{"VariantName":"v",`+image+
		`,"CurrentWeight":1.0,"DesiredWeight":1.0,"CurrentInstanceCount":2,"DesiredInstanceCount":2}],`+
		`"EndpointStatus":"InService","CreationTime":T,"LastModifiedTime":T}`)

	// A weight change: the desired values at once, no pending summary.
	_, err = w.UpdateEndpointWeightsAndCapacities(t.Context(), &sagemaker.UpdateEndpointWeightsAndCapacitiesInput{
		EndpointName: new("E-1"),
		DesiredWeightsAndCapacities: []types.DesiredWeightAndCapacity{
			{VariantName: new("v"), DesiredWeight: new(float32(0.1)), DesiredInstanceCount: new(int32(3))},
		},
	})
	w.ok(err)
	w.shows("E-1", head+`"EndpointConfigName":"c1","ProductionVariants":[{"VariantName":"v",`+image+
		`,"CurrentWeight":1.0,"DesiredWeight":0.1,"CurrentInstanceCount":2,"DesiredInstanceCount":3,`+
		`"VariantStatus":[{"Status":"Updating","StatusMessage":"Scaling out desired instance count to 3.",`+
		`"StartTime":T}]}],`+
		`"EndpointStatus":"Updating","CreationTime":T,"LastModifiedTime":T}`)
	w.settle("E-1")

	// An update: the old configuration in service, the new one pending.
	_, err = w.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: new("E-1"), EndpointConfigName: new("c2"), RetainAllVariantProperties: new(true),
		ExcludeRetainedVariantProperties: []types.VariantProperty{
			{VariantPropertyType: types.VariantPropertyTypeDesiredInstanceCount},
		},
		DeploymentConfig: &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
			TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
				Type: types.TrafficRoutingConfigTypeAllAtOnce, WaitIntervalInSeconds: new(int32(0)),
			},
		}},
	})
	w.ok(err)
	w.shows("E-1", head+`"EndpointConfigName":"c1","ProductionVariants":[{"VariantName":"v",`+image+
		`,"CurrentWeight":0.1,"DesiredWeight":0.1,"CurrentInstanceCount":3,"DesiredInstanceCount":3}],`+
		`"EndpointStatus":"Updating","CreationTime":T,"LastModifiedTime":T,`+last+
		`,"PendingDeploymentSummary":{"EndpointConfigName":"c2","ProductionVariants":[{"VariantName":"v",`+image+
		`,"CurrentWeight":0.1,"DesiredWeight":0.1,"CurrentInstanceCount":0,"DesiredInstanceCount":1,`+
		`"InstanceType":"ml.m5.large","VariantStatus":[{"Status":"Creating","StatusMessage":"Launching 1 `+
		`instance(s).","StartTime":T}]}],"StartTime":T}}`)
	w.settle("E-1")
	w.shows("E-1", head+`"EndpointConfigName":"c2","ProductionVariants":[{"VariantName":"v",`+image+
		`,"CurrentWeight":0.1,"DesiredWeight":0.1,"CurrentInstanceCount":1,"DesiredInstanceCount":1}],`+
		`"EndpointStatus":"InService","CreationTime":T,"LastModifiedTime":T,`+last+`}`)

	_, err = w.DeleteEndpoint(t.Context(), &sagemaker.DeleteEndpointInput{EndpointName: new("E-1")})
	w.ok(err)
	if got := w.describe("E-1").EndpointStatus; got != types.EndpointStatusDeleting {
		t.Errorf("status %s", got)
	}
	w.settle("E-1")
	w.ok(sagemaker.NewEndpointDeletedWaiter(w.Client).Wait(
		t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: new("E-1")}, time.Second,
	))
}

// shows compares the JSON of DescribeEndpoint, with every time as T.
func (w *world) shows(name, want string) {
	w.t.Helper()
	if _, got := w.raw("DescribeEndpoint", `{"EndpointName":"`+name+`"}`); timeless(got) != want {
		w.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheWaiterSeesAnEndpointInService(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	w.ok(sagemaker.NewEndpointInServiceWaiter(w.Client).Wait(
		t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: new("e")}, time.Second,
	))
}

func TestEndpointsAreRefusedInTheWordsThatClientsMatch(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	w.config("c2", "m", 1)
	const arn = `arn:aws:sagemaker:us-east-1:000000000000:`
	tests := map[string]struct {
		op, body, want string
	}{
		"creating what is there, in another case": {
			"CreateEndpoint", `{"EndpointName":"E","EndpointConfigName":"c"}`,
			`Cannot create already existing endpoint \"` + arn + `endpoint/e\".`,
		},
		"creating of no configuration": {
			"CreateEndpoint", `{"EndpointName":"f","EndpointConfigName":"x"}`,
			`Could not find endpoint configuration \"` + arn + `endpoint-config/x\".`,
		},
		"describing nothing": {
			"DescribeEndpoint", `{"EndpointName":"x"}`, `Could not find endpoint \"` + arn + `endpoint/x\".`,
		},
		"deleting nothing": {
			"DeleteEndpoint", `{"EndpointName":"x"}`, `Could not find endpoint \"` + arn + `endpoint/x\".`,
		},
		"updating nothing": {
			"UpdateEndpoint", `{"EndpointName":"x","EndpointConfigName":"c2"}`,
			`Could not find endpoint \"` + arn + `endpoint/x\".`,
		},
		"updating to nothing": {
			"UpdateEndpoint", `{"EndpointName":"e","EndpointConfigName":"x"}`,
			`Could not find endpoint configuration \"` + arn + `endpoint-config/x\".`,
		},
		"updating to what is in use": {
			"UpdateEndpoint", `{"EndpointName":"e","EndpointConfigName":"c"}`,
			`Cannot update endpoint with the currently in use endpoint configuration \"c\".`,
		},
		"new guardrails and the old ones": {
			"UpdateEndpoint",
			`{"EndpointName":"e","EndpointConfigName":"c2","RetainDeploymentConfig":true,"DeploymentConfig":{}}`,
			`DeploymentConfig and RetainDeploymentConfig cannot both be specified.`,
		},
		"both policies": {
			"UpdateEndpoint", `{"EndpointName":"e","EndpointConfigName":"c2",` +
				`"DeploymentConfig":{"RollingUpdatePolicy":{"MaximumBatchSize":{"Type":"INSTANCE_COUNT","Value":1},` +
				`"WaitIntervalInSeconds":0},` +
				`"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"ALL_AT_ONCE",` +
				`"WaitIntervalInSeconds":0}}}}`,
			`Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy can be specified.`,
		},
		"alarms that are not there": {
			"UpdateEndpoint",
			`{"EndpointName":"e","EndpointConfigName":"c2",` +
				`"DeploymentConfig":{"AutoRollbackConfiguration":{"Alarms":[{"AlarmName":"errors"},{"AlarmName":"x"},` +
				`{"AlarmName":"y"}]}}}`,
			`Could not find alarm(s): [x, y].`,
		},
		"a canary without its size": {
			"UpdateEndpoint",
			`{"EndpointName":"e","EndpointConfigName":"c2",` +
				`"DeploymentConfig":{"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"CANARY",` +
				`"WaitIntervalInSeconds":1}}}}`,
			`CanarySize is required for a deployment of type CANARY.`,
		},
		"scaling nothing": {
			"UpdateEndpointWeightsAndCapacities",
			`{"EndpointName":"x","DesiredWeightsAndCapacities":[{"VariantName":"v"}]}`,
			`Could not find endpoint \"` + arn + `endpoint/x\".`,
		},
		"scaling no variant": {
			"UpdateEndpointWeightsAndCapacities",
			`{"EndpointName":"e","DesiredWeightsAndCapacities":[{"VariantName":"x"}]}`,
			`The variant name(s) \"x\" is/are not present within endpoint configuration \"c\".`,
		},
		"scaling one variant twice": {
			"UpdateEndpointWeightsAndCapacities",
			`{"EndpointName":"e","DesiredWeightsAndCapacities":[{"VariantName":"v"},{"VariantName":"v"}]}`,
			`The variant name \"v\" was non-unique within the request.`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, got := w.raw(tt.op, tt.body)
			if want := `{"__type":"ValidationException","message":"` + tt.want + `"}`; status != 400 || got != want {
				t.Errorf("got %d %s\nwant %s", status, got, want)
			}
		})
	}
}

func TestEveryStrategyIsAccepted(t *testing.T) {
	const size = `{"Type":"CAPACITY_PERCENT","Value":50}`
	routed := func(typ, size string) string {
		return `{"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"` + typ +
			`","WaitIntervalInSeconds":60` + size +
			`},"TerminationWaitInSeconds":1,"MaximumExecutionTimeoutInSeconds":3600},` +
			`"AutoRollbackConfiguration":{"Alarms":[{"AlarmName":"errors"}]}}`
	}
	for name, config := range map[string]string{
		"all at once": routed("ALL_AT_ONCE", ""),
		"canary":      routed("CANARY", `,"CanarySize":`+size),
		"linear":      routed("LINEAR", `,"LinearStepSize":`+size),
		"rolling": `{"RollingUpdatePolicy":{"MaximumBatchSize":` + size +
			`,"WaitIntervalInSeconds":60,"MaximumExecutionTimeoutInSeconds":3600,"RollbackMaximumBatchSize":` + size +
			`},"AutoRollbackConfiguration":{"Alarms":[{"AlarmName":"errors"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.endpoint()
			w.config("c2", "m", 2)
			if status, got := w.raw(
				"CreateEndpoint", `{"EndpointName":"f","EndpointConfigName":"c","DeploymentConfig":`+config+`}`,
			); status != 200 {
				t.Errorf("CreateEndpoint: %d %s", status, got)
			}
			if status, got := w.raw(
				"UpdateEndpoint", `{"EndpointName":"e","EndpointConfigName":"c2","DeploymentConfig":`+config+`}`,
			); status != 200 {
				t.Errorf("UpdateEndpoint: %d %s", status, got)
			}
			e, _, err := w.db.EndpointView(t.Context(), scope, "e")
			w.ok(err)
			if p := e.Deployment.Plan.Policy; !slices.Equal(p.Alarms, []string{"errors"}) ||
				p.MaximumExecutionTimeout != time.Hour {
				t.Errorf("the plan is %+v", p)
			}
			if got := w.describe("e"); got.LastDeploymentConfig == nil ||
				len(got.LastDeploymentConfig.AutoRollbackConfiguration.Alarms) != 1 {
				t.Errorf("described as %+v", got.LastDeploymentConfig)
			}
		})
	}
}

func TestABusyEndpointIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	w.config("c2", "m", 1)
	_, err := w.UpdateEndpoint(
		t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: new("e"), EndpointConfigName: new("c2")},
	)
	w.ok(err)
	const want = `Cannot update in-progress endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e".`
	_, err = w.UpdateEndpoint(
		t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: new("e"), EndpointConfigName: new("c")},
	)
	w.refused(err, "ValidationException", want)
	_, err = w.DeleteEndpoint(t.Context(), &sagemaker.DeleteEndpointInput{EndpointName: new("e")})
	w.refused(err, "ValidationException", want)
}

func TestAnEndpointOutlivesTheRecordsItWasMadeOf(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	w.config("c2", "m", 1)
	_, err := w.DeleteEndpointConfig(t.Context(), &sagemaker.DeleteEndpointConfigInput{EndpointConfigName: new("c")})
	w.ok(err)
	if got := w.describe("e"); got.EndpointStatus != types.EndpointStatusInService || *got.EndpointConfigName != "c" ||
		len(got.ProductionVariants) != 1 {
		t.Errorf("got %+v", got)
	}
	_, err = w.UpdateEndpoint(
		t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: new("e"), EndpointConfigName: new("c2")},
	)
	w.refused(
		err, "ValidationException",
		`Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/c".`,
	)
}

func TestEveryRegionHasItsOwnNames(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	_, err := w.in("eu-west-1").DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: new("e")})
	w.refused(
		err, "ValidationException", `Could not find endpoint "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/e".`,
	)
}
