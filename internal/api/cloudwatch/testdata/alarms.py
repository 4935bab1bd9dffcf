"""Drives alarms and metrics with an unmodified boto3, in the protocol that is
named; any failed assertion is the exit code, and 77 says that this boto3 does
not speak it."""
import datetime
import sys
import time

import boto3
import botocore.exceptions

url, key, secret, protocol = sys.argv[1:]
session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-west-2")

# Other generations of clients speak other protocols: this one will speak any.
loader = session._session.get_component("data_loader")
load = loader.load_service_model


def only(service, type_name, api_version=None):
    model = load(service, type_name, api_version)
    if service == "cloudwatch" and type_name == "service-2":
        model["metadata"].update(protocol=protocol, protocols=[protocol])
    return model


spoken = load("cloudwatch", "service-2")["metadata"]
if protocol != "default":
    if protocol not in spoken.get("protocols", [spoken["protocol"]]):
        sys.exit(77)
    loader.load_service_model = only
cw = session.client("cloudwatch", endpoint_url=url, config=boto3.session.Config(retries={"max_attempts": 0}))


def refused(code, text, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == code and text in e.response["Error"]["Message"], e.response
        return e
    raise AssertionError(f"{code} was not answered")


def names(**arguments):
    pages = cw.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2}, **arguments)
    return [a["AlarmName"] for p in pages for kind in ("MetricAlarms", "CompositeAlarms") for a in p[kind]]


def await_state(name, want):
    for _ in range(1000):
        [alarm] = cw.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        if alarm["StateValue"] == want:
            return alarm
        time.sleep(0.01)
    raise AssertionError(f"{alarm}, want {want}")


alarm = dict(
    AlarmName="ä <errors>", AlarmDescription="too many", Namespace="Shop", MetricName="Errors", Statistic="Sum", Unit="Count",
    Dimensions=[{"Name": "Till", "Value": "7"}], Period=1, EvaluationPeriods=2, DatapointsToAlarm=1, Threshold=0.5,
    ComparisonOperator="GreaterThanOrEqualToThreshold", TreatMissingData="notBreaching", AlarmActions=["arn:aws:sns:us-west-2:123456789012:pager"])
cw.put_metric_alarm(Tags=[{"Key": "team", "Value": "till"}], **alarm)
for n in range(3):
    cw.put_metric_alarm(**{**alarm, "AlarmName": f"a{n}", "AlarmActions": []})
cw.get_waiter("alarm_exists").wait(AlarmNames=["ä <errors>"], WaiterConfig={"MaxAttempts": 1})
[got] = cw.describe_alarms(AlarmNames=["ä <errors>", "nobody"])["MetricAlarms"]
for name, value in alarm.items():
    assert got[name] == value, (name, got)
assert got["ActionsEnabled"] is True and got["OKActions"] == [] and got["AlarmArn"].startswith("arn:aws:cloudwatch:us-west-2:123456789012:alarm:"), got
assert abs((datetime.datetime.now(datetime.timezone.utc) - got["StateUpdatedTimestamp"]).total_seconds()) < 60, got
assert cw.list_tags_for_resource(ResourceARN=got["AlarmArn"])["Tags"] == [{"Key": "team", "Value": "till"}]
cw.tag_resource(ResourceARN=got["AlarmArn"], Tags=[{"Key": "k", "Value": ""}])
cw.untag_resource(ResourceARN=got["AlarmArn"], TagKeys=["team"])
assert cw.list_tags_for_resource(ResourceARN=got["AlarmArn"])["Tags"] == [{"Key": "k", "Value": ""}]

cw.put_composite_alarm(AlarmName="any", AlarmRule='ALARM("ä <errors>") OR ALARM(a0)')
cw.get_waiter("composite_alarm_exists").wait(AlarmNames=["any"], AlarmTypes=["CompositeAlarm"], WaiterConfig={"MaxAttempts": 1})
assert names() == ["a0", "a1", "a2", "ä <errors>"], names()
assert names(AlarmTypes=["CompositeAlarm"]) == ["any"]
assert names(ChildrenOfAlarmName="any") == ["a0", "ä <errors>"]

now = datetime.datetime.now(datetime.timezone.utc)
cw.put_metric_data(Namespace="Shop", MetricData=[
    {"MetricName": "Errors", "Dimensions": alarm["Dimensions"], "Unit": "Count", "Values": [1, 2], "Counts": [1, 1]}])
fired = await_state("ä <errors>", "ALARM")
assert "Threshold Crossed" in fired["StateReason"], fired
[composite] = cw.describe_alarms(AlarmNames=["any"], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
assert composite["AlarmRule"] == 'ALARM("ä <errors>") OR ALARM(a0)', composite
await_state("ä <errors>", "OK")
cw.set_alarm_state(AlarmName="ä <errors>", StateValue="ALARM", StateReason="a drill", StateReasonData='{"drill": true}')
summaries = [h["HistorySummary"] for p in cw.get_paginator("describe_alarm_history").paginate(AlarmName="ä <errors>", ScanBy="TimestampAscending")
             for h in p["AlarmHistoryItems"]]
assert summaries[0] == 'Alarm "ä <errors>" created' and "Alarm updated from OK to ALARM" in summaries, summaries

out = cw.get_metric_statistics(
    Namespace="Shop", MetricName="Errors", Dimensions=alarm["Dimensions"], StartTime=now - datetime.timedelta(minutes=5),
    EndTime=now + datetime.timedelta(minutes=5), Period=3600, Statistics=["Sum", "SampleCount"], Unit="Count")
assert out["Label"] == "Errors" and sum(p["Sum"] for p in out["Datapoints"]) == 3 and all("Average" not in p for p in out["Datapoints"]), out
data = [r for p in cw.get_paginator("get_metric_data").paginate(
    StartTime=now - datetime.timedelta(minutes=5), EndTime=now + datetime.timedelta(minutes=5), MetricDataQueries=[
        {"Id": "m", "ReturnData": False, "MetricStat": {"Period": 60, "Stat": "Sum", "Metric": {
            "Namespace": "Shop", "MetricName": "Errors", "Dimensions": alarm["Dimensions"]}}},
        {"Id": "e", "Expression": "RUNNING_SUM(m) / 2"}]) for r in p["MetricDataResults"]]
assert [r["Id"] for r in data] == ["e"] and max(data[0]["Values"]) == 1.5 and data[0]["StatusCode"] == "Complete", data
[metric] = [m for p in cw.get_paginator("list_metrics").paginate(Namespace="Shop", RecentlyActive="PT3H") for m in p["Metrics"]]
assert metric == {"Namespace": "Shop", "MetricName": "Errors", "Dimensions": alarm["Dimensions"]}, metric
assert len(cw.describe_alarms_for_metric(Namespace="Shop", MetricName="Errors", Dimensions=alarm["Dimensions"], Period=1)["MetricAlarms"]) == 4

cw.disable_alarm_actions(AlarmNames=["a1"])
assert cw.describe_alarms(AlarmNames=["a1"])["MetricAlarms"][0]["ActionsEnabled"] is False
cw.enable_alarm_actions(AlarmNames=["a1"])
assert cw.describe_alarms(AlarmNames=["a1"])["MetricAlarms"][0]["ActionsEnabled"] is True

refused("InvalidFormat", "not valid JSON", cw.set_alarm_state, AlarmName="a0", StateValue="OK", StateReason="", StateReasonData="{")
error = refused("ResourceNotFound", "[nobody]", cw.set_alarm_state, AlarmName="nobody", StateValue="OK", StateReason="")
assert isinstance(error, cw.exceptions.ResourceNotFound) and error.response["ResponseMetadata"]["HTTPStatusCode"] == 404, error.response
refused("InvalidParameterValue", "AWS/SageMaker", cw.put_metric_data, Namespace="AWS/SageMaker", MetricData=[{"MetricName": "m", "Value": 1}])
refused("InvalidParameterValue", "The value NaN", cw.put_metric_data, Namespace="N", MetricData=[{"MetricName": "m", "Value": float("nan")}])
refused("InvalidParameterCombination", "Must specify", cw.get_metric_statistics, Namespace="N", MetricName="m", StartTime=now - datetime.timedelta(1), EndTime=now, Period=60)
refused("InvalidNextToken", "invalid", cw.describe_alarms, NextToken="x")
assert cw.list_tags_for_resource(ResourceARN=got["AlarmArn"] + "x")["Tags"] == []
refused("ResourceNotFoundException", "Could not find alarm", cw.untag_resource, ResourceARN=got["AlarmArn"] + "x", TagKeys=["a"])
refused("ValidationError", "anomaly detection", cw.put_metric_alarm, **{
    **{k: v for k, v in alarm.items() if k != "Threshold"}, "AlarmName": "x", "ThresholdMetricId": "ad", "ComparisonOperator": "GreaterThanUpperThreshold"})
if "EvaluationCriteria" in cw.meta.service_model.operation_model("PutMetricAlarm").input_shape.members:
    refused("ValidationError", "EvaluationCriteria", cw.put_metric_alarm, AlarmName="x", EvaluationCriteria={"PromQLCriteria": {"Query": "up"}}, EvaluationInterval=60)

refused("ValidationError", "depending on it: [any]", cw.delete_alarms, AlarmNames=["a0"])
cw.delete_alarms(AlarmNames=["any"])
cw.delete_alarms(AlarmNames=["a0", "a1", "a2", "ä <errors>", "nobody"])
assert names() == []
