"""Drives a handler with an unmodified boto3; any failed assertion is the exit code."""
import datetime
import sys

import boto3
import botocore.exceptions

url, key, secret, protocol = sys.argv[1:]
sent = []
session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-west-2")

# Other generations of clients speak other protocols: this one will speak any.
loader = session._session.get_component("data_loader")
load = loader.load_service_model


def only(service, type_name, api_version=None):
    model = load(service, type_name, api_version)
    if service == "cloudwatch" and type_name == "service-2":
        assert protocol in model["metadata"]["protocols"], model["metadata"]
        model["metadata"].update(protocol=protocol, protocols=[protocol])
    return model


if protocol != "json":  # which is what it speaks when left alone
    loader.load_service_model = only
cw = session.client("cloudwatch", endpoint_url=url, config=boto3.session.Config(retries={"max_attempts": 0}))
cw.meta.events.register("before-send", lambda request, **_: sent.append(request) and None)


def header(name):
    value = sent[-1].headers.get(name, "")
    return value.decode() if isinstance(value, bytes) else value


def refused(code, type_name, text, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as e:
        error = e.response["Error"]
        assert error["Code"] == code, e.response
        assert text in error["Message"], e.response
        assert type(e).__name__ == type_name, (type(e), e.response)
        assert e.response["ResponseMetadata"]["RequestId"], e.response
        return e.response
    raise AssertionError(f"{code} was not answered")


cw.put_metric_alarm(
    AlarmName='ä "quoted" <alarm>', AlarmDescription="", ActionsEnabled=False, AlarmActions=[],
    MetricName="Invocation5XXErrors", Namespace="AWS/SageMaker", Statistic="Average",
    Dimensions=[{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}],
    Period=10, EvaluationPeriods=100000, Threshold=-0.25, ComparisonOperator="GreaterThanThreshold")
assert header("X-Amz-Target") == ("GraniteServiceVersion20100801.PutMetricAlarm" if protocol == "json" else ""), sent[-1].headers
assert header("Smithy-Protocol") == ("rpc-v2-cbor" if protocol == "smithy-rpc-v2-cbor" else ""), sent[-1].headers
cw.get_waiter("alarm_exists").wait(AlarmNames=['ä "quoted" <alarm>'], WaiterConfig={"MaxAttempts": 1})
[alarm] = cw.describe_alarms(AlarmNamePrefix="ä")["MetricAlarms"]
assert alarm["Threshold"] == -0.25 and alarm["EvaluationPeriods"] == 100000 and alarm["ActionsEnabled"] is False, alarm
assert alarm["AlarmDescription"] == "" and alarm["AlarmActions"] == [] and alarm["Dimensions"][1]["Value"] == "v", alarm
assert alarm["AlarmConfigurationUpdatedTimestamp"].timestamp() == 1795290785.123, alarm
assert [a["AlarmName"] for p in cw.get_paginator("describe_alarms").paginate() for a in p["MetricAlarms"]] == ['ä "quoted" <alarm>']

when = datetime.datetime(2026, 11, 21, 19, 53, 5, 123000, datetime.timezone.utc)
hour = datetime.timedelta(hours=1)
cw.put_metric_data(Namespace="N", MetricData=[
    {"MetricName": "m", "Value": 1, "Unit": "Bytes/Second", "Timestamp": when},
    {"MetricName": "m", "Values": [-3, 0.1], "Counts": [2, 1 << 40]},
    {"MetricName": "m", "StatisticValues": {"SampleCount": 2, "Sum": 3, "Minimum": 1, "Maximum": 2}}])
out = cw.get_metric_statistics(
    Namespace="N", MetricName="m", StartTime=when - hour, EndTime=when, Period=60, ExtendedStatistics=["p99"])
assert [p["Sum"] for p in out["Datapoints"]] == [1, -3, 0.1, 3], out
assert out["Datapoints"][0]["Timestamp"] in (when, when.replace(microsecond=0)) and out["Datapoints"][0]["ExtendedStatistics"] == {"p99": 0.1}, out

cw.put_metric_data(Namespace="N", MetricData=[{"MetricName": "many", "Value": i} for i in range(500)])
assert header("Content-Encoding") == "gzip", sent[-1].headers

[item] = cw.describe_alarm_history(AlarmName="a", StartDate=when - hour, AlarmTypes=["MetricAlarm"])["AlarmHistoryItems"]
assert "2026-11-21T18:53:05" in item["HistoryData"] and item["AlarmContributorAttributes"]["b"] == "2 < 3", item

answer = refused("ResourceNotFound", "ResourceNotFound", "Could not find alarm no.", cw.delete_alarms, AlarmNames=["no"])
assert answer["ResponseMetadata"]["HTTPStatusCode"] == 404, answer
answer = refused("InvalidFormat", "InvalidFormatFault", "is not valid JSON & no more", cw.set_alarm_state,
                 AlarmName="a", StateValue="OK", StateReason="é")
assert protocol == "query" or answer["Error"]["QueryErrorCode"] == "InvalidFormatFault", answer
assert answer["Error"]["Type"] == "Sender", answer
refused("InvalidNextToken", "InvalidNextToken", "token x", cw.describe_alarms, NextToken="x")
refused("MissingParameter", "MissingRequiredParameterException", "Must specify", cw.get_metric_statistics,
        Namespace="N", MetricName="m", StartTime=when, EndTime=when, Period=60)
answer = refused("InternalServiceError", "InternalServiceFault", "internal error", cw.get_metric_statistics,
                 Namespace="N", MetricName="boom", StartTime=when - hour, EndTime=when, Period=60, Statistics=["Sum"])
assert answer["Error"]["Type"] == "Receiver", answer
refused("ResourceNotFoundException", "ResourceNotFoundException", "missing", cw.tag_resource, ResourceARN="missing", Tags=[])
refused("ValidationError", "ClientError", "1 validation error detected: Value 'SOON' at 'stateValue' failed to satisfy constraint: "
        "Member must satisfy enum value set: [OK, ALARM, INSUFFICIENT_DATA]", cw.describe_alarms, StateValue="SOON")
refused("InvalidAction", "ClientError", "The operation PutDashboard is not implemented by Slipway.", cw.put_dashboard,
        DashboardName="d", DashboardBody="{}")
refused("InvalidParameterValue", "InvalidParameterValueException", "The value NaN for", cw.put_metric_data,
        Namespace="N", MetricData=[{"MetricName": "m", "Value": float("nan")}])

stranger = session.client("cloudwatch", endpoint_url=url, aws_access_key_id="AKIANOBODY", aws_secret_access_key="x")
refused("InvalidClientTokenId", "ClientError", "security token", stranger.describe_alarms)
forger = session.client("cloudwatch", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key="x")
refused("SignatureDoesNotMatch", "ClientError", "signature we calculated", forger.describe_alarms)
