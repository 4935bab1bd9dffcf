"""Capture is switched on, changed and switched off as the SageMaker SDK does it, with boto3.

usage: capture.py V1.tar.gz   (a model of the image test/model:latest)
"""

import json
import re
import sys
import time

from session import ARN, ROLE, check, check_true, client, wait

sm, runtime, s3 = client("sagemaker"), client("sagemaker-runtime"), client("s3")

s3.create_bucket(Bucket="cap-models")
s3.upload_file(sys.argv[1], "cap-models", "v1/model.tar.gz")
sm.create_model(ModelName="v1", ExecutionRoleArn=ROLE, PrimaryContainer={
    "Image": "test/model:latest", "ModelDataUrl": "s3://cap-models/v1/model.tar.gz"})
sm.create_endpoint_config(
    EndpointConfigName="first", Tags=[{"Key": "team", "Value": "a"}], KmsKeyId="alias/k",
    ProductionVariants=[
        {"VariantName": "AllTraffic", "ModelName": "v1", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}])
sm.create_endpoint(EndpointName="live", EndpointConfigName="first")
wait(sm, "endpoint_in_service", "live")
check_true("no capture is shown", "DataCaptureConfig" not in sm.describe_endpoint(EndpointName="live"))

# What the SDK sends when it is told nothing but "on": into its default bucket,
# which is not there yet.
DEFAULT = {
    "EnableCapture": True, "InitialSamplingPercentage": 20,
    "DestinationS3Uri": "s3://sagemaker-us-east-1-000000000000/model-monitor/data-capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}
names = iter(range(100))


def change(capture):
    """predictor.update_data_capture_config: everything of the configuration in
    use is copied into a new one, but for the capture."""
    used = sm.describe_endpoint(EndpointName="live")["EndpointConfigName"]
    old = sm.describe_endpoint_config(EndpointConfigName=used)
    tags = sm.list_tags(ResourceArn=old["EndpointConfigArn"])["Tags"]
    new = {
        "EndpointConfigName": f"live-{next(names)}", "ProductionVariants": old["ProductionVariants"],
        "Tags": [t for t in tags if "aws:" not in t["Key"]], "DataCaptureConfig": capture,
    }
    if old.get("KmsKeyId"):
        new["KmsKeyId"] = old["KmsKeyId"]
    sm.create_endpoint_config(**new)
    sm.update_endpoint(EndpointName="live", EndpointConfigName=new["EndpointConfigName"])
    wait(sm, "endpoint_in_service", "live")
    after = sm.describe_endpoint_config(EndpointConfigName=new["EndpointConfigName"])
    check("the capture is echoed", after["DataCaptureConfig"], capture)
    check("the rest is copied", [after["ProductionVariants"], after["KmsKeyId"]], [old["ProductionVariants"], "alias/k"])
    check("the tags too", sm.list_tags(ResourceArn=after["EndpointConfigArn"])["Tags"], [{"Key": "team", "Value": "a"}])


def status():
    return sm.describe_endpoint(EndpointName="live")["DataCaptureConfig"]


def invoke(n):
    for _ in range(n):
        runtime.invoke_endpoint(EndpointName="live", ContentType="text/csv", Body=b"1,2")


def summary(capture, state, percent):
    return {"EnableCapture": capture, "CaptureStatus": state, "CurrentSamplingPercentage": percent,
            "DestinationS3Uri": DEFAULT["DestinationS3Uri"], "KmsKeyId": ""}


change(DEFAULT)
check("without its bucket", status(), summary(True, "Stopped", 20))
invoke(5)
s3.create_bucket(Bucket="sagemaker-us-east-1-000000000000")
deadline = time.time() + 30
while status()["CaptureStatus"] != "Started" and time.time() < deadline:
    time.sleep(0.2)
check("with its bucket", status(), summary(True, "Started", 20))

change({**DEFAULT, "InitialSamplingPercentage": 100})
check("all", status(), summary(True, "Started", 100))
invoke(7)
change({**DEFAULT, "EnableCapture": False})
check("disabled", status(), summary(False, "Stopped", 20))
invoke(3)

# The lines of what was captured are there when the capture is not.
lines, deadline = [], time.time() + 60
key = re.compile(r"model-monitor/data-capture/live/AllTraffic/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl")
while len(lines) < 7 and time.time() < deadline:
    time.sleep(0.2)
    lines = []
    found = s3.list_objects_v2(Bucket="sagemaker-us-east-1-000000000000")
    for o in found.get("Contents", []):
        check_true("the key", key.fullmatch(o["Key"]), o["Key"])
        got = s3.get_object(Bucket="sagemaker-us-east-1-000000000000", Key=o["Key"])
        check("content type", got["ContentType"], "application/jsonlines")
        lines += [json.loads(line) for line in got["Body"].read().decode().splitlines()]
check("requests captured", len(lines), 7)
check("the input", lines[0]["captureData"]["endpointInput"], {
    "observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"})
check("the output", json.loads(lines[0]["captureData"]["endpointOutput"]["data"])["name"], "v1")
check("event ids", len({line["eventMetadata"]["eventId"] for line in lines}), 7)

sm.delete_endpoint(EndpointName="live")
wait(sm, "endpoint_deleted", "live")
print("ok", ARN)
