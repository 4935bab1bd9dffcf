"""Deployments that are rolled back by an alarm on evidence, and by a tag, with boto3.

usage: evidence.py V1.tar.gz V2.tar.gz   (models of the image test/model:latest)
"""

import sys
import threading
import time

from botocore.exceptions import ClientError

from session import ROLE, check, check_true, client, fails, wait

sm, runtime, s3, cw = client("sagemaker"), client("sagemaker-runtime"), client("s3"), client("cloudwatch")

s3.create_bucket(Bucket="models")


def configure(name, model, words):
    sm.create_endpoint_config(
        EndpointConfigName=name, Tags=[{"Key": f"slipway:gate:{k}", "Value": w} for k, w in words.items()],
        ProductionVariants=[
            {"VariantName": "main", "ModelName": model, "InitialInstanceCount": 2, "InstanceType": "ml.m5.large"}])


for name, path, environment in [
        ("v1", sys.argv[1], {}), ("v1b", sys.argv[1], {}),
        ("v2", sys.argv[2], {"TESTMODEL_STATUS": "500", "TESTMODEL_STATUS_PERCENT": "80"})]:
    s3.upload_file(path, "models", f"{name}/model.tar.gz")
    sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={
        "Image": "test/model:latest", "ModelDataUrl": f"s3://models/{name}/model.tar.gz",
        "Environment": environment})
    configure(name, name, {"errors": "patience=10s"})
configure("v2-by-tag", "v2", {"errors": "patience=10s action=rollback"})
try:
    configure("right", "v2", {"accuracy": "action=rollback"})
    check("a gate that nobody works out", "accepted", "refused")
except ClientError as e:
    check_true("a gate that nobody works out", 'Gate "accuracy" is not supported by this server' in str(e), str(e))
sm.create_endpoint(EndpointName="live", EndpointConfigName="v1")
wait(sm, "endpoint_in_service", "live")

dimensions = [{"Name": "EndpointName", "Value": "live"}, {"Name": "VariantName", "Value": "main"}]
cw.put_metric_alarm(
    AlarmName="worse", Namespace="Slipway/Evidence", MetricName="AnyEvidence", Dimensions=dimensions, Statistic="Maximum",
    Period=10, EvaluationPeriods=1, Threshold=3, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching")
over, answers = threading.Event(), {"good": 0, "bad": 0}


def call():
    while not over.is_set():
        try:
            runtime.invoke_endpoint(EndpointName="live", Body=b"x")["Body"].read()
            answers["good"] += 1
        except ClientError:
            answers["bad"] += 1
        time.sleep(0.01)


def update(config, seconds, alarms):
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {
        "Type": "CANARY", "WaitIntervalInSeconds": seconds, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}},
        "TerminationWaitInSeconds": 0, "MaximumExecutionTimeoutInSeconds": 900}}
    if alarms:
        policy["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": a} for a in alarms]}
    sm.update_endpoint(EndpointName="live", EndpointConfigName=config, DeploymentConfig=policy)
    wait(sm, "endpoint_in_service", "live")
    return sm.describe_endpoint(EndpointName="live")


caller = threading.Thread(target=call)
caller.start()
try:
    end = update("v2", 300, ["worse"])
    check("what is worse does not serve", end["EndpointConfigName"], "v1")
    check("the reason", end["FailureReason"], "Endpoint deployment was rolled back because the following CloudWatch "
          "alarm(s) are in ALARM state: [worse].")
    # At once, and with the alarm that has just fired.
    end = update("v1b", 15, ["worse"])
    check("what is no worse serves", end["EndpointConfigName"], "v1b")
    end = update("v2-by-tag", 300, [])
    check("by the tag alone", end["EndpointConfigName"], "v1b")
    check_true("the reason of a tag", end["FailureReason"].startswith(
        'Endpoint deployment was rolled back because gate "errors" fired: v2-by-tag fails '), end["FailureReason"])
finally:
    over.set()
    caller.join()
check_true("requests were answered", answers["good"] > 0 and answers["bad"] > 0, answers)
names = {m["MetricName"] for m in cw.list_metrics(Namespace="Slipway/Evidence", Dimensions=dimensions)["Metrics"]}
check_true("the metrics", {"AnyEvidence", "ErrorRateEvidence", "RetryEvidence", "AbandonedEvidence"} <= names, names)
fails("the namespace is reserved", "InvalidParameterValue", None, 400, cw.put_metric_data,
      Namespace="Slipway/Evidence", MetricData=[{"MetricName": "AnyEvidence", "Value": 9}])
cw.delete_alarms(AlarmNames=["worse"])
sm.delete_endpoint(EndpointName="live")
wait(sm, "endpoint_deleted", "live")
