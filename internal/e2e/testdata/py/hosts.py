"""A client whose code names hosts of AWS, in an environment of `slipway env --all`."""

import os
import sys
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

os.environ.pop("AWS_ENDPOINT_URL")  # such clients ask whom they like
REGION = os.environ["AWS_DEFAULT_REGION"]


def check(name, got, want):
    if got != want:
        sys.exit(f"{name}: got {got!r}, want {want!r}")


def client(service, endpoint=None):
    return boto3.client(
        service, region_name=REGION, endpoint_url=endpoint, config=Config(retries={"max_attempts": 0})
    )


# The first two lines of the SageMaker SDK.
who = client("sts", f"https://sts.{REGION}.amazonaws.com").get_caller_identity()
check("account", who["Account"], "123456789012")
check("models", client("sagemaker").list_models()["Models"], [])
check("alarms", client("cloudwatch").describe_alarms()["MetricAlarms"], [])

# Buckets are in the names of hosts, and keys may be called like pages of Slipway.
bucket = f"sagemaker-{REGION}-123456789012"
s3 = client("s3")
s3.create_bucket(Bucket=bucket)
for key in "models/a b+c.tar.gz", "healthz", "endpoints/e/invocations", "metrics":
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    check(key, s3.get_object(Bucket=bucket, Key=key)["Body"].read(), key.encode())
check("buckets", [b["Name"] for b in s3.list_buckets()["Buckets"]], [bucket])
check("listing", s3.list_objects_v2(Bucket=bucket)["KeyCount"], 4)

# Whoever is not known is told so, there too.
stranger = boto3.client("s3", region_name=REGION, aws_access_key_id="AKIASTRANGER", aws_secret_access_key="no")
try:
    stranger.get_object(Bucket=bucket, Key="healthz")
    sys.exit("a stranger got an object")
except stranger.exceptions.ClientError as e:
    check("stranger", e.response["Error"]["Code"], "InvalidAccessKeyId")

# Nothing else is reached in this way.
for url in "https://iam.amazonaws.com/", "https://example.com/":
    try:
        urllib.request.urlopen(url)
        sys.exit(f"{url} was reached")
    except urllib.error.URLError as e:
        check(url, "403" in str(e), True)
