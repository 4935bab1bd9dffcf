package awshost_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/awshost"
)

func TestOnlyNamesOfServicesThatAreServedAreKnown(t *testing.T) {
	for host, want := range map[string]awshost.Name{
		"sts.us-east-1.amazonaws.com:443": {Service: "sts", Base: "sts.us-east-1.amazonaws.com"},
		"STS.amazonaws.com.":              {Service: "sts", Base: "sts.amazonaws.com"},
		"api.sagemaker.us-gov-west-1.amazonaws.com": {
			Service: "sagemaker", Base: "api.sagemaker.us-gov-west-1.amazonaws.com",
		},
		"runtime.sagemaker.cn-north-1.amazonaws.com.cn": {
			Service: "sagemaker", Base: "runtime.sagemaker.cn-north-1.amazonaws.com.cn",
		},
		"edge.sagemaker.eu-west-1.amazonaws.com": {
			Service: "sagemaker", Base: "edge.sagemaker.eu-west-1.amazonaws.com",
		},
		"monitoring.us-east-1.amazonaws.com": {
			Service: "monitoring", Base: "monitoring.us-east-1.amazonaws.com",
		},
		"iot.us-east-1.amazonaws.com": {Service: "iot", Base: "iot.us-east-1.amazonaws.com"},
		"s3.amazonaws.com":            {Service: "s3", Base: "s3.amazonaws.com"},
		"s3.us-east-1.amazonaws.com":  {Service: "s3", Base: "s3.us-east-1.amazonaws.com"},
		"b.s3.us-east-1.amazonaws.com": {
			Service: "s3", Bucket: "b", Base: "s3.us-east-1.amazonaws.com",
		},
		"b.c.s3.amazonaws.com": {Service: "s3", Bucket: "b.c", Base: "s3.amazonaws.com"},
		"b.s3.dualstack.eu-west-1.amazonaws.com": {
			Service: "s3", Bucket: "b", Base: "s3.dualstack.eu-west-1.amazonaws.com",
		},
		"b.s3-fips.us-east-1.amazonaws.com": {
			Service: "s3", Bucket: "b", Base: "s3-fips.us-east-1.amazonaws.com",
		},
		"s3-fips.dualstack.us-east-1.amazonaws.com": {
			Service: "s3", Base: "s3-fips.dualstack.us-east-1.amazonaws.com",
		},
		"sts-fips.us-east-1.amazonaws.com": {Service: "sts", Base: "sts-fips.us-east-1.amazonaws.com"},
		"monitoring-fips.us-east-1.amazonaws.com": {
			Service: "monitoring", Base: "monitoring-fips.us-east-1.amazonaws.com",
		},
		"iot-fips.us-east-1.amazonaws.com": {Service: "iot", Base: "iot-fips.us-east-1.amazonaws.com"},
		"api-fips.sagemaker.us-east-1.amazonaws.com": {
			Service: "sagemaker", Base: "api-fips.sagemaker.us-east-1.amazonaws.com",
		},
		"runtime-fips.sagemaker.us-east-1.amazonaws.com": {
			Service: "sagemaker", Base: "runtime-fips.sagemaker.us-east-1.amazonaws.com",
		},
		"api.sagemaker.us-east-1.api.aws": {Service: "sagemaker", Base: "api.sagemaker.us-east-1.api.aws"},
		"runtime-fips.sagemaker.us-east-1.api.aws": {
			Service: "sagemaker", Base: "runtime-fips.sagemaker.us-east-1.api.aws",
		},
		"monitoring.us-east-1.api.aws": {Service: "monitoring", Base: "monitoring.us-east-1.api.aws"},
		"sts.cn-north-1.api.amazonwebservices.com.cn": {
			Service: "sts", Base: "sts.cn-north-1.api.amazonwebservices.com.cn",
		},
		"c2s1.credentials.iot.eu-west-1.amazonaws.com": {
			Service: awshost.Credentials, Base: "c2s1.credentials.iot.eu-west-1.amazonaws.com",
		},
		"sagemaker-us-east-1-1.s3.amazonaws.com:443": {
			Service: "s3", Bucket: "sagemaker-us-east-1-1", Base: "s3.amazonaws.com",
		},
	} {
		if got, ok := awshost.Parse(host); !ok || got != want {
			t.Errorf("%s is %+v %t", host, got, ok)
		}
	}
	for _, host := range []string{
		"", "localhost", "127.0.0.1:9400", "amazonaws.com", ".amazonaws.com", "example.com", "iam.amazonaws.com",
		"ec2.us-east-1.amazonaws.com", "sts.us-east-1.amazonaws.com.evil.com", "evilamazonaws.com",
		"sts.us-east-1.evil.amazonaws.com", "x.sts.us-east-1.amazonaws.com", "monitoring.amazonaws.com",
		"b..s3.amazonaws.com", "s3.b.amazonaws.com", "[::1]:443", "169.254.169.254", "us-east-1.amazonaws.com",
		"us-east-1.api.aws", "iam.us-east-1.api.aws", "sts.api.aws", "b.s3.us-east-1.api.aws", "sts-fips.amazonaws.com",
		"credentials.iot.us-east-1.amazonaws.com", "a.b.credentials.iot.us-east-1.amazonaws.com", "api.aws",
		"sts.us-east-1.aws", "sts-fips-fips.us-east-1.amazonaws.com",
	} {
		if got, ok := awshost.Parse(host); ok {
			t.Errorf("%s is taken for %+v", host, got)
		}
	}
}

// Regions as the SDKs' list of partitions had them when this was written.
func TestRegionsOfEveryPartitionAreKnown(t *testing.T) {
	for region, known := range map[string]bool{
		"us-east-1": true, "us-west-2": true, "eu-central-2": true, "ap-northeast-1": true, "ap-southeast-7": true,
		"sa-east-1": true, "ca-west-1": true, "me-south-1": true, "af-south-1": true, "il-central-1": true,
		"mx-central-1": true, "cn-north-1": true, "cn-northwest-1": true, "us-gov-east-1": true,
		"us-gov-west-1": true, "us-iso-east-1": true, "us-iso-west-1": true, "us-isob-east-1": true,
		"us-isof-south-1": true, "eu-isoe-west-1": true, "eusc-de-east-1": true,

		"aws-global": false, "us-east": false, "us-east-1a": false, "eusc-east-1": false, "xx-east-1": false,
		"us-isoz-east-1": false, "us-east-1-1": false,
	} {
		for _, domain := range []string{"amazonaws.com", "amazonaws.eu", "api.aws"} {
			if _, ok := awshost.Parse("api.sagemaker." + region + "." + domain); ok != known {
				t.Errorf("%s below %s: known %v, want %v", region, domain, ok, known)
			}
		}
	}
}
