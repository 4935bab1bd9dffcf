"""Models that answer, and are wrong, each caught by the gate that looks for it, with boto3.

usage: broken.py MODELS IMAGES    (a folder of NAME.tar.gz for the image slipway/onnx; the test set as CSV)

What every model is, and that it is wrong, models/README.md says. v2 serves; "again" is as good, and passes everything
that stops the others.
"""

import os
import sys
import threading
import time

from session import ROLE, check, check_true, client, wait

sm, runtime, s3, cw = client("sagemaker"), client("sagemaker-runtime"), client("s3"), client("cloudwatch")

# What fleets answer to the same request: which label, and how likely they find a one.
LABELS = "output=json:predictions.0.label tolerance=0.04"
ONES = "output=json:predictions.0.probabilities.1@0.5 tolerance=0.02"
COPIES = "mirror=1 sideeffects=none first=%s patience=10s action=%s"
# How often they answer which label, how likely a one is, and how long they take.
FREQUENCIES = "output=json:predictions.0.label@label tolerance=0.03 action=%s"
CHANCES = "output=json:predictions.0.probabilities.1 tolerance=0.03 action=%s"
TIMES = "warmup=1s patience=10s action=rollback factor=1.5"

MODELS = ["v2", "v4", "bias", "nan", "stale", "slow", "again"]
COUNT = 2  # instances


def make(models):
    s3.create_bucket(Bucket="models")
    for name in MODELS:
        s3.upload_file(os.path.join(models, name + ".tar.gz"), "models", f"{name}/model.tar.gz")
        sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={
            "Image": "slipway/onnx", "ModelDataUrl": f"s3://models/{name}/model.tar.gz",
            "Environment": {"SLIPWAY_ONNX_CUSTOM_ATTRIBUTES": name}})
    configure("v2", "v2", {})
    sm.create_endpoint(EndpointName="digits", EndpointConfigName="v2")
    wait(sm, "endpoint_in_service", "digits")


def configure(name, model, words):
    sm.create_endpoint_config(
        EndpointConfigName=name, Tags=[{"Key": f"slipway:gate:{k}", "Value": w} for k, w in words.items()],
        ProductionVariants=[{"VariantName": "main", "ModelName": model, "InitialInstanceCount": COUNT,
                             "InstanceType": "ml.m5.large"}])


def alarm(name, metric):
    cw.put_metric_alarm(
        AlarmName=name, Namespace="Slipway/Evidence", MetricName=metric, Statistic="Maximum", Period=10,
        Dimensions=[{"Name": "EndpointName", "Value": "digits"}, {"Name": "VariantName", "Value": "main"}],
        EvaluationPeriods=1, Threshold=3, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching")


class Load:
    """Sends the test set again and again, each time with another speck of dust in the corner, since of one request
    there is one comparison at most. It counts who answered."""

    def __init__(self, images):
        self.images = [line.strip().rsplit(",", 1)[0] for line in open(images)]
        self.at, self.lock, self.over = 0, threading.Lock(), threading.Event()
        self.by, self.failed = {name: 0 for name in MODELS}, []
        self.long = False  # a request in four is of many images
        self.threads = [threading.Thread(target=self.call) for _ in range(4)]

    def call(self):
        mine = client("sagemaker-runtime")
        while not self.over.wait(0.01):
            with self.lock:
                self.at += 1
                times, which = divmod(self.at, len(self.images))
                image = f"{times / 1000}," + self.images[which].split(",", 1)[1]
                if self.long and self.at % 4 == 0:
                    image = "\n".join([image] + self.images[:400])
            try:
                out = mine.invoke_endpoint(EndpointName="digits", ContentType="text/csv", Accept="application/json",
                                           Body=image)
                out["Body"].read()
                with self.lock:
                    self.by[out["CustomAttributes"]] += 1
            except Exception as e:  # whatever it is, no request may fail
                self.failed.append(e)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()


def update(config, seconds, alarms=()):
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {
        "Type": "CANARY", "WaitIntervalInSeconds": seconds, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}},
        "TerminationWaitInSeconds": 0, "MaximumExecutionTimeoutInSeconds": 900}}
    if alarms:
        policy["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": a} for a in alarms]}
    began = time.monotonic()
    sm.update_endpoint(EndpointName="digits", EndpointConfigName=config, DeploymentConfig=policy)
    wait(sm, "endpoint_in_service", "digits")
    end = sm.describe_endpoint(EndpointName="digits")
    print(f"{config}: {time.monotonic() - began:.1f} s, {end.get('FailureReason', 'it serves')}")
    return end


def caught(load, model, gate, words, alarms=(), exposed=False):
    """A model is rolled back by a gate, or an alarm on its evidence, before or after it got traffic."""
    name = f"{model}-{gate}" + ("-alarm" if alarms else "")
    configure(name, model, {gate: words})
    before = load.by[model]
    end = update(name, 120, alarms)
    check(f"{name}: who serves", end["EndpointConfigName"], "v2")
    reason = end["FailureReason"]
    if alarms:
        check(f"{name}: the reason", reason, "Endpoint deployment was rolled back because the following CloudWatch "
              f"alarm(s) are in ALARM state: [{', '.join(alarms)}].")
    else:
        check_true(f"{name}: the reason", f'because gate "{gate}" fired: ' in reason and name in reason, reason)
    got = load.by[model] - before
    check_true(f"{name}: {got} requests reached it", (got > 0) == exposed, got)


def passes(name, words, seconds=2):
    """What is as good as v2 passes a gate, and v2 comes back."""
    configure(name, "again", words)
    end = update(name, seconds)
    check(f"{name}: who serves", (end["EndpointConfigName"], end.get("FailureReason")), (name, None))
    check("who serves then", update("v2", 0)["EndpointConfigName"], "v2")


def main():
    make(sys.argv[1])
    alarm("disagrees", "DisagreementEvidence")
    alarm("worse", "AnyEvidence")
    alarm("drifts", "OutputDriftEvidence")
    with Load(sys.argv[2]) as load:
        judge = COPIES % ("60s", "rollback")
        tell = COPIES % ("60s", "report")
        caught(load, "v4", "disagreement", f"{LABELS} {judge}")
        caught(load, "stale", "disagreement", f"{LABELS} {tell}", ["disagrees"])
        caught(load, "bias", "disagreement", f"{ONES} {judge}")
        caught(load, "nan", "disagreement", f"{ONES} {tell}", ["worse"])
        # Nobody copies a request: what is seen is what callers get.
        caught(load, "v4", "drift", FREQUENCIES % "rollback", exposed=True)
        caught(load, "nan", "drift", CHANCES % "report", ["drifts"], exposed=True)
        load.long = True
        caught(load, "slow", "latency", TIMES, exposed=True)
        passes("again-times", {"latency": TIMES}, 15)
        load.long = False
        passes("again-frequencies", {"drift": FREQUENCIES % "rollback"}, 25)
        soon = COPIES % ("5s", "rollback")
        passes("again-labels", {"disagreement": f"{LABELS} {soon}"})
        passes("again-ones", {"disagreement": f"{ONES} {soon}"})
    check("requests that failed", load.failed, [])
    print(load.by)


main()
