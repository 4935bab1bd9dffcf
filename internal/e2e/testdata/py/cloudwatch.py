"""A deployment that an alarm rolls back, with boto3.

usage: cloudwatch.py V1.tar.gz V2.tar.gz   (models of the image test/model:latest)
"""

import datetime
import json
import sys
import threading
import time

from botocore.exceptions import ClientError

from session import ROLE, check, check_true, client, fails, invalid, wait

sm, runtime, s3, cw = client("sagemaker"), client("sagemaker-runtime"), client("s3"), client("cloudwatch")

s3.create_bucket(Bucket="cw-models")
for name, path, env in [("v1", sys.argv[1], {}), ("v2", sys.argv[2], {"TESTMODEL_STATUS": "500", "TESTMODEL_STATUS_PERCENT": "50"})]:
    s3.upload_file(path, "cw-models", f"{name}/model.tar.gz")
    sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={
        "Image": "test/model:latest", "ModelDataUrl": f"s3://cw-models/{name}/model.tar.gz", "Environment": env})
    sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[
        {"VariantName": "main", "ModelName": name, "InitialInstanceCount": 2, "InstanceType": "ml.m5.large"}])
sm.create_endpoint(EndpointName="live", EndpointConfigName="v1")
wait(sm, "endpoint_in_service", "live")

both = [{"Name": "EndpointName", "Value": "live"}, {"Name": "VariantName", "Value": "main"}]
fleet = both + [{"Name": "EndpointConfigName", "Value": "v2"}]
canary = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY", "WaitIntervalInSeconds": 60, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}},
        "TerminationWaitInSeconds": 0, "MaximumExecutionTimeoutInSeconds": 600},
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "rate"}, {"AlarmName": "any"}]},
}
update = {"EndpointName": "live", "EndpointConfigName": "v2", "DeploymentConfig": canary}
invalid("alarms that do not exist", "Could not find alarm(s): [rate, any].", sm.update_endpoint, **update)


def stat(name):
    return {"Metric": {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": fleet}, "Period": 1, "Stat": "Sum"}


# Metric math over the new fleet, and a composite alarm above it.
cw.put_metric_alarm(
    AlarmName="rate", EvaluationPeriods=1, Threshold=0.2, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching",
    Metrics=[{"Id": "rate", "Expression": "IF(all > 0, bad / all, 0)", "Label": "rate of errors"},
             {"Id": "bad", "MetricStat": stat("Invocation5XXErrors"), "ReturnData": False},
             {"Id": "all", "MetricStat": stat("Invocations"), "ReturnData": False}])
cw.put_composite_alarm(AlarmName="any", AlarmRule='ALARM("rate")')
cw.get_waiter("alarm_exists").wait(AlarmNames=["rate"], WaiterConfig={"MaxAttempts": 1})
cw.get_waiter("composite_alarm_exists").wait(AlarmNames=["any"], AlarmTypes=["CompositeAlarm"], WaiterConfig={"MaxAttempts": 1})

# Callers go on all the while; only the new model may fail them.
over = threading.Event()
answers, strange = {"v1": 0, "v2": 0, "failed": 0}, []


def call():
    while not over.is_set():
        try:
            answers[json.load(runtime.invoke_endpoint(EndpointName="live", Body=b"x")["Body"])["name"]] += 1
        except ClientError as e:
            if e.response["Error"]["Code"] != "ModelError" or e.response["OriginalStatusCode"] != 500:
                strange.append(e.response)
            answers["failed"] += 1
        time.sleep(0.01)


caller = threading.Thread(target=call)
caller.start()
try:
    sm.update_endpoint(**update)
    check("recorded at acceptance", sm.describe_endpoint(EndpointName="live")["LastDeploymentConfig"], canary)
    wait(sm, "endpoint_in_service", "live")  # which calls a rollback a success
    end = sm.describe_endpoint(EndpointName="live")
finally:
    over.set()
    caller.join()
check("no other error", strange, [])
check("in service", end["EndpointConfigName"], "v1")
check_true("the reason names an alarm", end["FailureReason"].startswith(
    "Endpoint deployment was rolled back because the following CloudWatch alarm(s) are in ALARM state: ["), end["FailureReason"])
check("the rejected configuration stays", end["LastDeploymentConfig"], canary)
check_true("there were errors", answers["failed"] > 0 and answers["v1"] > 0, answers)

# What the callers saw is what the metrics say.
now = datetime.datetime.now(datetime.timezone.utc)


def total(name, dimensions):
    out = cw.get_metric_statistics(
        Namespace="AWS/SageMaker", MetricName=name, Dimensions=dimensions, StartTime=now - datetime.timedelta(hours=1),
        EndTime=now + datetime.timedelta(minutes=1), Period=60, Statistics=["Sum"])
    return sum(p["Sum"] for p in out["Datapoints"])


check("errors of the new fleet", total("Invocation5XXErrors", fleet), answers["failed"])
check("errors of both", total("Invocation5XXErrors", both), answers["failed"])
check("invocations of both", total("Invocations", both), sum(answers.values()))
summaries = [h["HistorySummary"] for p in cw.get_paginator("describe_alarm_history").paginate(AlarmName="rate") for h in p["AlarmHistoryItems"]]
check_true("the alarm's history", any(s.endswith("to ALARM") for s in summaries), summaries)
fails("a reserved namespace", "InvalidParameterValue", None, 400, cw.put_metric_data,
      Namespace="AWS/SageMaker", MetricData=[{"MetricName": "Invocation5XXErrors", "Value": 0}])

cw.delete_alarms(AlarmNames=["any"])
cw.delete_alarms(AlarmNames=["rate"])
sm.delete_endpoint(EndpointName="live")
wait(sm, "endpoint_deleted", "live")
