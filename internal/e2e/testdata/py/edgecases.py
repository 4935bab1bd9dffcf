"""What devices say at the wrong time, twice, or in the wrong form (edge
specification §3.3, §4.5, §4.6 and §10).

usage: edgecases.py FLEET PACKAGING_JOB
"""

import datetime
import sys
import time

from session import ARN, ROLE, check, check_true, client, fails

fleet, job = sys.argv[1:3]
sm, edge = client("sagemaker"), client("sagemaker-edge")
unchecked = client("sagemaker-edge", parameter_validation=False)


def until(name, probe, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if probe():
            return
        time.sleep(0.02)
    sys.exit(f"{name}: not within {seconds} s")


def begin(plan, *devices):
    """Starts a stage for some devices."""
    sm.create_edge_deployment_plan(
        EdgeDeploymentPlanName=plan, DeviceFleetName=fleet, ModelConfigs=[{"ModelHandle": plan, "EdgePackagingJobName": job}],
        Stages=[{"StageName": "all", "DeviceSelectionConfig": {"DeviceSubsetType": "SELECTION", "DeviceNames": list(devices)}}])
    start(plan)


def start(plan):
    sm.start_edge_deployment_stage(EdgeDeploymentPlanName=plan, StageName="all")
    until(plan + " is under way", lambda: status(plan)[0] == "INPROGRESS")


def status(plan):
    s = sm.describe_edge_deployment_plan(EdgeDeploymentPlanName=plan)["Stages"][0]["DeploymentStatus"]
    check_true("the start lies in the past", s.get("EdgeDeploymentStageStartTime", past) <= datetime.datetime.now(datetime.timezone.utc), s)
    return s["StageStatus"], s["EdgeDeploymentSuccessInStage"], s["EdgeDeploymentPendingInStage"], s["EdgeDeploymentFailedInStage"]


past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


def rows(plan):
    all = sm.list_stage_devices(EdgeDeploymentPlanName=plan, StageName="all")["DeviceDeploymentSummaries"]
    return {r["DeviceName"]: (r["DeviceDeploymentStatus"], r.get("DeviceDeploymentStatusMessage", "")) for r in all}


def orders(device):
    return [d["DeploymentName"] for d in edge.get_deployments(DeviceName=device, DeviceFleetName=fleet)["Deployments"]]


def beat(device, **members):
    edge.send_heartbeat(AgentVersion="1.0", DeviceName=device, DeviceFleetName=fleet, **members)


def report(device, order, outcome, **members):
    beat(device, DeploymentResult={"DeploymentName": order, "DeploymentStatus": outcome, **members})


def models(device):
    return [(m["ModelName"], m["ModelVersion"]) for m in sm.describe_device(DeviceName=device, DeviceFleetName=fleet).get("Models", [])]


sm.create_device_fleet(DeviceFleetName=fleet, RoleArn=ROLE, OutputConfig={"S3OutputLocation": "s3://sagemaker-edge/captured"})
sm.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": f"cam-{i}"} for i in range(1, 5)])

# A result that nobody asked for yet is the truth; the first word counts.
begin("early", "cam-1", "cam-2")
order = orders("cam-2")[0]
report("cam-1", order, "SUCCESS")
check("a result before its order was seen", rows("early")["cam-1"][0], "DEPLOYED")
report("cam-1", order, "SUCCESS")
report("cam-1", order, "FAIL", DeploymentStatusMessage="thought better of it")
check("said twice, and then otherwise", status("early"), ("INPROGRESS", 1, 1, 0))
report("cam-1", "d-00000000000000000000000000", "FAIL")
report("cam-3", order, "FAIL")  # not of the stage
check("of an order that is none", status("early"), ("INPROGRESS", 1, 1, 0))
beat("cam-2", DeploymentResult={"DeploymentName": order})
check("neither success nor failure", rows("early")["cam-2"][0], "INPROGRESS")
report("cam-2", order, "SUCCESS", DeploymentModels=[{"ModelHandle": "early", "ModelName": "digits", "ModelVersion": "1.0", "DesiredState": "DEPLOY", "State": "DEPLOY", "Status": "FAIL", "StatusReason": "it contradicts itself"}])
until("the end", lambda: status("early") == ("FAILED", 1, 0, 1))
check_true("a contradiction is a failure", "it contradicts itself" in rows("early")["cam-2"][1], rows("early"))

# The result of a stopped stage is the truth too; an older order's is nothing.
begin("halted", "cam-1", "cam-2")
old = orders("cam-1")[0]
sm.stop_edge_deployment_stage(EdgeDeploymentPlanName="halted", StageName="all")
until("one is waited for", lambda: {d: s for d, (s, _) in rows("halted").items()} == {"cam-1": "STOPPING", "cam-2": "STOPPED"})
check("nothing is offered", (orders("cam-1"), orders("cam-2")), ([], []))
report("cam-1", old, "SUCCESS")
until("it was the last", lambda: status("halted") == ("STOPPED", 1, 0, 0))
start("halted")
check("who has it keeps it", orders("cam-1"), [])
new = orders("cam-2")[0]
check_true("a new order", new != old, new)
report("cam-2", old, "FAIL")
check("an older order's result", rows("halted")["cam-2"][0], "INPROGRESS")
report("cam-2", new, "SUCCESS")
until("the end", lambda: status("halted") == ("DEPLOYED", 2, 0, 0))

# A device that is deregistered stops; registered again it does not rejoin.
begin("gone", "cam-3", "cam-4")
order = orders("cam-3")[0]
sm.deregister_devices(DeviceFleetName=fleet, DeviceNames=["cam-4"])
until("it is stopped", lambda: rows("gone")["cam-4"] == ("STOPPED", "device deregistered"))
sm.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": "cam-4"}])
check("registered again", orders("cam-4"), [])
fails("deleting the fleet meanwhile", "ResourceInUse", None, 400, sm.delete_device_fleet, DeviceFleetName=fleet)
report("cam-3", order, "success")
until("the end", lambda: status("gone")[0] in ("DEPLOYED", "STOPPED") and status("gone")[1:] == (1, 0, 0))

# What is loaded: absent is unchanged, empty is nothing. Bad metrics hurt nobody.
beat("cam-1", Models=[{"ModelName": "digits", "ModelVersion": "1.0", "LatestInference": time.time()}])
beat("cam-1")
check("without a word on models", models("cam-1"), [("digits", "1.0")])
unchecked.send_heartbeat(AgentVersion="1.0", DeviceName="cam-1", DeviceFleetName=fleet, AgentMetrics=[
    {"Dimension": "", "MetricName": "x", "Value": float("nan")}, {"MetricName": "no good" * 100}, {}])
beat("cam-1", Models=[])
check("with none", models("cam-1"), [])
check_true("heard of now", (datetime.datetime.now(datetime.timezone.utc) - sm.describe_device(DeviceName="cam-1", DeviceFleetName=fleet)["LatestHeartbeat"]).total_seconds() < 60)

# Names that only the data plane allows are simply not found.
for d, f in [("cam_1", fleet), ("cam-1", "fleet_a")]:
    check("not registered: " + d + f, edge.get_device_registration(DeviceName=d, DeviceFleetName=f)["DeviceRegistration"], "false")
    fails("orders of " + d + f, "ValidationException", None, 400, edge.get_deployments, DeviceName=d, DeviceFleetName=f)

# Tags: an empty value is one, and fifty are enough.
arn = ARN + f"device-fleet/{fleet}/device/cam-1"
sm.add_tags(ResourceArn=arn, Tags=[{"Key": f"k{i}", "Value": ""} for i in range(50)])
check("fifty", len(sm.list_tags(ResourceArn=arn)["Tags"]), 50)
fails("a fifty-first", "ValidationException", None, 400, sm.add_tags, ResourceArn=arn, Tags=[{"Key": "one-more", "Value": ""}])
print("edgecases: all checks held")
