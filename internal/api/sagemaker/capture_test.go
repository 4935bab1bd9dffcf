package sagemaker_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// captured is a CreateEndpointConfig with this DataCaptureConfig.
func captured(name, capture string) string {
	return `{"EndpointConfigName":"` + name + `","ProductionVariants":[{"VariantName":"v","ModelName":"m",` +
		`"InitialInstanceCount":1,"InstanceType":"ml.m5.large"}],"DataCaptureConfig":{` + capture + `}}`
}

// Spec §5.1: what was sent is echoed, byte for byte, and what was not stays absent:
// a plan of Terraform would show a change otherwise.
func TestADataCaptureConfigIsEchoedAsSent(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	const least = `"InitialSamplingPercentage":20,"DestinationS3Uri":"s3://b","CaptureOptions":[{"CaptureMode":"Input"}]`
	for name, capture := range map[string]string{
		"least": least,
		"on":    `"EnableCapture":true,` + least,
		"off":   `"EnableCapture":false,` + least,
		"all": `"EnableCapture":true,"InitialSamplingPercentage":0,"DestinationS3Uri":"s3://b//a b/é/","KmsKeyId":"alias/k",` +
			`"CaptureOptions":[{"CaptureMode":"Output"},{"CaptureMode":"Input"},{"CaptureMode":"Output"}],` +
			`"CaptureContentTypeHeader":{"CsvContentTypes":["text/csv","text/CSV"],` +
			`"JsonContentTypes":["application/json","application/jsonlines"]}`,
		"no-kms": `"InitialSamplingPercentage":100,"DestinationS3Uri":"s3://b/","KmsKeyId":"",` +
			`"CaptureOptions":[{"CaptureMode":"InputAndOutput"}]`,
		"csv-alone": least + `,"CaptureContentTypeHeader":{"CsvContentTypes":["text/csv"]}`,
		"no-types":  least + `,"CaptureContentTypeHeader":{}`,
		"web-off":   `"EnableCapture":false,` + strings.Replace(least, "s3://", "https://", 1),
	} {
		w.accepted("CreateEndpointConfig", captured(name, capture))
		got := w.accepted("DescribeEndpointConfig", `{"EndpointConfigName":"`+name+`"}`)
		if want := `"DataCaptureConfig":{` + capture + `},"CreationTime"`; !strings.Contains(got, want) {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
	}
	w.accepted("CreateEndpointConfig", strings.Replace(captured("none", ""), `,"DataCaptureConfig":{}`, "", 1))
	if got := w.accepted("DescribeEndpointConfig", `{"EndpointConfigName":"none"}`); strings.Contains(got, "Capture") {
		t.Errorf("without one: %s", got)
	}
}

func TestADataCaptureConfigIsCheckedAsByTheAPI(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	const one = "1 validation error detected: Value "
	config := func(percent, uri, options, more string) string {
		return captured("c", `"InitialSamplingPercentage":`+percent+`,"DestinationS3Uri":"`+uri+`","CaptureOptions":[`+
			options+`]`+more)
	}
	const in = `{"CaptureMode":"Input"}`
	many := strings.TrimSuffix(strings.Repeat(in+",", 33), ",")
	for name, c := range map[string]struct{ body, want string }{
		"below 0 %": {
			config("-1", "s3://b", in, ""),
			one + "'-1' at 'dataCaptureConfig.initialSamplingPercentage' failed to satisfy constraint: " +
				"Member must have value greater than or equal to 0",
		},
		"above 100 %": {
			config("101", "s3://b", in, ""),
			one + "'101' at 'dataCaptureConfig.initialSamplingPercentage' failed to satisfy constraint: " +
				"Member must have value less than or equal to 100",
		},
		"another scheme": {
			config("1", "ftp://b", in, ""),
			one + "'ftp://b' at 'dataCaptureConfig.destinationS3Uri' failed to satisfy constraint: " +
				"Member must satisfy regular expression pattern: ^(https|s3)://([^/])/?(.*)",
		},
		"no bucket": {
			config("1", "s3:///p", in, ""),
			one + "'s3:///p' at 'dataCaptureConfig.destinationS3Uri' failed to satisfy constraint: " +
				"Member must satisfy regular expression pattern: ^(https|s3)://([^/])/?(.*)",
		},
		"a long destination": {
			config("1", "s3://"+strings.Repeat("b", 508), in, ""),
			one + "'s3://" + strings.Repeat("b", 508) + "' at 'dataCaptureConfig.destinationS3Uri' failed to satisfy " +
				"constraint: Member must have length less than or equal to 512",
		},
		"no option": {
			config("1", "s3://b", "", ""),
			one + "'[]' at 'dataCaptureConfig.captureOptions' failed to satisfy constraint: " +
				"Member must have length greater than or equal to 1",
		},
		"33 options": {
			config("1", "s3://b", many, ""),
			"Member must have length less than or equal to 32",
		},
		"an unknown option": {
			config("1", "s3://b", `{"CaptureMode":"Both"}`, ""),
			one + "'Both' at 'dataCaptureConfig.captureOptions.1.member.captureMode' failed to satisfy constraint: " +
				"Member must satisfy enum value set: [Input, Output, InputAndOutput]",
		},
		"no content type": {
			config("1", "s3://b", in, `,"CaptureContentTypeHeader":{"CsvContentTypes":[]}`),
			one + "'[]' at 'dataCaptureConfig.captureContentTypeHeader.csvContentTypes' failed to satisfy constraint: " +
				"Member must have length greater than or equal to 1",
		},
		"11 content types": {
			config("1", "s3://b", in, `,"CaptureContentTypeHeader":{"JsonContentTypes":[`+
				strings.TrimSuffix(strings.Repeat(`"a/b",`, 11), ",")+`]}`),
			"Member must have length less than or equal to 10",
		},
		"nothing": {
			captured("c", ""),
			"3 validation errors detected: Value null at 'dataCaptureConfig.initialSamplingPercentage'",
		},
		"another host's S3": {
			config("1", "https://bucket.s3.amazonaws.com/p", in, ""),
			`DataCaptureConfig.DestinationS3Uri \"https://bucket.s3.amazonaws.com/p\" is not supported by Slipway: ` +
				`requests are captured into its own object store, s3://bucket/prefix.`,
		},
	} {
		status, got := w.raw("CreateEndpointConfig", c.body)
		if status != 400 || !strings.Contains(got, `"__type":"ValidationException"`) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %d %s\nwant %s", name, status, got, c.want)
		}
	}
	_, err := w.DescribeEndpointConfig(
		t.Context(), &sagemaker.DescribeEndpointConfigInput{EndpointConfigName: new("c")},
	)
	if err == nil {
		t.Error("a configuration that was refused is there")
	}
}

// Spec §5.1: all five members, whatever was sent, and nothing without a capture.
func TestDescribeEndpointShowsWhetherRequestsAreCaptured(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	const rest = `"InitialSamplingPercentage":20,"DestinationS3Uri":"s3://b/p/","CaptureOptions":[{"CaptureMode":"Input"}]`
	w.accepted("CreateEndpointConfig", captured("on", rest))
	w.accepted("CreateEndpointConfig", captured("off", `"EnableCapture":false,"KmsKeyId":"k",`+rest))
	w.config("none", "m", 1)
	shows := func(when, want string) {
		t.Helper()
		_, got := w.raw("DescribeEndpoint", `{"EndpointName":"e"}`)
		if want == "" && strings.Contains(got, "Capture") || !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %s", when, got, want)
		}
	}
	summary := func(enabled, status, key string) string {
		return `"DataCaptureConfig":{"EnableCapture":` + enabled + `,"CaptureStatus":"` + status +
			`","CurrentSamplingPercentage":20,"DestinationS3Uri":"s3://b/p/","KmsKeyId":"` + key + `"}`
	}
	w.accepted("CreateEndpoint", `{"EndpointName":"e","EndpointConfigName":"on"}`)
	shows("while it is created", "")
	w.settle("e")
	shows("in service", summary("true", "Started", ""))
	w.notCaptured = "the disk is full"
	shows("while it cannot be captured", summary("true", "Stopped", ""))
	w.notCaptured = ""

	// A new configuration counts from when it is in service; nothing of the old
	// capture is retained.
	update := func(to string, retain bool) {
		t.Helper()
		_, err := w.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
			EndpointName: new("e"), EndpointConfigName: &to, RetainAllVariantProperties: &retain,
			ExcludeRetainedVariantProperties: []types.VariantProperty{
				{VariantPropertyType: types.VariantPropertyTypeDataCaptureConfig},
			},
		})
		w.ok(err)
	}
	update("off", false)
	shows("while an update runs", summary("true", "Started", ""))
	w.settle("e")
	shows("switched off", summary("false", "Stopped", "k"))
	update("none", true)
	w.settle("e")
	shows("without a capture", "")
	update("on", true)
	w.settle("e")
	shows("in service again", summary("true", "Started", ""))
}
