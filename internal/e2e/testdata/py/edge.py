"""Fleets, jobs, plans and a device, with boto3: what the getting-started guide
and the workshops do (edge specification §9, flows 1, 2, 3 and 5).

usage: edge.py COMPILATION_INPUT.tar.gz CA.pem
"""

import hashlib
import io
import json
import os
import ssl
import sys
import tarfile
import tempfile
import time
import urllib.request

from botocore.exceptions import ClientError

from session import ACCOUNT, ARN, REGION, check, check_true, client, fails, invalid

sm, s3, iot, device = client("sagemaker"), client("s3"), client("iot"), client("sagemaker-edge")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/SageMakerDevices"
OUTPUT = {"S3OutputLocation": "s3://sagemaker-edge/packages/"}


def until(name, probe, seconds=60):
    """Asks again until probe answers something."""
    end = time.time() + seconds
    while time.time() < end:
        got = probe()
        if got:
            return got
        time.sleep(0.1)
    sys.exit(f"{name}: not within {seconds} s")


# --- Flow 1: the getting-started guide -------------------------------------

s3.create_bucket(Bucket="sagemaker-edge")
iot.create_thing_type(thingTypeName="camera")
iot.create_thing(thingName="cam-01", thingTypeName="camera")
sm.create_device_fleet(DeviceFleetName="plant-a", RoleArn=ROLE, OutputConfig={"S3OutputLocation": "s3://sagemaker-edge/captured"},
                       Tags=[{"Key": "site", "Value": "north"}])
fails("the same fleet again", "ResourceInUse", None, 400, sm.create_device_fleet,
      DeviceFleetName="plant-a", RoleArn=ROLE, OutputConfig=OUTPUT)
sm.register_devices(DeviceFleetName="plant-a", Devices=[
    {"DeviceName": "cam-01", "IotThingName": "cam-01", "Description": "Line 1"}], Tags=[{"Key": "accelerator", "Value": ""}])
keys = iot.create_keys_and_certificate(setAsActive=True)
check_true("the private key", "PRIVATE KEY" in keys["keyPair"]["PrivateKey"])

alias_arn = sm.describe_device_fleet(DeviceFleetName="plant-a")["IotRoleAlias"]
alias = alias_arn[alias_arn.find("SageMaker"):]
check("the role alias", alias, "SageMakerEdge-plant-a")
check("one slash", alias_arn.count("/"), 1)
described = iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]
check("its role", described["roleArn"], ROLE)
iot.create_policy(policyName="aliaspolicy-1", policyDocument=json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate", "Resource": described["roleAliasArn"]}}))
iot.attach_policy(policyName="aliaspolicy-1", target=keys["certificateArn"])
iot.attach_thing_principal(thingName="cam-01", principal=keys["certificateArn"])
host = iot.describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"]

with tempfile.TemporaryDirectory() as d:
    for name, text in [("crt", keys["certificatePem"]), ("key", keys["keyPair"]["PrivateKey"])]:
        with open(f"{d}/{name}", "w") as f:
            f.write(text)
    tls = ssl.create_default_context(cafile=sys.argv[2])
    tls.load_cert_chain(f"{d}/crt", f"{d}/key")


def credentials(headers):
    req = urllib.request.Request(f"https://{host}/role-aliases/{alias}/credentials", headers=headers)
    with urllib.request.urlopen(req, context=tls) as r:
        return json.load(r)["credentials"]


for headers in ({}, {"x-amzn-iot-thingname": "cam-01"}):
    got = credentials(headers)
    check("the members", sorted(got), ["accessKeyId", "expiration", "secretAccessKey", "sessionToken"])
try:
    credentials({"x-amzn-iot-thingname": "cam-99"})
    sys.exit("another thing's name was accepted")
except urllib.error.HTTPError as e:
    check("another thing's name", (e.code, json.load(e)["message"]), (403, "Invalid thing name passed"))

import boto3  # noqa: E402  (a client with a device's own credentials)


def as_device(service):
    return boto3.client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=REGION, aws_access_key_id=got["accessKeyId"],
                        aws_secret_access_key=got["secretAccessKey"], aws_session_token=got["sessionToken"])


own = as_device("sagemaker-edge")
registered = own.get_device_registration(DeviceName="cam-01", DeviceFleetName="plant-a")
check("registered", registered["DeviceRegistration"], "true")
check_true("its TTL is a number of seconds", int(registered["CacheTTL"]) > 0)
sm.register_devices(DeviceFleetName="plant-a", Devices=[{"DeviceName": "cam-02", "IotThingName": "cam-02"}])
fails("acting for another device", "AccessDeniedException", None, 403, own.get_deployments, DeviceName="cam-02", DeviceFleetName="plant-a")
fails("acting as an operator", "AccessDeniedException", None, 403, as_device("sagemaker").list_device_fleets)

# --- Flow 2: jobs -----------------------------------------------------------

s3.upload_file(sys.argv[1], "sagemaker-edge", "in/digits.tar.gz")
sm.create_compilation_job(
    CompilationJobName="compile-1", RoleArn=ROLE, StoppingCondition={"MaxRuntimeInSeconds": 900},
    InputConfig={"S3Uri": "s3://sagemaker-edge/in/digits.tar.gz", "DataInputConfig": "{'image': [1, 64]}", "Framework": "ONNX"},
    OutputConfig={"S3OutputLocation": "s3://sagemaker-edge/compiled", "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64"}})


def compiled():
    job = sm.describe_compilation_job(CompilationJobName="compile-1")
    return job if job["CompilationJobStatus"] in ("COMPLETED", "FAILED", "STOPPED") else None


job = until("the compilation job", compiled)
check("compilation", (job["CompilationJobStatus"], job["FailureReason"]), ("COMPLETED", ""))
check("its artifact", job["ModelArtifacts"]["S3ModelArtifacts"], "s3://sagemaker-edge/compiled/digits-LINUX_X86_64.tar.gz")


def package(name, version):
    sm.create_edge_packaging_job(EdgePackagingJobName=name, CompilationJobName="compile-1", ModelName="digits", ModelVersion=version,
                                 RoleArn=ROLE, OutputConfig=OUTPUT)

    def over():
        p = sm.describe_edge_packaging_job(EdgePackagingJobName=name)
        return p if p["EdgePackagingJobStatus"] in ("COMPLETED", "FAILED", "STOPPED") else None

    p = until("the packaging job", over)
    check("packaging", (p["EdgePackagingJobStatus"], p.get("ModelArtifact")), ("COMPLETED", f"s3://sagemaker-edge/packages/digits-{version}.tar.gz"))
    check_true("it is signed", "ModelSignature" in p)
    return p


package("pack-1", "1.0")
fails("a version with a hyphen", "ValidationException", None, 400, sm.create_edge_packaging_job, EdgePackagingJobName="bad",
      CompilationJobName="compile-1", ModelName="digits", ModelVersion="1-0", RoleArn=ROLE, OutputConfig=OUTPUT)
body = s3.get_object(Bucket="sagemaker-edge", Key="packages/digits-1.0.tar.gz")["Body"].read()
with tarfile.open(fileobj=io.BytesIO(body)) as t:
    manifest = json.load(t.extractfile("sagemaker_edge_manifest"))
check("the manifest", (manifest["metadata"]["model_name"], manifest["metadata"]["model_version"]), ("digits", "1.0"))

# --- Flow 3: a plan, and a device that carries it out ------------------------

check_true("the plan's ARN", sm.create_edge_deployment_plan(
    EdgeDeploymentPlanName="digits-1", DeviceFleetName="plant-a", ModelConfigs=[{"ModelHandle": "digits", "EdgePackagingJobName": "pack-1"}],
    Stages=[{"StageName": "canary", "DeviceSelectionConfig": {"DeviceSubsetType": "SELECTION", "DeviceNames": ["cam-01"]},
             "DeploymentConfig": {"FailureHandlingPolicy": "ROLLBACK_ON_FAILURE"}}])["EdgeDeploymentPlanArn"] == ARN + "edge-deployment/digits-1")
plan = {"EdgeDeploymentPlanName": "digits-1"}
check("nothing is offered before the start", own.get_deployments(DeviceName="cam-01", DeviceFleetName="plant-a")["Deployments"], [])
sm.start_edge_deployment_stage(StageName="canary", **plan)
fails("deleting an active plan", "ResourceInUse", None, 400, sm.delete_edge_deployment_plan, **plan)


def offered():
    return own.get_deployments(DeviceName="cam-01", DeviceFleetName="plant-a")["Deployments"]


order = until("the order", offered)[0]
check("what is asked", (order["Type"], order["FailureHandlingPolicy"], len(order["Definitions"])), ("Model", "ROLLBACK_ON_FAILURE", 1))
what = order["Definitions"][0]
check("the definition", (what["ModelHandle"], what["S3Url"], what["State"]), ("digits", "s3://sagemaker-edge/packages/digits-1.0.tar.gz", "DEPLOY"))
check("its checksum", what["Checksum"], {"Type": "SHA1", "Sum": hashlib.sha1(body).hexdigest()})
check("the device reads the package", as_device("s3").get_object(Bucket="sagemaker-edge", Key="packages/digits-1.0.tar.gz")["Body"].read() == body, True)
try:
    as_device("s3").get_object(Bucket="sagemaker-edge", Key="in/digits.tar.gz")
    sys.exit("the device reads something else")
except ClientError as e:
    check("the device reads something else", e.response["Error"]["Code"], "AccessDenied")
check("the same order again", offered()[0]["DeploymentName"], order["DeploymentName"])


def result(status, model_status, reason=None):
    model = {"ModelHandle": "digits", "ModelName": "digits", "ModelVersion": "1.0", "DesiredState": "DEPLOY", "State": "DEPLOY", "Status": model_status}
    if reason:
        model["StatusReason"] = reason
    own.send_heartbeat(
        AgentVersion="1.20220822.836f3023", DeviceName="cam-01", DeviceFleetName="plant-a",
        Models=[{"ModelName": "digits", "ModelVersion": "1.0"}],
        AgentMetrics=[{"Dimension": "device/cam-01", "MetricName": "CpuUtilization", "Value": 12.5}],
        DeploymentResult={"DeploymentName": order["DeploymentName"], "DeploymentStatus": status, "DeploymentModels": [model]})


def counts(p):
    return p["EdgeDeploymentSuccess"], p["EdgeDeploymentPending"], p["EdgeDeploymentFailed"]


check("while it is under way", counts(sm.describe_edge_deployment_plan(**plan)), (0, 1, 0))
result("SUCCESS", "SUCCESS")
result("FAIL", "FAIL", "said too late")  # the first word counts


def stage(name):
    p = sm.describe_edge_deployment_plan(**plan)
    return next(s for s in p["Stages"] if s["StageName"] == name), counts(p)


s, c = until("the end of the stage", lambda: (lambda got: got if got[0]["DeploymentStatus"]["StageStatus"] != "INPROGRESS" else None)(stage("canary")))
check("the stage", (s["DeploymentStatus"]["StageStatus"], c), ("DEPLOYED", (1, 0, 0)))
check("nothing is offered after it", offered(), [])
seen = sm.describe_device(DeviceName="cam-01", DeviceFleetName="plant-a")
check("what the device has", [(m["ModelName"], m["ModelVersion"]) for m in seen["Models"]], [("digits", "1.0")])

# Another stage, stopped before its device came, and resumed.
sm.create_edge_deployment_stage(Stages=[{"StageName": "rest", "DeviceSelectionConfig": {"DeviceSubsetType": "PERCENTAGE", "Percentage": 100}}], **plan)
sm.start_edge_deployment_stage(StageName="rest", **plan)
until("the rest to be under way", lambda: stage("rest")[0]["DeploymentStatus"]["StageStatus"] == "INPROGRESS")
sm.stop_edge_deployment_stage(StageName="rest", **plan)
until("the rest to be stopped", lambda: stage("rest")[0]["DeploymentStatus"]["StageStatus"] == "STOPPED")
check("a stopped device counts nowhere", stage("rest")[1], (1, 0, 0))
sm.start_edge_deployment_stage(StageName="rest", **plan)
got2 = until("the order for the other", lambda: device.get_deployments(DeviceName="cam-02", DeviceFleetName="plant-a")["Deployments"])
device.send_heartbeat(AgentVersion="1.0", DeviceName="cam-02", DeviceFleetName="plant-a", DeploymentResult={
    "DeploymentName": got2[0]["DeploymentName"], "DeploymentStatus": "FAIL", "DeploymentStatusMessage": "1 of 1 models failed",
    "DeploymentModels": [{"ModelHandle": "digits", "DesiredState": "DEPLOY", "State": "UNDEPLOY", "Status": "FAIL", "StatusReason": "checksum mismatch"}]})
until("the rest to have failed", lambda: stage("rest")[0]["DeploymentStatus"]["StageStatus"] == "FAILED")
rows = sm.get_paginator("list_stage_devices").paginate(StageName="rest", **plan).build_full_result()["DeviceDeploymentSummaries"]
check("why", [(r["DeviceName"], r["DeviceDeploymentStatus"], r["DeviceDeploymentStatusMessage"]) for r in rows if r["DeviceDeploymentStatus"] == "FAILED"],
      [("cam-02", "FAILED", "1 of 1 models failed; digits: checksum mismatch; rolled back")])

invalid("more stages than a page can have", None, sm.describe_edge_deployment_plan, MaxResults=11, **plan)
fails("an eleventh stage", "ResourceLimitExceeded", None, 400, sm.create_edge_deployment_stage, Stages=[
    {"StageName": f"s{i}", "DeviceSelectionConfig": {"DeviceSubsetType": "PERCENTAGE", "Percentage": 1}} for i in range(9)], **plan)
check("nothing was added", len(sm.describe_edge_deployment_plan(**plan)["Stages"]), 2)
fails("a plan that is not there", "ResourceNotFound", "Could not find edge deployment plan 'nope'.", 400, sm.describe_edge_deployment_plan, EdgeDeploymentPlanName="nope")

report = sm.get_device_fleet_report(DeviceFleetName="plant-a")
check("the report", (report["DeviceStats"], report["ModelStats"][0]["ModelName"]), ({"ConnectedDeviceCount": 2, "RegisteredDeviceCount": 2}, "digits"))
fleet_arn = ARN + "device-fleet/plant-a"
check("the fleet's tags", sm.list_tags(ResourceArn=fleet_arn)["Tags"], [{"Key": "site", "Value": "north"}])
check("a device's tags", sm.list_tags(ResourceArn=fleet_arn + "/device/cam-01")["Tags"], [{"Key": "accelerator", "Value": ""}])

# --- Flow 5: what the workshops match on -------------------------------------

for name, call, arguments, part in [
    ("an unknown device", sm.describe_device, {"DeviceName": "nope", "DeviceFleetName": "plant-a"}, "No device with name"),
    ("a device of an unknown fleet", sm.describe_device, {"DeviceName": "nope", "DeviceFleetName": "nope"}, "No device fleet with name"),
    ("an unknown fleet", sm.describe_device_fleet, {"DeviceFleetName": "nope"}, "No devicefleet with name"),
    ("deleting an unknown fleet", sm.delete_device_fleet, {"DeviceFleetName": "nope"}, "DeviceFleet with name"),
    ("deregistering an unknown device", sm.deregister_devices, {"DeviceFleetName": "plant-a", "DeviceNames": ["nope"]}, "Device with name"),
    ("deregistering from an unknown fleet", sm.deregister_devices, {"DeviceFleetName": "nope", "DeviceNames": ["nope"]}, "No device fleet with name"),
]:
    try:
        call(**arguments)
        sys.exit(f"{name}: the call succeeded")
    except ClientError as e:
        check(f"{name}: code", e.response["Error"]["Code"], "ValidationException")
        check_true(name, part in e.response["Error"]["Message"], e.response["Error"])
sm.update_device_fleet(DeviceFleetName="plant-a", OutputConfig={"S3OutputLocation": "s3://sagemaker-edge/elsewhere"})
kept = sm.describe_device_fleet(DeviceFleetName="plant-a")
check("what an update leaves alone", (kept["RoleArn"], kept["OutputConfig"]["S3OutputLocation"]), (ROLE, "s3://sagemaker-edge/elsewhere"))

# A certificate that is switched off takes its sessions with it.
iot.update_certificate(certificateId=keys["certificateId"], newStatus="INACTIVE")
try:
    own.get_deployments(DeviceName="cam-01", DeviceFleetName="plant-a")
    sys.exit("a session outlived its certificate")
except ClientError as e:
    check_true("a session of a dead certificate", e.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403), e.response)

sm.delete_edge_deployment_plan(**plan)
names = [d["DeviceName"] for d in sm.list_devices(DeviceFleetName="plant-a")["DeviceSummaries"]]
check("the devices", names, ["cam-01", "cam-02"])
sm.deregister_devices(DeviceFleetName="plant-a", DeviceNames=names)
check("not registered any more", device.get_device_registration(DeviceName="cam-02", DeviceFleetName="plant-a")["DeviceRegistration"], "false")
sm.delete_device_fleet(DeviceFleetName="plant-a")
print("edge: all checks held")
