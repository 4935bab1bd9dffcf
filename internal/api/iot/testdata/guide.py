"""Provisions a device as the getting-started guide of SageMaker Edge Manager
does, with an unmodified boto3 and curl, and acts as it afterwards; any failed
assertion is the exit code. Argument 4 is the device CA, 5 a folder."""
import json
import os
import subprocess
import sys
import time

import boto3
import botocore.exceptions

url, key, secret, ca, folder = sys.argv[1:]
region = "us-west-2"
session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=region)
iot = session.client("iot", endpoint_url=url)
sagemaker = session.client("sagemaker", endpoint_url=url)

fleet, device, role = "demo-device-fleet", "sample-device-1", "arn:aws:iam::123456789012:role/SageMakerDeviceFleetRole"

# A device fleet, with its things.
iot.create_thing_type(thingTypeName="SMEdgeTestThing")
for _ in range(2):
    iot.create_thing(thingName=device, thingTypeName="SMEdgeTestThing", attributePayload={"attributes": {"os": "linux"}})
sagemaker.create_device_fleet(DeviceFleetName=fleet, RoleArn=role, OutputConfig={"S3OutputLocation": "s3://demo-sagemaker/out"})
sagemaker.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": device, "IotThingName": device}])

# Its certificate.
made = iot.create_keys_and_certificate(setAsActive=True)
assert set(made["keyPair"]) == {"PublicKey", "PrivateKey"}, made["keyPair"].keys()
paths = {}
for name, text in {"device.pem.crt": made["certificatePem"], "private.pem.key": made["keyPair"]["PrivateKey"], "ca.pem": open(ca).read()}.items():
    paths[name] = os.path.join(folder, name)
    with open(paths[name], "w") as f:
        f.write(text)

# The role alias, as the guide finds it.
alias_arn = sagemaker.describe_device_fleet(DeviceFleetName=fleet)["IotRoleAlias"]
alias = alias_arn[alias_arn.find("SageMaker"):]
assert alias_arn.split("/")[1] == alias == "SageMakerEdge-" + fleet, alias_arn
described = iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]
assert described["roleAliasArn"] == alias_arn and described["roleArn"] == role and described["owner"] == "123456789012", described
assert described["credentialDurationSeconds"] == 3600 and abs(described["creationDate"].timestamp() - time.time()) < 120, described

policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate", "Resource": alias_arn}}
name = "aliaspolicy-" + str(time.time())
iot.create_policy(policyName=name, policyDocument=json.dumps(policy))


def curl(*more):
    host = iot.describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"]
    out = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "--cert", paths["device.pem.crt"], "--key", paths["private.pem.key"],
                          "--cacert", paths["ca.pem"], *more, "https://" + host + "/role-aliases/" + alias + "/credentials"],
                         capture_output=True, text=True, check=True).stdout
    body, status = out.rsplit("\n", 1)
    return int(status), json.loads(body)


assert curl() == (403, {"message": "Access Denied"}), curl()
for _ in range(2):
    iot.attach_policy(policyName=name, target=made["certificateArn"])
assert curl("-H", "x-amzn-iot-thingname: " + device) == (403, {"message": "Invalid thing name passed"})
iot.attach_thing_principal(thingName=device, principal=made["certificateArn"])

for header in [], ["-H", "x-amzn-iot-thingname: " + device]:
    status, body = curl(*header)
    assert status == 200 and set(body) == {"credentials"}, (status, body.keys())
    got = body["credentials"]
    assert set(got) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}, got.keys()
    left = time.mktime(time.strptime(got["expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    assert 3500 < left <= 3600, left

# The device acts as itself, and as nobody else, over the listener of devices.
host = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
mine = boto3.session.Session(got["accessKeyId"], got["secretAccessKey"], got["sessionToken"], region)
who = mine.client("sts", endpoint_url=url).get_caller_identity()
assert who["Arn"] == "arn:aws:sts::123456789012:assumed-role/SageMakerDeviceFleetRole/" + device, who
for call in (lambda: mine.client("sagemaker", endpoint_url=url).list_device_fleets(), lambda: mine.client("iot", endpoint_url=url).list_things()):
    try:
        call()
        raise SystemExit("a device may do that")
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "AccessDeniedException", e

elsewhere = boto3.session.Session(got["accessKeyId"], got["secretAccessKey"], got["sessionToken"], "eu-west-1")
try:
    elsewhere.client("sts", endpoint_url=url).get_caller_identity()
    raise SystemExit("a device may act in another region")
except botocore.exceptions.ClientError as e:
    assert e.response["Error"]["Code"] == "AccessDenied", e

# Clean-up, as the workshops do it.
certificate = made["certificateId"]
assert iot.list_thing_principals(thingName=device)["principals"] == [made["certificateArn"]]
assert iot.list_principal_things(principal=made["certificateArn"])["things"] == [device]
assert iot.list_targets_for_policy(policyName=name)["targets"] == [made["certificateArn"]]
assert alias in iot.list_role_aliases()["roleAliases"]
iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
assert curl() == (403, {"message": "Certificate is invalid on this endpoint"})
try:
    mine.client("sts", endpoint_url=url).get_caller_identity()
    raise SystemExit("the session of a certificate that is inactive lives")
except botocore.exceptions.ClientError as e:
    assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 403, e
try:
    iot.delete_certificate(certificateId=certificate, forceDelete=True)
    raise SystemExit("deleted although it is attached")
except iot.exceptions.DeleteConflictException:
    pass
iot.detach_thing_principal(thingName=device, principal=made["certificateArn"])
iot.detach_policy(policyName=name, target=made["certificateArn"])
iot.delete_policy(policyName=name)
iot.delete_certificate(certificateId=certificate)
iot.delete_thing(thingName=device)
iot.delete_role_alias(roleAlias=alias)
for call in (lambda: iot.describe_thing(thingName=device), lambda: iot.describe_certificate(certificateId=certificate),
             lambda: iot.describe_thing_type(thingTypeName="other"), lambda: iot.describe_role_alias(roleAlias=alias), lambda: iot.get_policy(policyName=name)):
    try:
        call()
        raise SystemExit("it is still there")
    except iot.exceptions.ResourceNotFoundException:
        pass
