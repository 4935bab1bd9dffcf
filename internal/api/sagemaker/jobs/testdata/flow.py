"""The job flow of the getting-started notebooks: compile, package, download.

    flow.py ENDPOINT MODEL.tar.gz DIR
"""

import os
import sys
import time

import boto3
from botocore.exceptions import ClientError

endpoint, model, target = sys.argv[1:]
kw = dict(endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="AKID", aws_secret_access_key="secret")
sm, s3 = boto3.client("sagemaker", **kw), boto3.client("s3", **kw)
role = "arn:aws:iam::000000000000:role/SageMakerRole"
bucket = "models"

s3.upload_file(model, bucket, "input/model.tar.gz")
sm.create_compilation_job(
    CompilationJobName="job",
    RoleArn=role,
    InputConfig={"S3Uri": f"s3://{bucket}/input/model.tar.gz", "DataInputConfig": "{'image': [1, 64]}", "Framework": "ONNX"},
    OutputConfig={"S3OutputLocation": f"s3://{bucket}/compiled/", "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64"}},
    StoppingCondition={"MaxRuntimeInSeconds": 900},
    Tags=[{"Key": "a", "Value": ""}],
)
while True:
    job = sm.describe_compilation_job(CompilationJobName="job")
    if job["CompilationJobStatus"] not in ("STARTING", "INPROGRESS"):
        break
    time.sleep(0.02)
assert job["CompilationJobStatus"] == "COMPLETED", job
assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{bucket}/compiled/model-LINUX_X86_64.tar.gz", job
assert job["FailureReason"] == "", job

answer = sm.create_edge_packaging_job(
    EdgePackagingJobName="package",
    CompilationJobName="job",
    ModelName="digits",
    ModelVersion="1.0",
    RoleArn=role,
    OutputConfig={"S3OutputLocation": f"s3://{bucket}/packages"},
)
assert set(answer) == {"ResponseMetadata"}, answer
while True:
    job = sm.describe_edge_packaging_job(EdgePackagingJobName="package")
    if job["EdgePackagingJobStatus"] not in ("STARTING", "INPROGRESS"):
        break
    time.sleep(0.02)
assert job["EdgePackagingJobStatus"] == "COMPLETED", job
artifact = job["ModelArtifact"]
assert os.path.basename(artifact) == "%s-%s.tar.gz" % ("digits", "1.0"), artifact
s3.download_file(bucket, artifact.removeprefix(f"s3://{bucket}/"), os.path.join(target, "package.tar.gz"))

assert [j["EdgePackagingJobName"] for p in sm.get_paginator("list_edge_packaging_jobs").paginate() for j in p["EdgePackagingJobSummaries"]] == ["package"]
assert [j["CompilationJobName"] for p in sm.get_paginator("list_compilation_jobs").paginate() for j in p["CompilationJobSummaries"]] == ["job"]
for call, code in (
    (lambda: sm.describe_compilation_job(CompilationJobName="none"), "ResourceNotFound"),
    (lambda: sm.stop_edge_packaging_job(EdgePackagingJobName="none"), "ResourceNotFound"),
):
    try:
        call()
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
    else:
        raise AssertionError("no error")
sm.delete_compilation_job(CompilationJobName="job")
print("ok")
