package shape_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakerruntime"
)

const (
	config      = `"EndpointConfigName":"c"`
	namePattern = `^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`
	tagKey      = `[Member must have length less than or equal to 128, Member must have length greater than or equal ` +
		`to 1, Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)]`
)

// violations are request bodies and what they are told.
var violations = map[string]struct {
	in   shape.Value
	body string
	want string
}{
	"a missing member": {
		&sagemaker.DescribeEndpointInput{}, `{}`,
		"1 validation error detected: Value null at 'endpointName' failed to satisfy constraint: Member must not be " +
			"null",
	},
	"null is missing": {
		&sagemaker.DescribeEndpointInput{}, `{"EndpointName":null}`,
		"1 validation error detected: Value null at 'endpointName' failed to satisfy constraint: Member must not be " +
			"null",
	},
	"all at once, in the order of the members": {
		&sagemaker.CreateEndpointInput{}, `{"EndpointConfigName":"-","Tags":[{"Key":"k"},{"Value":"v"}]}`,
		"4 validation errors detected: Value null at 'endpointName' failed to satisfy constraint: Member must not be " +
			"null; " +
			"Value '-' at 'endpointConfigName' failed to satisfy constraint: Member must satisfy regular expression " +
			"pattern: " +
			namePattern + "; " +
			"Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null",
	},
	"a pattern, inside a list": {
		&sagemaker.CreateEndpointConfigInput{},
		`{` + config + `,"ProductionVariants":[{"VariantName":"v","ModelName":"ENTER MODEL NAME"}]}`,
		"1 validation error detected: Value 'ENTER MODEL NAME' at 'productionVariants.1.member.modelName' failed to " +
			"satisfy constraint: " +
			`Member must satisfy regular expression pattern: ^[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?`,
	},
	"an enumeration": {
		&sagemaker.ListEndpointsInput{}, `{"SortOrder":"ascending"}`,
		"1 validation error detected: Value 'ascending' at 'sortOrder' failed to satisfy constraint: Member must " +
			"satisfy enum value set: [Ascending, Descending]",
	},
	"a number too small": {
		&sagemaker.ListEndpointsInput{}, `{"MaxResults":0}`,
		"1 validation error detected: Value '0' at 'maxResults' failed to satisfy constraint: Member must have value " +
			"greater than or equal to 1",
	},
	"a number too large": {
		&sagemaker.ListEndpointsInput{}, `{"MaxResults":101}`,
		"1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have " +
			"value less than or equal to 100",
	},
	"a union without a member": {
		&cloudwatch.PutMetricAlarmInput{}, `{"AlarmName":"a","EvaluationCriteria":{}}`,
		"1 validation error detected: Value 'EvaluationCriteria()' at 'evaluationCriteria' failed to satisfy " +
			"constraint: Member must have exactly one member set",
	},
	"a float too small": {
		&sagemaker.CreateEndpointConfigInput{},
		`{` + config + `,"ProductionVariants":[{"VariantName":"v","InitialVariantWeight":-1}]}`,
		"1 validation error detected: Value '-1.0' at 'productionVariants.1.member.initialVariantWeight' failed to " +
			"satisfy constraint: Member must have value greater than or equal to 0",
	},
	"a string too long and wrong": {
		&sagemaker.ListEndpointsInput{}, `{"NameContains":"` + strings.Repeat("_", 64) + `"}`,
		"2 validation errors detected: Value '" + strings.Repeat("_", 64) +
			"' at 'nameContains' failed to satisfy constraint: Member must have length less than or equal to 63; " +
			"Value '" + strings.Repeat("_", 64) +
			"' at 'nameContains' failed to satisfy constraint: Member must satisfy regular expression pattern: " +
			"^[a-zA-Z0-9-]+",
	},
	"an empty list": {
		&sagemaker.CreateEndpointConfigInput{}, `{` + config + `,"ProductionVariants":[]}`,
		"1 validation error detected: Value '[]' at 'productionVariants' failed to satisfy constraint: Member must " +
			"have length greater than or equal to 1",
	},
	"elements of a list are blamed on it": {
		&sagemaker.DeleteTagsInput{},
		`{"ResourceArn":"arn:aws:sagemaker:us-east-1:123456789012:model/m","TagKeys":["ok","","?"]}`,
		"1 validation error detected: Value '[ok, , ?]' at 'tagKeys' failed to satisfy constraint: Member must " +
			"satisfy constraint: " +
			tagKey,
	},
	"keys and values of a map": {
		&sagemaker.CreateModelInput{},
		`{"ModelName":"m","PrimaryContainer":{"Environment":{"B":"` + strings.Repeat("x", 1025) + `","0":"a"}}}`,
		"2 validation errors detected: Value '{0=a, B=" + strings.Repeat("x", 1016) +
			"...' at 'primaryContainer.environment' failed to satisfy constraint: " +
			"Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have " +
			"length greater than or equal to 0, Member must satisfy regular expression pattern: " +
			"^[a-zA-Z_][a-zA-Z0-9_]*]; " +
			"Value '{0=a, B=" + strings.Repeat("x", 1016) +
			"...' at 'primaryContainer.environment' failed to satisfy constraint: " +
			`Map value must satisfy constraint: [Member must have length less than or equal to 1024, Member must ` +
			`have length greater than or equal to 0, Member must satisfy regular expression pattern: ^[\S\s]*]`,
	},
	"a list of structures too long is shown in short": {
		&sagemaker.UpdateEndpointInput{},
		`{"EndpointName":"e","EndpointConfigName":"c","ExcludeRetainedVariantProperties":[{},{},{},` +
			`{"VariantPropertyType":"DesiredWeight"}]}`,
		"1 validation error detected: Value '[VariantProperty(), VariantProperty(), VariantProperty(), " +
			"VariantProperty(variantPropertyType=DesiredWeight)]' " +
			"at 'excludeRetainedVariantProperties' failed to satisfy constraint: Member must have length less than " +
			"or equal to 3",
	},
	"deep inside": {
		&sagemaker.CreateEndpointInput{},
		`{"EndpointName":"e","EndpointConfigName":"c",` +
			`"DeploymentConfig":{"AutoRollbackConfiguration":{"Alarms":[{"AlarmName":"a"},{"AlarmName":" "}]}}}`,
		"1 validation error detected: Value ' ' at " +
			"'deploymentConfig.autoRollbackConfiguration.alarms.2.member.alarmName' failed to satisfy constraint: " +
			`Member must satisfy regular expression pattern: ^(?!\s*$).+`,
	},
	"characters are counted, not bytes": {
		&sagemaker.AddTagsInput{},
		`{"ResourceArn":"arn:aws:sagemaker:us-east-1:123456789012:model/m","Tags":[{"Key":"` +
			strings.Repeat("é", 128) + `","Value":""}]}`,
		"",
	},
	"a header's structure, too": {
		&sagemakerruntime.InvokeEndpointInput{EndpointName: new("e"), Body: []byte{}, TargetVariant: new("-")},
		`{"EndpointName":7,"TargetVariant":null}`,
		"1 validation error detected: Value '-' at 'targetVariant' failed to satisfy constraint: Member must satisfy " +
			"regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*",
	},
}

func TestViolationsAreReportedInTheWordsOfTheAPI(t *testing.T) {
	for name, tt := range violations {
		t.Run(name, func(t *testing.T) {
			if err := shape.Decode([]byte(tt.body), tt.in); err != nil {
				t.Fatal(err)
			}
			err := shape.Validate(tt.in, nil)
			got := ""
			if err != nil {
				got = err.Error()
				if !errors.Is(err, fault.Invalid) {
					t.Error("it is not fault.Invalid")
				}
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestWhatIsNotANumberIsWithinNoLimits(t *testing.T) {
	in := sagemaker.DesiredWeightAndCapacity{VariantName: new("v"), DesiredWeight: new(float32(math.NaN()))}
	if err := shape.Validate(in, nil); err == nil ||
		!strings.Contains(err.Error(), "Value 'NaN' at 'desiredWeight' failed") {
		t.Error(err)
	}
}

func TestAnInstallationMayHaveItsOwnInstanceTypes(t *testing.T) {
	var in sagemaker.CreateEndpointConfigInput
	body := `{` + config + `,"ProductionVariants":[{"VariantName":"v","InstanceType":"ml.mine.large"}]}`
	if err := shape.Decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	if err := shape.Validate(in, shape.Enums{"ProductionVariantInstanceType": {"ml.mine.large"}}); err != nil {
		t.Error(err)
	}
	err := shape.Validate(in, nil)
	want := "1 validation error detected: Value 'ml.mine.large' at 'productionVariants.1.member.instanceType' failed " +
		"to satisfy constraint: Member must satisfy enum value set: [ml."
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestAHostileDocumentGetsAShortAnswer(t *testing.T) {
	tests := map[string]struct {
		in   shape.Value
		body string
	}{
		"a million bytes in one string": {
			&sagemaker.DescribeModelInput{}, `{"ModelName":"` + strings.Repeat("-", 1<<20) + `"}`,
		},
		"forty thousand broken items": {
			&sagemaker.UpdateEndpointWeightsAndCapacitiesInput{},
			`{"EndpointName":"e","DesiredWeightsAndCapacities":[` + strings.Repeat(`{},`, 40_000) + `{}]}`,
		},
		"an endless list": {
			&sagemaker.CreateEndpointConfigInput{},
			`{"ProductionVariants":[` + strings.Repeat(`{"VariantName":"-"},`, 40_000) + `{}]}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := shape.Decode([]byte(tt.body), tt.in); err != nil {
				t.Fatal(err)
			}
			err := shape.Validate(tt.in, nil)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if n := len(err.Error()); n > 32<<10 {
				t.Errorf("the answer has %d bytes", n)
			}
		})
	}
}
