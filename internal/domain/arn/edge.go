package arn

import "strings"

// The kinds of edge resource that have a name of their own (edge spec §1.4).
const (
	KindDeviceFleet      = "device-fleet"
	KindEdgePackagingJob = "edge-packaging-job"
	KindEdgeDeployment   = "edge-deployment"
	KindCompilationJob   = "compilation-job"
)

// devicePart stands between a fleet and a device in the device's ARN.
const devicePart = "/device/"

// DeviceFleet returns the ARN of a device fleet.
func (s Scope) DeviceFleet(name string) string { return s.SageMaker(KindDeviceFleet, name) }

// Device returns the ARN of a device, which is below its fleet's.
func (s Scope) Device(fleet, name string) string { return s.DeviceFleet(fleet) + devicePart + name }

// EdgeDeployment returns the ARN of an edge deployment plan.
func (s Scope) EdgeDeployment(plan string) string { return s.SageMaker(KindEdgeDeployment, plan) }

// EdgePackagingJob returns the ARN of an edge packaging job.
func (s Scope) EdgePackagingJob(name string) string { return s.SageMaker(KindEdgePackagingJob, name) }

// CompilationJob returns the ARN of a compilation job.
func (s Scope) CompilationJob(name string) string { return s.SageMaker(KindCompilationJob, name) }

// RoleAlias returns the ARN of an IoT role alias.
func (s Scope) RoleAlias(name string) string { return s.service("iot") + "rolealias/" + name }

// Thing returns the ARN of an IoT thing.
func (s Scope) Thing(name string) string { return s.service("iot") + "thing/" + name }

// Certificate returns the ARN of an IoT certificate.
func (s Scope) Certificate(id string) string { return s.service("iot") + "cert/" + id }

// IoT returns the ARN of an IoT resource.
func (s Scope) IoT(kind, name string) string { return s.service("iot") + kind + "/" + name }

// CutDevice splits what follows "device-fleet/" in an ARN into the fleet and the
// device; device is "" in a fleet's ARN.
func CutDevice(name string) (fleet, device string) {
	fleet, device, _ = strings.Cut(name, devicePart)
	return fleet, device
}
