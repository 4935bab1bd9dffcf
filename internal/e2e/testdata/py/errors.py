"""Every refusal is the API's own: its code, its status and its exact text.

usage: errors.py V1.tar.gz   (a model of the image test/model:latest)
"""

import os
import sys

import boto3
from botocore.config import Config

from session import ACCOUNT, ARN, REGION, ROLE, check, check_true, client, fails, invalid, wait

sm, runtime, s3 = client("sagemaker"), client("sagemaker-runtime"), client("s3")
# boto3 checks some constraints itself; the server must, too.
trusting = client("sagemaker", parameter_validation=False)

variant = {"VariantName": "main", "ModelName": "err", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}

# Nothing is there yet.
invalid("no model", f'Could not find model "{ARN}model/nope".', sm.describe_model, ModelName="nope")
invalid("no model", f'Could not find model "{ARN}model/nope".', sm.delete_model, ModelName="nope")
for call in [sm.describe_endpoint_config, sm.delete_endpoint_config]:
    invalid("no config", f'Could not find endpoint configuration "{ARN}endpoint-config/nope".', call, EndpointConfigName="nope")
for call in [sm.describe_endpoint, sm.delete_endpoint]:
    invalid("no endpoint", f'Could not find endpoint "{ARN}endpoint/nope".', call, EndpointName="nope")
invalid("no endpoint", f'Could not find endpoint "{ARN}endpoint/nope".', sm.update_endpoint, EndpointName="nope", EndpointConfigName="nope")
invalid("no config", f'Could not find endpoint configuration "{ARN}endpoint-config/nope".', sm.create_endpoint, EndpointName="e", EndpointConfigName="nope")
invalid("no model", f'Could not find model "{ARN}model/err".', sm.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[variant])
s3.create_bucket(Bucket="err-models")
invalid("no model data", "Could not find model data at s3://err-models/nope.tar.gz.", sm.create_model, ModelName="err", ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "test/model:latest", "ModelDataUrl": "s3://err-models/nope.tar.gz"})

# Constraints, in the API's words.
invalid("pattern and missing", None, trusting.create_model)
r = invalid("a bad name", None, sm.describe_endpoint, EndpointName="no_underscores")
check("text", r["Error"]["Message"],
      "1 validation error detected: Value 'no_underscores' at 'endpointName' failed to satisfy constraint: "
      "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
invalid("a missing member", "1 validation error detected: Value null at 'endpointName' failed to satisfy constraint: Member must not be null",
        trusting.describe_endpoint)
r = invalid("an unknown instance type", None, sm.create_endpoint_config, EndpointConfigName="c",
            ProductionVariants=[{**variant, "InstanceType": "ml.huge"}])
check_true("text", r["Error"]["Message"].startswith(
    "1 validation error detected: Value 'ml.huge' at 'productionVariants.1.member.instanceType' failed to satisfy constraint: "
    "Member must satisfy enum value set: ["), r["Error"]["Message"])
r = invalid("two faults", None, trusting.create_endpoint, EndpointName="a_b", EndpointConfigName="c_d")
check_true("both are told", r["Error"]["Message"].startswith("2 validation errors detected: Value 'a_b' at 'endpointName'"), r["Error"]["Message"])
invalid("a page too long", "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100",
        sm.list_endpoints, MaxResults=101)
fails("a wrong type", "SerializationException", None, 400, trusting.list_endpoints, MaxResults="many")

# What exists cannot be made again; what is in use cannot be updated to.
s3.upload_file(sys.argv[1], "err-models", "model.tar.gz")
model = {"ModelName": "err", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": "test/model:latest", "ModelDataUrl": "s3://err-models/model.tar.gz"}}
sm.create_model(**model)
invalid("model exists", f'Cannot create already existing model "{ARN}model/err".', sm.create_model, **model)
sm.create_endpoint_config(EndpointConfigName="err", ProductionVariants=[variant])
invalid("config exists", f'Cannot create already existing endpoint configuration "{ARN}endpoint-config/err".',
        sm.create_endpoint_config, EndpointConfigName="err", ProductionVariants=[variant])
invalid("same variant twice", "Variant names must be unique. Found duplicates: [main].",
        sm.create_endpoint_config, EndpointConfigName="twice", ProductionVariants=[variant, variant])
sm.create_endpoint(EndpointName="err", EndpointConfigName="err")
wait(sm, "endpoint_in_service", "err")
invalid("endpoint exists, whatever the case", f'Cannot create already existing endpoint "{ARN}endpoint/err".',
        sm.create_endpoint, EndpointName="err", EndpointConfigName="err")
invalid("already in use", 'Cannot update endpoint with the currently in use endpoint configuration "err".',
        sm.update_endpoint, EndpointName="err", EndpointConfigName="err")
invalid("unknown variant", 'The variant name(s) "other" is/are not present within endpoint configuration "err".',
        sm.update_endpoint_weights_and_capacities, EndpointName="err", DesiredWeightsAndCapacities=[{"VariantName": "other", "DesiredWeight": 1}])

# An endpoint that is busy stays alone.
slow = {**model, "ModelName": "slow"}
slow["PrimaryContainer"] = {**model["PrimaryContainer"], "Environment": {"TESTMODEL_LOAD_MS": "3000"}}
sm.create_model(**slow)
sm.create_endpoint_config(EndpointConfigName="slow", ProductionVariants=[{**variant, "ModelName": "slow"}])
sm.update_endpoint(EndpointName="err", EndpointConfigName="slow")
busy = f'Cannot update in-progress endpoint "{ARN}endpoint/err".'
invalid("busy", busy, sm.update_endpoint, EndpointName="err", EndpointConfigName="slow")
invalid("busy", busy, sm.delete_endpoint, EndpointName="err")
check("still served", runtime.invoke_endpoint(EndpointName="err", Body=b"x")["ResponseMetadata"]["HTTPStatusCode"], 200)
wait(sm, "endpoint_in_service", "err")

# Invocations that fail.
fails("no endpoint", "ValidationError", f"Endpoint nope of account {ACCOUNT} not found.", 400, runtime.invoke_endpoint, EndpointName="nope", Body=b"")
fails("the case matters", "ValidationError", f"Endpoint ERR of account {ACCOUNT} not found.", 400, runtime.invoke_endpoint, EndpointName="ERR", Body=b"")
fails("no such variant", "ValidationError", "Variant other not found for endpoint err.", 400, runtime.invoke_endpoint, EndpointName="err", TargetVariant="other", Body=b"")
for status, who in [(404, "client"), (500, "server")]:
    r = fails("a model's error", "ModelError", None, 424, runtime.invoke_endpoint, EndpointName="err", CustomAttributes=f"status={status}", Body=b"x")
    check("original status", r["OriginalStatusCode"], status)
    check_true("message", r["Error"]["Message"].startswith(f'Received {who} error ({status}) from primary with message "'), r["Error"]["Message"])
    check_true("log group", f"in account {ACCOUNT} for more information." in r["Error"]["Message"], r["Error"]["Message"])
fails("a body too large", "413", None, 413, runtime.invoke_endpoint, EndpointName="err", Body=b"x" * 6291457)

# What Slipway does not have, it says, naming it.
for name, call, arguments in [
    ("CreateTrainingJob", trusting.create_training_job, {}),
    ("ListNotebookInstances", sm.list_notebook_instances, {}),
]:
    try:
        call(**arguments)
        sys.exit(f"{name} succeeded")
    except Exception as e:
        check_true("the operation is named", name in str(e), e)
        check_true("not a retried failure", e.response["ResponseMetadata"]["HTTPStatusCode"] < 500, e.response)

# Who may not come in.
def as_user(key, secret, service="sagemaker"):
    return boto3.client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=REGION, aws_access_key_id=key,
                        aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}))


fails("an unknown key", "UnrecognizedClientException", "The security token included in the request is invalid.", 400,
      as_user("AKIANOBODY", "x").list_models)
fails("a wrong secret", "InvalidSignatureException", None, 400, as_user(os.environ["AWS_ACCESS_KEY_ID"], "x").list_models)
fails("a wrong secret, invoking", "InvalidSignatureException", None, 400,
      as_user(os.environ["AWS_ACCESS_KEY_ID"], "x", "sagemaker-runtime").invoke_endpoint, EndpointName="err", Body=b"")

# A model that never becomes healthy fails its endpoint, with the reason.
broken = {**model, "ModelName": "broken"}
broken["PrimaryContainer"] = {**model["PrimaryContainer"], "Environment": {"TESTMODEL_EXIT": "7", "TESTMODEL_STDERR": "the rudder is missing"}}
sm.create_model(**broken)
sm.create_endpoint_config(EndpointConfigName="broken", ProductionVariants=[{**variant, "ModelName": "broken"}])
sm.create_endpoint(EndpointName="broken", EndpointConfigName="broken")
try:
    wait(sm, "endpoint_in_service", "broken")
    sys.exit("a broken model is in service")
except Exception as e:
    check_true("the waiter saw the failure", "terminal failure state" in str(e), e)
d = sm.describe_endpoint(EndpointName="broken")
check("status", d["EndpointStatus"], "Failed")
check_true("the reason shows the log", "the rudder is missing" in d["FailureReason"], d["FailureReason"])
fails("a failed endpoint", "ValidationError", f"Endpoint broken of account {ACCOUNT} not found.", 400, runtime.invoke_endpoint, EndpointName="broken", Body=b"")
# An update to it is undone, and says why.
sm.update_endpoint(EndpointName="err", EndpointConfigName="broken")
wait(sm, "endpoint_in_service", "err")
d = sm.describe_endpoint(EndpointName="err")
check("the old configuration serves", d["EndpointConfigName"], "slow")
check_true("the reason shows the log", "the rudder is missing" in d["FailureReason"], d["FailureReason"])
for name in ["err", "broken"]:
    sm.delete_endpoint(EndpointName=name)
    wait(sm, "endpoint_deleted", name)
print("errors: ok")
