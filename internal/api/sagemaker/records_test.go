package sagemaker_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

const prefix = "arn:aws:sagemaker:us-east-1:000000000000:"

// accepted sends a request that must succeed and returns the answer.
func (w *world) accepted(op, body string) string {
	w.t.Helper()
	status, got := w.raw(op, body)
	if status != 200 {
		w.t.Fatalf("%s: %d %s", op, status, got)
	}
	return timeless(got)
}

func (w *world) same(got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAModelIsEchoedAsSentWithItsDefaults(t *testing.T) {
	w := newWorld(t)
	w.same(w.accepted("CreateModel", `{"ModelName":"m","PrimaryContainer":{"Image":"i",`+
		`"ModelDataUrl":"s3://b/k.tar.gz","Environment":{"B":"<2>","A":""}},`+
		`"ExecutionRoleArn":"arn:aws:iam::000000000000:role/r","VpcConfig":{"SecurityGroupIds":["sg-1"],`+
		`"Subnets":["s-1","s-2"]},"Tags":[{"Key":"k","Value":"v"}]}`),
		`{"ModelArn":"`+prefix+`model/m"}`)
	w.same(w.accepted("DescribeModel", `{"ModelName":"m"}`),
		`{"ModelName":"m","PrimaryContainer":{"Image":"i","Mode":"SingleModel","ModelDataUrl":"s3://b/k.tar.gz",`+
			`"Environment":{"A":"","B":"<2>"}},`+
			`"ExecutionRoleArn":"arn:aws:iam::000000000000:role/r","VpcConfig":{"SecurityGroupIds":["sg-1"],`+
			`"Subnets":["s-1","s-2"]},"CreationTime":T,"ModelArn":"`+
			prefix+`model/m","EnableNetworkIsolation":false}`)

	// A list of one container behaves like a primary one, and comes back as a list.
	w.accepted(
		"CreateModel",
		`{"ModelName":"n","Containers":[{"Image":"i","ModelDataSource":{"S3DataSource":{"S3Uri":"s3://b/p/",`+
			`"S3DataType":"S3Prefix","CompressionType":"None"}}}],"EnableNetworkIsolation":true}`,
	)
	w.same(w.accepted("DescribeModel", `{"ModelName":"n"}`),
		`{"ModelName":"n","Containers":[{"Image":"i","Mode":"SingleModel",`+
			`"ModelDataSource":{"S3DataSource":{"S3Uri":"s3://b/p/","S3DataType":"S3Prefix",`+
			`"CompressionType":"None"}},"Environment":{}}],`+
			`"CreationTime":T,"ModelArn":"`+prefix+`model/n","EnableNetworkIsolation":true}`)

	w.same(
		w.accepted("ListModels", `{"SortBy":"Name"}`),
		`{"Models":[{"ModelName":"n","ModelArn":"`+prefix+`model/n","CreationTime":T},{"ModelName":"m","ModelArn":"`+
			prefix+`model/m","CreationTime":T}]}`,
	)
	w.same(w.accepted("DeleteModel", `{"ModelName":"n"}`), ``)
	_, err := w.DescribeModel(t.Context(), &sagemaker.DescribeModelInput{ModelName: new("n")})
	w.refused(err, "ValidationException", `Could not find model "`+prefix+`model/n".`)
	_, err = w.DeleteModel(t.Context(), &sagemaker.DeleteModelInput{ModelName: new("n")})
	w.refused(err, "ValidationException", `Could not find model "`+prefix+`model/n".`)
}

func TestModelDataIsUnderstoodByItsLayout(t *testing.T) {
	w := newWorld(t)
	source := func(typ, compression, uri string) string {
		return `"ModelDataSource":{"S3DataSource":{"S3Uri":"` + uri + `","S3DataType":"` + typ +
			`","CompressionType":"` + compression + `"}}`
	}
	for name, tt := range map[string]struct{ container, want string }{
		"archive":     {`"ModelDataUrl":"s3://b/k.tar.gz"`, "s3://b/k.tar.gz Archive"},
		"compressed":  {source("S3Object", "Gzip", "s3://b/k"), "s3://b/k Archive"},
		"prefix":      {source("S3Prefix", "None", "s3://b/p/"), "s3://b/p/ Prefix"},
		"object":      {source("S3Object", "None", "s3://b/o"), "s3://b/o Object"},
		"nothing":     {`"Environment":{}`, "none"},
		"one-in-list": {`"ContainerHostname":"h"`, "none"},
	} {
		body := `{"ModelName":"` + name + `","PrimaryContainer":{"Image":"i",` + tt.container + `}}`
		if name == "one-in-list" {
			body = `{"ModelName":"` + name + `","Containers":[{"Image":"i",` + tt.container + `}]}`
		}
		w.accepted("CreateModel", body)
		m, err := w.db.Model(t.Context(), scope, name)
		w.ok(err)
		got := "none"
		if d := m.Containers[0].ModelData; d != nil {
			got = d.URI + " " + string(d.Layout)
		}
		if called := m.Containers[0].Name; got != tt.want ||
			called != map[bool]string{true: "h", false: "primary"}[name == "one-in-list"] {
			t.Errorf("%s: %s, called %s", name, got, called)
		}
	}
}

func TestAConfigurationIsEchoedAsSentWithItsDefaults(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	w.same(w.accepted("CreateEndpointConfig", `{"EndpointConfigName":"c","ProductionVariants":[`+
		`{"VariantName":"a","ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.mine.large",`+
		`"VolumeSizeInGB":8,"ModelDataDownloadTimeoutInSeconds":60,`+
		`"RoutingConfig":{"RoutingStrategy":"LEAST_OUTSTANDING_REQUESTS"}},`+
		`{"VariantName":"b","ModelName":"m","InitialInstanceCount":2,"InstanceType":"ml.m5.large",`+
		`"InitialVariantWeight":0,"EnableSSMAccess":false}],`+
		`"DataCaptureConfig":{"EnableCapture":false,"InitialSamplingPercentage":5,"DestinationS3Uri":"s3://b/",`+
		`"CaptureOptions":[{"CaptureMode":"Input"}]},"KmsKeyId":"k",`+
		`"MetricsConfig":{"EnableEnhancedMetrics":false},`+
		`"Tags":[{"Key":"k","Value":"v"}]}`), `{"EndpointConfigArn":"`+prefix+`endpoint-config/c"}`)
	w.same(w.accepted(
		"DescribeEndpointConfig", `{"EndpointConfigName":"c"}`,
	), `{"EndpointConfigName":"c","EndpointConfigArn":"`+prefix+`endpoint-config/c","ProductionVariants":[`+
		`{"VariantName":"a","ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.mine.large",`+
		`"InitialVariantWeight":1.0,"VolumeSizeInGB":8,"ModelDataDownloadTimeoutInSeconds":60,`+
		`"RoutingConfig":{"RoutingStrategy":"LEAST_OUTSTANDING_REQUESTS"}},`+
		`{"VariantName":"b","ModelName":"m","InitialInstanceCount":2,"InstanceType":"ml.m5.large",`+
		`"InitialVariantWeight":0.0,"EnableSSMAccess":false}],`+
		`"DataCaptureConfig":{"EnableCapture":false,"InitialSamplingPercentage":5,"DestinationS3Uri":"s3://b/",`+
		`"CaptureOptions":[{"CaptureMode":"Input"}]},"KmsKeyId":"k","CreationTime":T,`+
		`"EnableNetworkIsolation":false,"MetricsConfig":{"EnableEnhancedMetrics":false}}`)

	// What Describe echoes of it once an endpoint runs it.
	w.accepted("CreateEndpoint", `{"EndpointName":"e","EndpointConfigName":"c"}`)
	w.settle("e")
	got := w.describe("e")
	if d := got.DataCaptureConfig; d == nil || *d.EnableCapture || d.CaptureStatus != types.CaptureStatusStopped ||
		*d.CurrentSamplingPercentage != 5 || *d.DestinationS3Uri != "s3://b/" || *d.KmsKeyId != "" {
		t.Errorf("got %+v", d)
	}
	if r := got.ProductionVariants[0].RoutingConfig; r == nil ||
		r.RoutingStrategy != types.RoutingStrategyLeastOutstandingRequests {
		t.Errorf("got %+v", r)
	}

	w.same(w.accepted("DeleteEndpointConfig", `{"EndpointConfigName":"c"}`), ``)
	_, err := w.DescribeEndpointConfig(
		t.Context(), &sagemaker.DescribeEndpointConfigInput{EndpointConfigName: new("c")},
	)
	w.refused(err, "ValidationException", `Could not find endpoint configuration "`+prefix+`endpoint-config/c".`)
}

func TestRecordsAreRefusedInTheWordsThatClientsMatch(t *testing.T) {
	w := newWorld(t)
	w.model("m")
	w.config("c", "m", 1)
	config := func(variants string) string {
		return `{"EndpointConfigName":"x","ProductionVariants":[` + variants + `]}`
	}
	const ok = `"ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.m5.large"}`
	tests := map[string]struct{ op, body, want string }{
		"a model's name taken": {
			"CreateModel", `{"ModelName":"m","PrimaryContainer":{"Image":"i"}}`,
			`Cannot create already existing model "` + prefix + `model/m".`,
		},
		"no container": {
			"CreateModel", `{"ModelName":"x"}`, `Exactly one of PrimaryContainer or Containers must be specified.`,
		},
		"both forms": {
			"CreateModel", `{"ModelName":"x","PrimaryContainer":{"Image":"i"},"Containers":[{"Image":"i"}]}`,
			`Exactly one of PrimaryContainer or Containers must be specified.`,
		},
		"no image": {
			"CreateModel", `{"ModelName":"x","PrimaryContainer":{}}`, `Container "primary" must specify an Image.`,
		},
		"data in two places": {
			"CreateModel",
			`{"ModelName":"x","PrimaryContainer":{"Image":"i","ModelDataUrl":"s3://b/k","ModelDataSource":{}}}`,
			`Container "primary" cannot specify both ModelDataUrl and ModelDataSource.`,
		},
		"a configuration's, taken": {
			"CreateEndpointConfig", `{"EndpointConfigName":"c","ProductionVariants":[{"VariantName":"v",` + ok + `]}`,
			`Cannot create already existing endpoint configuration "` + prefix + `endpoint-config/c".`,
		},
		"a model that is missing": {
			"CreateEndpointConfig",
			config(`{"VariantName":"v","ModelName":"y","InitialInstanceCount":1,"InstanceType":"ml.m5.large"}`),
			`Could not find model "` + prefix + `model/y".`,
		},
		"one variant twice": {
			"CreateEndpointConfig", config(`{"VariantName":"v",` + ok + `,{"VariantName":"v",` + ok),
			`Variant names must be unique. Found duplicates: [v].`,
		},
		"no instances": {
			"CreateEndpointConfig", config(`{"VariantName":"v","ModelName":"m","InstanceType":"ml.m5.large"}`),
			`ProductionVariant "v" must specify either InstanceType and InitialInstanceCount, or ServerlessConfig.`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, got := w.raw(tt.op, tt.body)
			want := `{"__type":"ValidationException","message":"` + strings.ReplaceAll(tt.want, `"`, `\"`) + `"}`
			if status != 400 || got != want {
				t.Errorf("got %d %s\nwant %s", status, got, want)
			}
		})
	}
}

func TestWhatSlipwayLacksIsRefusedByName(t *testing.T) {
	w := newWorld(t)
	w.endpoint()
	model := func(container string) string {
		return `{"ModelName":"x","PrimaryContainer":{"Image":"i",` + container + `}}`
	}
	config := func(more, variant string) string {
		return `{"EndpointConfigName":"x",` + more + `"ProductionVariants":[{"VariantName":"v",` + variant + `}]}`
	}
	const plain = `"ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.m5.large"`
	const s3 = `"ModelDataSource":{"S3DataSource":{"S3Uri":"s3://b/k","S3DataType":"S3Prefix","CompressionType":`
	tests := map[string]struct{ op, body, want string }{
		"a pipeline": {
			"CreateModel", `{"ModelName":"x","Containers":[{"Image":"i"},{"Image":"j"}]}`,
			"A model of several containers",
		},
		"direct mode": {
			"CreateModel",
			`{"ModelName":"x","Containers":[{"Image":"i"}],"InferenceExecutionConfig":{"Mode":"Direct"}}`,
			"InferenceExecutionConfig with the mode Direct",
		},
		"many models": {"CreateModel", model(`"Mode":"MultiModel"`), "A container of the mode MultiModel"},
		"a package":   {"CreateModel", model(`"ModelPackageName":"p"`), "ModelPackageName"},
		"more data": {
			"CreateModel",
			model(
				`"AdditionalModelDataSources":[{"ChannelName":"c","S3DataSource":{"S3Uri":"s3://b/k",` +
					`"S3DataType":"S3Object","CompressionType":"None"}}]`,
			),
			"AdditionalModelDataSources",
		},
		"data on the web": {
			"CreateModel", model(`"ModelDataUrl":"https://b.s3.amazonaws.com/k"`), "Model data at an https URL (s3 is)",
		},
		"a manifest":      {"CreateModel", model(s3 + `"None","ManifestS3Uri":"s3://b/m"}}`), "ManifestS3Uri"},
		"zipped prefixes": {"CreateModel", model(s3 + `"Gzip"}}`), "Compressed model data with the type S3Prefix"},
		"serverless shadows": {
			"CreateEndpointConfig",
			config(
				`"ShadowProductionVariants":[{"VariantName":"s","ModelName":"m",`+
					`"ServerlessConfig":{"MemorySizeInMB":1024,"MaxConcurrency":1}}],`,
				plain,
			),
			"ServerlessConfig",
		},
		"async": {
			"CreateEndpointConfig", config(`"AsyncInferenceConfig":{"OutputConfig":{}},`, plain),
			"AsyncInferenceConfig",
		},
		"serverless": {
			"CreateEndpointConfig",
			config(``, `"ModelName":"m","ServerlessConfig":{"MemorySizeInMB":1024,"MaxConcurrency":1}`),
			"ServerlessConfig",
		},
		"components": {
			"CreateEndpointConfig", config(``, `"InitialInstanceCount":1,"InstanceType":"ml.m5.large"`),
			"A production variant without a ModelName (inference components)",
		},
		"pools": {
			"CreateEndpointConfig",
			config(``, `"ModelName":"m","InstancePools":[{"InstanceType":"ml.m5.large","Priority":1}]`),
			"InstancePools",
		},
		"managed scaling": {
			"CreateEndpointConfig", config(``, plain+`,"ManagedInstanceScaling":{"Status":"ENABLED"}`),
			"ManagedInstanceScaling",
		},
		"serverless update": {
			"UpdateEndpointWeightsAndCapacities",
			`{"EndpointName":"e","DesiredWeightsAndCapacities":[{"VariantName":"v",` +
				`"ServerlessUpdateConfig":{"MaxConcurrency":1}}]}`,
			"ServerlessUpdateConfig",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, got := w.raw(tt.op, tt.body)
			if want := `{"__type":"ValidationException","message":"` + tt.want +
				` is not supported by Slipway."}`; status != 400 || got != want {
				t.Errorf("got %d %s\nwant %s", status, got, want)
			}
		})
	}
}
