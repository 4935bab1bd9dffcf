package awserr

import (
	"net/http"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The words of the device side of the control plane (edge specification §1.7).
var (
	resourceNotFound = name{"ResourceNotFound", http.StatusBadRequest}
	resourceInUse    = name{"ResourceInUse", http.StatusBadRequest}
	validation       = name{"ValidationException", http.StatusBadRequest}
)

// fleets are the exceptions of SageMaker's operations on fleets, devices,
// plans and jobs. A missing fleet or device is a ValidationException, as the
// table has it: Terraform and both workshops go by that (§1.8). So is a device
// that is registered already, as something else than before.
var fleets = map[string]map[fault.Kind]name{
	"CreateDeviceFleet": {fault.Exists: resourceInUse, fault.InUse: resourceInUse, fault.Conflict: resourceInUse},
	"UpdateDeviceFleet": {fault.InUse: resourceInUse, fault.Conflict: resourceInUse, fault.Limit: validation},
	"DeleteDeviceFleet": {fault.InUse: resourceInUse, fault.Conflict: resourceInUse, fault.Limit: validation},
	"DeregisterDevices": {fault.Limit: validation},
	"UpdateDevices":     {fault.Limit: validation},

	// Of a plan that names a job or fleet that is not there, that is said in
	// the words of the one who validates.
	"CreateEdgeDeploymentPlan":   {fault.Exists: resourceInUse, fault.InUse: resourceInUse, fault.Conflict: resourceInUse},
	"DescribeEdgeDeploymentPlan": {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"DeleteEdgeDeploymentPlan":   {fault.NotFound: resourceNotFound, fault.InUse: resourceInUse, fault.Conflict: resourceInUse, fault.Limit: validation},
	"CreateEdgeDeploymentStage":  {fault.NotFound: resourceNotFound},
	"DeleteEdgeDeploymentStage":  {fault.NotFound: resourceNotFound, fault.InUse: resourceInUse, fault.Conflict: resourceInUse, fault.Limit: validation},
	"StartEdgeDeploymentStage":   {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"StopEdgeDeploymentStage":    {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"ListStageDevices":           {fault.NotFound: resourceNotFound, fault.Limit: validation},

	"CreateEdgePackagingJob":   {fault.Exists: resourceInUse, fault.InUse: resourceInUse, fault.Conflict: resourceInUse},
	"DescribeEdgePackagingJob": {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"StopEdgePackagingJob":     {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"CreateCompilationJob":     {fault.Exists: resourceInUse, fault.InUse: resourceInUse, fault.Conflict: resourceInUse},
	"DescribeCompilationJob":   {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"StopCompilationJob":       {fault.NotFound: resourceNotFound, fault.Limit: validation},
	"DeleteCompilationJob":     {fault.NotFound: resourceNotFound, fault.Limit: validation}, // one that runs: validation, undeclared
}

// things are the exceptions of IoT: a certificate in the wrong state has an
// error of its own, and so has a policy that cannot be read.
var things = map[string]map[fault.Kind]name{
	"DeleteCertificate": {fault.Conflict: {"CertificateStateException", http.StatusNotAcceptable}},
	"UpdateCertificate": {fault.Conflict: {"CertificateStateException", http.StatusNotAcceptable}},
	"CreatePolicy":      {fault.Unsupported: {"MalformedPolicyException", http.StatusBadRequest}},
}

// nameOf looks a failure up: first among the exceptions.
func nameOf(s Service, op string, kind fault.Kind) name {
	if n, ok := exceptions[row{s, op, kind}]; ok {
		return n
	}
	var more map[string]map[fault.Kind]name
	switch s {
	case SageMaker:
		more = fleets
	case IoT:
		more = things
	}
	if n, ok := more[op][kind]; ok {
		return n
	}
	return table[s][kind]
}
