package awserr_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
)

// What an operation on fleets, plans and jobs answers (edge specification §1.7,
// §1.8): not found, exists, in use, limit.
func TestFleetsPlansAndJobsFailInTheWordsThatTheirClientsGoBy(t *testing.T) {
	const v, nf, use, limit = "ValidationException", "ResourceNotFound", "ResourceInUse", "ResourceLimitExceeded"
	wants := map[string][4]string{
		"CreateDeviceFleet": {v, use, use, limit}, "DescribeDeviceFleet": {v, v, v, limit},
		"UpdateDeviceFleet": {v, v, use, v},
		"ListDeviceFleets":  {v, v, v, limit}, "DeleteDeviceFleet": {v, v, use, v},
		"GetDeviceFleetReport": {v, v, v, limit},
		"RegisterDevices":      {v, v, v, limit}, "DeregisterDevices": {v, v, v, v}, "UpdateDevices": {v, v, v, v},
		"DescribeDevice": {v, v, v, limit}, "ListDevices": {v, v, v, limit},
		"CreateEdgeDeploymentPlan": {v, use, use, limit}, "DescribeEdgeDeploymentPlan": {nf, v, v, v},
		"ListEdgeDeploymentPlans":  {v, v, v, limit},
		"DeleteEdgeDeploymentPlan": {nf, v, use, v}, "CreateEdgeDeploymentStage": {nf, v, v, limit},
		"DeleteEdgeDeploymentStage": {nf, v, use, v},
		"StartEdgeDeploymentStage":  {nf, v, v, v}, "StopEdgeDeploymentStage": {nf, v, v, v},
		"ListStageDevices":       {nf, v, v, v},
		"CreateEdgePackagingJob": {v, use, use, limit}, "DescribeEdgePackagingJob": {nf, v, v, v},
		"StopEdgePackagingJob": {nf, v, v, v}, "ListEdgePackagingJobs": {v, v, v, limit},
		"CreateCompilationJob": {v, use, use, limit}, "DescribeCompilationJob": {nf, v, v, v},
		"StopCompilationJob":   {nf, v, v, v},
		"DeleteCompilationJob": {nf, v, v, v}, "ListCompilationJobs": {v, v, v, limit},
	}
	for op, want := range wants {
		known := sagemaker.API().Operation(op)
		if known == nil {
			t.Errorf("SageMaker has no %s", op)
			continue
		}
		for i, kind := range []fault.Kind{fault.NotFound, fault.Exists, fault.InUse, fault.Limit} {
			if e := awserr.Of(awserr.SageMaker, op, fault.New(kind, "x")); e.Code != want[i] || e.Status != 400 {
				t.Errorf("%s answers %d %s to %q, not %s", op, e.Status, e.Code, kind, want[i])
			}
		}
	}
	for _, op := range sagemaker.API().Operations {
		about := func(word string) bool { return strings.Contains(op.Name, word) }
		if slices.ContainsFunc([]string{"Device", "EdgeDep", "EdgePack", "Compilation"}, about) &&
			wants[op.Name] == [4]string{} {
			t.Errorf("%s is not looked at", op.Name)
		}
	}
}

func TestDevicesAndThingsAnswerOnlyWhatTheyDeclareOrWhatAllMaySay(t *testing.T) {
	common := []string{"ValidationException", "AccessDeniedException", "ThrottlingException", "ServiceUnavailable"}
	for _, op := range sagemakeredge.API().Operations {
		for k := fault.Internal; k <= fault.Unsupported; k++ {
			if e := awserr.Of(awserr.SageMakerEdge, op.Name, fault.New(k, "x")); !slices.Contains(op.Errors, e.Code) &&
				!slices.Contains(common, e.Code) {
				t.Errorf("%s answers %s to %q", op.Name, e.Code, k)
			}
		}
	}
	declared := map[string]bool{"AccessDeniedException": true}
	for _, op := range iot.API().Operations {
		for _, code := range op.Errors {
			declared[code] = true
		}
	}
	for _, op := range iot.API().Operations {
		for k := fault.Internal; k <= fault.Unsupported; k++ {
			if e := awserr.Of(awserr.IoT, op.Name, fault.New(k, "x")); !declared[e.Code] {
				t.Errorf("%s answers %s to %q", op.Name, e.Code, k)
			}
		}
	}
	if e := awserr.Of(awserr.IoT, "CreateThing", &shape.DecodeError{Text: "no"}); e.Code != "InvalidRequestException" ||
		e.Message != "no" {
		t.Errorf("%+v", e)
	}
}
