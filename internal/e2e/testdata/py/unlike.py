"""Models that are unlike the one that serves without any copies of requests: one that is wrong on one class, found by
what it answers, and one that is slow, found by how long it takes. With boto3.

usage: unlike.py MODELS IMAGES    (a folder of NAME.tar.gz for the image slipway/onnx; the test set as CSV)
"""

import os
import random
import sys
import threading
import time

from session import ROLE, check, check_true, client, wait

sm, s3 = client("sagemaker"), client("s3")

LABELS = "output=json:predictions.0.label tolerance=0.04 "
SOON = "warmup=5s patience=10s "
MODELS = ["v2", "v4", "slow", "again"]
MANY = 128  # images in a request: the slow model's time grows with the third power of that


def configure(name, model, words):
    sm.create_endpoint_config(
        EndpointConfigName=name, Tags=[{"Key": f"slipway:gate:{k}", "Value": w} for k, w in words.items()],
        ProductionVariants=[{"VariantName": "main", "ModelName": model, "InitialInstanceCount": 2,
                             "InstanceType": "ml.m5.large"}])


def update(config, seconds):
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {
        "Type": "CANARY", "WaitIntervalInSeconds": seconds, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}},
        "TerminationWaitInSeconds": 0, "MaximumExecutionTimeoutInSeconds": 900}}
    began = time.monotonic()
    sm.update_endpoint(EndpointName="digits", EndpointConfigName=config, DeploymentConfig=policy)
    wait(sm, "endpoint_in_service", "digits")
    end = sm.describe_endpoint(EndpointName="digits")
    print(f"{config}: {time.monotonic() - began:.1f} s, {end.get('FailureReason', 'it serves')}", flush=True)
    return end


class Load:
    """Sends some of the test set again and again, in another order each time."""

    def __init__(self, images):
        self.images = [line.strip().rsplit(",", 1)[0] for line in open(images)]
        self.over, self.lock, self.answered, self.failed = threading.Event(), threading.Lock(), 0, []
        self.threads = [threading.Thread(target=self.call, args=(n,)) for n in range(4)]

    def call(self, seed):
        mine, luck = client("sagemaker-runtime"), random.Random(seed)
        while not self.over.wait(0.01):
            try:
                mine.invoke_endpoint(EndpointName="digits", ContentType="text/csv", Accept="application/json",
                                     Body="\n".join(luck.choices(self.images, k=MANY)))["Body"].read()
                with self.lock:
                    self.answered += 1
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


def main(folder, images):
    s3.create_bucket(Bucket="models")
    for name in MODELS:
        s3.upload_file(os.path.join(folder, name + ".tar.gz"), "models", f"{name}/model.tar.gz")
        sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={
            "Image": "slipway/onnx", "ModelDataUrl": f"s3://models/{name}/model.tar.gz"})
    configure("v2", "v2", {})
    sm.create_endpoint(EndpointName="digits", EndpointConfigName="v2")
    wait(sm, "endpoint_in_service", "digits")
    with Load(images) as load:
        configure("v4-drift", "v4", {"drift": LABELS + "action=rollback"})
        end = update("v4-drift", 120)
        check("who serves after answers drifted", end["EndpointConfigName"], "v2")
        check_true("the reason of drift", 'because gate "drift" fired: ' in end["FailureReason"] and
                   "of v4-drift's answers are label " in end["FailureReason"], end["FailureReason"])
        configure("slow-tag", "slow", {"latency": SOON + "action=rollback"})
        end = update("slow-tag", 120)
        check("who serves after requests were slow", end["EndpointConfigName"], "v2")
        check_true("the reason of latency", 'because gate "latency" fired: ' in end["FailureReason"] and
                   "of slow-tag's take longer than " in end["FailureReason"], end["FailureReason"])
        configure("as-good", "again", {
            "drift": LABELS + "action=rollback", "latency": "warmup=5s patience=30s factor=1.5 action=rollback"})
        end = update("as-good", 20)
        check("who serves that is as good", (end["EndpointConfigName"], end.get("FailureReason")), ("as-good", None))
    check("requests that failed", load.failed, [])
    print(load.answered, "requests were answered")


main(*sys.argv[1:])
