package awserr

import (
	"net/http"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The words of the device side of the control plane (edge specification §1.7).
var (
	notFound = bad("ResourceNotFound")
	inUse    = bad("ResourceInUse")

	taken        = names{fault.Exists: inUse, fault.InUse: inUse, fault.Conflict: inUse}
	used         = names{fault.InUse: inUse, fault.Conflict: inUse, fault.Limit: validation}
	limited      = names{fault.Limit: validation} // a typed client does not know its ResourceLimitExceeded
	missing      = names{fault.NotFound: notFound, fault.Limit: validation}
	missingStage = names{fault.NotFound: notFound}
	missingUsed  = names{
		fault.NotFound: notFound, fault.InUse: inUse, fault.Conflict: inUse, fault.Limit: validation,
	}
)

// ofSageMaker has most exceptions for fleets, devices, plans and jobs. A missing
// fleet or device is a ValidationException, as the table has it: Terraform and
// both workshops go by that (§1.8). So is a device that is registered already,
// as something else than before.
var ofSageMaker = map[string]names{
	"AddTags": limited,

	"CreateDeviceFleet": taken,
	"UpdateDeviceFleet": used,
	"DeleteDeviceFleet": used,
	"DeregisterDevices": limited,
	"UpdateDevices":     limited,

	// A plan that names a job or a fleet that is not there is invalid.
	"CreateEdgeDeploymentPlan":   taken,
	"DescribeEdgeDeploymentPlan": missing,
	"DeleteEdgeDeploymentPlan":   missingUsed,
	"CreateEdgeDeploymentStage":  missingStage,
	"DeleteEdgeDeploymentStage":  missingUsed,
	"StartEdgeDeploymentStage":   missing,
	"StopEdgeDeploymentStage":    missing,
	"ListStageDevices":           missing,

	"CreateEdgePackagingJob":   taken,
	"DescribeEdgePackagingJob": missing,
	"StopEdgePackagingJob":     missing,
	"CreateCompilationJob":     taken,
	"DescribeCompilationJob":   missing,
	"StopCompilationJob":       missing,
	"DeleteCompilationJob":     missing, // one that runs is a ValidationException, which is not declared
}

// Names that operations of CloudWatch have in its model.
var (
	serviceFault = name{"InternalServiceFault", http.StatusInternalServerError}
	badValue     = bad("InvalidParameterValueException")
	noAlarm      = name{"ResourceNotFound", http.StatusNotFound}
	noResource   = name{"ResourceNotFoundException", http.StatusNotFound}
	concurrent   = name{"ConcurrentModificationException", http.StatusTooManyRequests}
	fullOfAlarms = names{fault.Limit: bad("LimitExceededFault")}
	parameters   = names{fault.Internal: serviceFault, fault.Invalid: badValue, fault.Limit: badValue}
)

var ofCloudWatch = map[string]names{
	"PutMetricAlarm":      fullOfAlarms,
	"PutCompositeAlarm":   fullOfAlarms,
	"DeleteAlarms":        {fault.NotFound: noAlarm},
	"SetAlarmState":       {fault.NotFound: noAlarm},
	"PutMetricData":       parameters,
	"GetMetricStatistics": parameters,
	"ListMetrics":         {fault.Internal: serviceFault, fault.Invalid: badValue},
	"ListTagsForResource": {fault.Internal: serviceFault, fault.Invalid: badValue, fault.NotFound: noResource},
	"TagResource": {
		fault.Internal: serviceFault, fault.Invalid: badValue, fault.Limit: badValue,
		fault.NotFound: noResource, fault.Conflict: concurrent,
	},
	"UntagResource": {
		fault.Internal: serviceFault, fault.Invalid: badValue, fault.NotFound: noResource, fault.Conflict: concurrent,
	},
}

// ofIoT: a certificate in the wrong state has an error of its own, and so has a
// policy that cannot be read.
var ofIoT = map[string]names{
	"DeleteCertificate": {fault.Conflict: {"CertificateStateException", http.StatusNotAcceptable}},
	"UpdateCertificate": {fault.Conflict: {"CertificateStateException", http.StatusNotAcceptable}},
	"CreatePolicy":      {fault.Unsupported: bad("MalformedPolicyException")},
}
