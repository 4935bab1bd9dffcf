"""Drives the devices' API with an unmodified boto3; any failed assertion is the
exit code."""
import datetime
import sys

import boto3
import botocore.exceptions

url, key, secret, token = sys.argv[1:]
session = boto3.session.Session(
    aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token or None, region_name="us-west-2"
)
edge = session.client("sagemaker-edge", endpoint_url=url, config=boto3.session.Config(retries={"max_attempts": 0}))
cam = dict(DeviceName="cam-1", DeviceFleetName="plant")


def refused(code, text, status, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as e:
        error, meta = e.response["Error"], e.response["ResponseMetadata"]
        assert error["Code"] == code and text in error["Message"] and meta["HTTPStatusCode"] == status, e.response
        return e
    raise AssertionError(f"{code} was not answered")


got = edge.get_device_registration(**cam)
assert (got["DeviceRegistration"], got["CacheTTL"]) == ("true", "3600"), got

got = edge.get_deployments(**cam)
headers = got.pop("ResponseMetadata")["HTTPHeaders"]
assert headers["x-slipway-poll-after"] == "90", headers
(deployment,) = got["Deployments"]
assert deployment["Type"] == "Model" and deployment["FailureHandlingPolicy"] == "ROLLBACK_ON_FAILURE", deployment
assert deployment["Definitions"][0]["Checksum"] == {"Type": "SHA1", "Sum": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}, deployment
assert [d["State"] for d in deployment["Definitions"]] == ["DEPLOY", "UNDEPLOY"], deployment

now = datetime.datetime.now(datetime.timezone.utc)
sent = edge.send_heartbeat(
    AgentVersion="1.20220822.836f3023",
    Models=[
        {
            "ModelName": "defects",
            "ModelVersion": "1.0",
            "LatestInference": now,
            "LatestSampleTime": now,
            "ModelMetrics": [{"Dimension": "model/defects", "MetricName": "Latency", "Value": 1.5, "Timestamp": now}],
        }
    ],
    AgentMetrics=[
        {"Dimension": "device/cam-1", "MetricName": "CpuUtilization", "Value": 12.5, "Timestamp": now},
        {"Dimension": "-", "MetricName": "of no device", "Value": float("inf")},
    ],
    DeploymentResult={
        "DeploymentName": deployment["DeploymentName"],
        "DeploymentStatus": "SUCCESS",
        "DeploymentStartTime": now,
        "DeploymentEndTime": now,
        "DeploymentModels": [
            {"ModelHandle": "defects", "ModelName": "defects", "ModelVersion": "1.1", "DesiredState": "DEPLOY", "State": "DEPLOY", "Status": "SUCCESS"}
        ],
    },
    **cam,
)
assert sent["ResponseMetadata"]["HTTPStatusCode"] == 200 and set(sent) == {"ResponseMetadata"}, sent
assert sent["ResponseMetadata"]["HTTPHeaders"]["x-slipway-heartbeat-after"] == "2", sent

refused("ValidationException", "failed to satisfy constraint", 400, edge.get_deployments, DeviceName="-", DeviceFleetName="plant")
refused("ThrottlingException", "Too many heartbeats.", 429, edge.send_heartbeat, AgentVersion="busy", **cam)
e = refused("InternalServiceException", "internal error", 500, edge.get_device_registration, DeviceName="broken", DeviceFleetName="plant")
assert isinstance(e, edge.exceptions.InternalServiceException), e

if token:
    refused("AccessDeniedException", "thing-1 may not act for cam-2", 403, edge.get_deployments, DeviceName="cam-2", DeviceFleetName="plant")
    elsewhere = session.client("sagemaker", endpoint_url=url)
    refused("AccessDeniedException", "is not authorized", 403, elsewhere.list_device_fleets)
else:
    refused("ValidationException", "No device with name cam-9", 400, edge.get_deployments, DeviceName="cam-9", DeviceFleetName="plant")
