"""What every boto3 script here starts with: clients, and ways to check."""

import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"
REGION = os.environ["AWS_DEFAULT_REGION"]
ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"  # older versions of boto3 insist on one


def client(service, **settings):
    """A boto3 client for the server under test. Older versions of boto3 do not
    read AWS_ENDPOINT_URL, so it is named."""
    settings = {"retries": {"max_attempts": 0}, **settings}
    return boto3.client(
        service, endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=REGION, config=Config(**settings)
    )


def check(name, got, want):
    if got != want:
        sys.exit(f"{name}: got {got!r}, want {want!r}")


def check_true(name, held, *facts):
    if not held:
        sys.exit(f"{name}: {' '.join(repr(f) for f in facts)}")


def fails(name, code, message, status, call, **arguments):
    """Checks that a call is refused with exactly this error."""
    try:
        call(**arguments)
    except ClientError as e:
        check(f"{name}: code", e.response["Error"]["Code"], code)
        if message is not None:
            check(f"{name}: message", e.response["Error"]["Message"], message)
        check(f"{name}: status", e.response["ResponseMetadata"]["HTTPStatusCode"], status)
        check_true(f"{name}: request id", len(e.response["ResponseMetadata"].get("RequestId", "")) == 36, e.response)
        return e.response
    sys.exit(f"{name}: the call succeeded")


def invalid(name, message, call, **arguments):
    return fails(name, "ValidationException", message, 400, call, **arguments)


def wait(sm, waiter, endpoint):
    sm.get_waiter(waiter).wait(EndpointName=endpoint, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
