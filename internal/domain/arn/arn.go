// Package arn writes and reads Amazon resource names. Whether the resource
// exists is not its job.
package arn

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Scope is where a name is unique: one account in one region. Every region
// that a client signs for is a scope of its own, as on AWS.
type Scope struct {
	Region  string `json:"Region"`  // as in the request's credential scope, such as "us-east-1"
	Account string `json:"Account"` // twelve digits
}

// The kinds of resource that have a name of their own (spec §2.0.1).
const (
	KindModel          = "model"
	KindEndpointConfig = "endpoint-config"
	KindEndpoint       = "endpoint"
)

// Partition returns the AWS partition that a region belongs to.
func Partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// Model returns the ARN of a model.
func (s Scope) Model(name string) string { return s.SageMaker(KindModel, name) }

// EndpointConfig returns the ARN of an endpoint configuration.
func (s Scope) EndpointConfig(name string) string { return s.SageMaker(KindEndpointConfig, name) }

// Endpoint returns the ARN of an endpoint; the case of its name is kept.
func (s Scope) Endpoint(name string) string { return s.SageMaker(KindEndpoint, name) }

// SageMaker returns the ARN of a SageMaker resource.
func (s Scope) SageMaker(kind, name string) string {
	return s.service("sagemaker") + kind + "/" + name
}

// LogGroup returns the ARN of an endpoint's log group, as ModelError names it.
func (s Scope) LogGroup(endpoint string) string {
	return s.service("logs") + "log-group:/aws/sagemaker/Endpoints/" + endpoint
}

// alarmPart is what stands before an alarm's name in its ARN.
const alarmPart = "alarm:"

// Alarm returns the ARN of a CloudWatch alarm (spec §7.3).
func (s Scope) Alarm(name string) string { return s.service("cloudwatch") + alarmPart + name }

// ParseAlarm splits the ARN of an alarm into its scope and name, which may
// itself contain colons.
func ParseAlarm(s string) (scope Scope, name string, err error) {
	f := strings.SplitN(s, ":", 6)
	if len(f) == 6 && f[0] == "arn" && strings.HasPrefix(f[1], "aws") && f[2] == "cloudwatch" {
		if name, ok := strings.CutPrefix(f[5], alarmPart); ok && name != "" {
			return Scope{Region: f[3], Account: f[4]}, name, nil
		}
	}
	return Scope{}, "", fault.New(fault.Invalid, "%q is not the ARN of an alarm.", s)
}

func (s Scope) service(name string) string {
	return "arn:" + Partition(s.Region) + ":" + name + ":" + s.Region + ":" + s.Account + ":"
}

// ParseSageMaker splits a SageMaker ARN into its scope, kind and name.
func ParseSageMaker(s string) (scope Scope, kind, name string, err error) {
	f := strings.SplitN(s, ":", 6)
	if len(f) == 6 && f[0] == "arn" && strings.HasPrefix(f[1], "aws") && f[2] == "sagemaker" {
		if kind, name, ok := strings.Cut(f[5], "/"); ok && kind != "" && name != "" {
			return Scope{Region: f[3], Account: f[4]}, kind, name, nil
		}
	}
	return Scope{}, "", "", fault.New(fault.Invalid, "%q is not the ARN of a SageMaker resource.", s)
}
