// What a device says and hears with the AWS SDK for JavaScript.
// usage: node edge.mjs FLEET DEVICE
import assert from "node:assert/strict";
import { GetDeploymentsCommand, GetDeviceRegistrationCommand, SagemakerEdgeClient, SendHeartbeatCommand } from "@aws-sdk/client-sagemaker-edge";

const edge = new SagemakerEdgeClient({ region: process.env.AWS_REGION, endpoint: process.env.AWS_ENDPOINT_URL, maxAttempts: 1 });
const [DeviceFleetName, DeviceName] = process.argv.slice(2);
const me = { DeviceFleetName, DeviceName };

const registered = await edge.send(new GetDeviceRegistrationCommand(me));
assert.equal(registered.DeviceRegistration, "true");
assert.match(registered.CacheTTL, /^\d+$/);
assert.equal((await edge.send(new GetDeviceRegistrationCommand({ ...me, DeviceName: "no_such" }))).DeviceRegistration, "false");

const { Deployments } = await edge.send(new GetDeploymentsCommand(me));
assert.equal(Deployments.length, 1);
const [{ DeploymentName, Type, FailureHandlingPolicy, Definitions: [d] }] = Deployments;
assert.match(DeploymentName, /^d-[a-z0-9]{26}$/);
assert.deepEqual([Type, FailureHandlingPolicy, d.ModelHandle, d.State, d.Checksum.Type], ["Model", "ROLLBACK_ON_FAILURE", "digits", "DEPLOY", "SHA1"]);
assert.match(d.Checksum.Sum, /^[0-9a-f]{40}$/);

const at = new Date();
const model = { ModelName: "digits", ModelVersion: "1.0" };
await edge.send(new SendHeartbeatCommand({
  ...me, AgentVersion: "js.1", Models: [{ ...model, LatestInference: at, LatestSampleTime: at, ModelMetrics: [] }],
  AgentMetrics: [
    { Dimension: `device/${DeviceName}`, MetricName: "CpuUtilization", Value: 12.5, Timestamp: at },
    { Dimension: "x", MetricName: "MemoryUtilization", Value: NaN, Timestamp: at },
  ],
  DeploymentResult: {
    DeploymentName, DeploymentStatus: "SUCCESS", DeploymentStartTime: at, DeploymentEndTime: at,
    DeploymentModels: [{ ...model, ModelHandle: "digits", DesiredState: "DEPLOY", State: "DEPLOY", Status: "SUCCESS" }],
  },
}));
assert.deepEqual((await edge.send(new GetDeploymentsCommand(me))).Deployments, []);
await assert.rejects(edge.send(new GetDeploymentsCommand({ ...me, DeviceName: "no_such" })), (e) => {
  assert.equal(e.name, "ValidationException");
  assert.match(e.message, /^No device with name/);
  return true;
});
console.log("edge: ok");
