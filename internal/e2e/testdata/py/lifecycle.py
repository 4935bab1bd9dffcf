"""The life of an endpoint, from the upload to the delete, with boto3.

usage: lifecycle.py V1.tar.gz V2.tar.gz   (models of the image test/model:latest)
"""

import json
import os
import sys
import tempfile
import urllib.request

from session import ACCOUNT, ARN, ROLE, check, check_true, client, invalid, wait

sm, runtime, s3, sts = client("sagemaker"), client("sagemaker-runtime"), client("s3"), client("sts")
v1, v2 = sys.argv[1:3]

# Who am I?
identity = sts.get_caller_identity()
check("account", identity["Account"], ACCOUNT)

# Upload, with the transfer manager, and read back in every way.
s3.create_bucket(Bucket="py-models")
for name, path in [("v1", v1), ("v2", v2)]:
    s3.upload_file(path, "py-models", f"{name}/model.tar.gz")
check("size", s3.head_object(Bucket="py-models", Key="v1/model.tar.gz")["ContentLength"], os.path.getsize(v1))
with tempfile.TemporaryDirectory() as folder:
    back = os.path.join(folder, "back")
    s3.download_file("py-models", "v1/model.tar.gz", back)
    check_true("the download is the upload", open(back, "rb").read() == open(v1, "rb").read())

    # 20 MiB go up in parts.
    big = os.path.join(folder, "big")
    with open(big, "wb") as f:
        f.write(os.urandom(1 << 20) * 20)
    s3.upload_file(big, "py-models", "big/file")
    s3.download_file("py-models", "big/file", back)
    check_true("the parts make the file", open(back, "rb").read() == open(big, "rb").read())
    part = s3.get_object(Bucket="py-models", Key="big/file", Range="bytes=1048570-1048585")
    check("content range", part["ContentRange"], f"bytes 1048570-1048585/{20 << 20}")
    with open(big, "rb") as f:
        f.seek(1048570)
        check("range", part["Body"].read(), f.read(16))

for n in range(7):
    s3.put_object(Bucket="py-models", Key=f"many/{n}", Body=b"x")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="py-models", Prefix="many/", PaginationConfig={"PageSize": 3})
check("listing", [o["Key"] for page in pages for o in page["Contents"]], [f"many/{n}" for n in range(7)])
top = s3.list_objects_v2(Bucket="py-models", Delimiter="/")
check("folders", [p["Prefix"] for p in top["CommonPrefixes"]], ["big/", "many/", "v1/", "v2/"])
s3.delete_objects(Bucket="py-models", Delete={"Objects": [{"Key": f"many/{n}"} for n in range(7)]})
check("after the delete", s3.list_objects_v2(Bucket="py-models", Prefix="many/")["KeyCount"], 0)

# Presigned URLs: boto3's default form here is the old one, the other is SigV4.
for version in ["s3", "s3v4"]:
    signer = client("s3", signature_version=version, s3={"addressing_style": "path"})
    url = signer.generate_presigned_url("get_object", Params={"Bucket": "py-models", "Key": "v1/model.tar.gz"})
    check_true(f"presigned {version}", urllib.request.urlopen(url).read() == open(v1, "rb").read())

# Models and configurations.
for name in ["v1", "v2"]:
    made = sm.create_model(
        ModelName=f"py-{name}",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "test/model:latest", "ModelDataUrl": f"s3://py-models/{name}/model.tar.gz",
                          "Environment": {"GREETING": "hello"}},
        Tags=[{"Key": "team", "Value": "ships"}],
    )
    check("model arn", made["ModelArn"], f"{ARN}model/py-{name}")
    made = sm.create_endpoint_config(
        EndpointConfigName=f"py-{name}",
        ProductionVariants=[{"VariantName": "main", "ModelName": f"py-{name}", "InitialInstanceCount": 1,
                             "InstanceType": "ml.m5.large"}],
    )
    check("config arn", made["EndpointConfigArn"], f"{ARN}endpoint-config/py-{name}")
container = sm.describe_model(ModelName="py-v1")["PrimaryContainer"]
check("container", (container["Image"], container["Environment"]), ("test/model:latest", {"GREETING": "hello"}))
variant = sm.describe_endpoint_config(EndpointConfigName="py-v1")["ProductionVariants"][0]
check("defaulted weight", variant["InitialVariantWeight"], 1.0)

for n in range(12):
    sm.create_model(ModelName=f"py-page-{n:02}", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "test/model:latest"})
pages = sm.get_paginator("list_models").paginate(NameContains="py-page", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 5})
pages = list(pages)
check("pages", [len(p["Models"]) for p in pages], [5, 5, 2])
check("models", [m["ModelName"] for p in pages for m in p["Models"]], [f"py-page-{n:02}" for n in range(12)])

# Tags.
arn = f"{ARN}model/py-v1"
sm.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "docks"}, {"Key": "size", "Value": "small"}])
tags = {t["Key"]: t["Value"] for p in sm.get_paginator("list_tags").paginate(ResourceArn=arn) for t in p["Tags"]}
check("tags", tags, {"team": "docks", "size": "small"})
sm.delete_tags(ResourceArn=arn, TagKeys=["size"])
check("tags", sm.list_tags(ResourceArn=arn)["Tags"], [{"Key": "team", "Value": "docks"}])

# Create, wait, describe, list.
made = sm.create_endpoint(EndpointName="py-live", EndpointConfigName="py-v1")
check("endpoint arn", made["EndpointArn"], f"{ARN}endpoint/py-live")
wait(sm, "endpoint_in_service", "py-live")
d = sm.describe_endpoint(EndpointName="py-live")
check("status", (d["EndpointStatus"], d["EndpointConfigName"]), ("InService", "py-v1"))
main = d["ProductionVariants"][0]
check("variant", (main["VariantName"], main["CurrentInstanceCount"], main["DesiredInstanceCount"], main["CurrentWeight"]), ("main", 1, 1, 1.0))
for absent in ["PendingDeploymentSummary", "LastDeploymentConfig", "FailureReason"]:
    check_true(f"no {absent} in steady state", absent not in d, d)
listed = sm.list_endpoints(StatusEquals="InService", NameContains="py-live")["Endpoints"]
check("listed", [(e["EndpointName"], e["EndpointStatus"]) for e in listed], [("py-live", "InService")])

# Invoke in every way.
out = runtime.invoke_endpoint(EndpointName="py-live", ContentType="text/plain", Accept="application/json", Body=b"ahoy")
answer = json.loads(out["Body"].read())
check("answer", (answer["name"], answer["bytes"], answer["accept"]), ("v1", 4, "application/json"))
check("variant", out["InvokedProductionVariant"], "main")
check("content type", out["ContentType"], "application/json")
out = runtime.invoke_endpoint(EndpointName="py-live", TargetVariant="main", CustomAttributes="custom=c000b4f9", Body=b"")
check("custom attributes", out["CustomAttributes"], "c000b4f9")
big = os.urandom(5 << 20)
out = runtime.invoke_endpoint(EndpointName="py-live", CustomAttributes="echo=1", ContentType="application/x-thing", Body=big)
check_true("5 MiB come back", out["Body"].read() == big)
check("content type", out["ContentType"], "application/x-thing")
if hasattr(runtime, "invoke_endpoint_with_response_stream"):
    out = runtime.invoke_endpoint_with_response_stream(EndpointName="py-live", CustomAttributes="chunks=5,chunk_ms=20", Body=b"go")
    parts = [e["PayloadPart"]["Bytes"] for e in out["Body"]]
    check("stream", b"".join(parts), b"".join(b"chunk %d\n" % n for n in range(5)))
    check("stream's content type", out["ContentType"], "text/plain")

# Update to v2, by the waiter; then weights and capacities.
sm.update_endpoint(EndpointName="py-live", EndpointConfigName="py-v2")
check("status", sm.describe_endpoint(EndpointName="py-live")["EndpointStatus"], "Updating")
wait(sm, "endpoint_in_service", "py-live")
d = sm.describe_endpoint(EndpointName="py-live")
check("config", (d["EndpointStatus"], d["EndpointConfigName"], d.get("FailureReason")), ("InService", "py-v2", None))
out = runtime.invoke_endpoint(EndpointName="py-live", Body=b"x")
check("answer", json.loads(out["Body"].read())["name"], "v2")
sm.update_endpoint_weights_and_capacities(
    EndpointName="py-live", DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredWeight": 3, "DesiredInstanceCount": 2}])
wait(sm, "endpoint_in_service", "py-live")
main = sm.describe_endpoint(EndpointName="py-live")["ProductionVariants"][0]
check("capacity", (main["CurrentInstanceCount"], main["DesiredInstanceCount"], main["CurrentWeight"]), (2, 2, 3.0))
sm.update_endpoint(EndpointName="py-live", EndpointConfigName="py-v1", RetainAllVariantProperties=True)
wait(sm, "endpoint_in_service", "py-live")
main = sm.describe_endpoint(EndpointName="py-live")["ProductionVariants"][0]
check("retained", (main["CurrentInstanceCount"], main["CurrentWeight"]), (2, 3.0))

# A configuration in use keeps working after its record is gone.
sm.delete_endpoint_config(EndpointConfigName="py-v1")
check("answer", json.loads(runtime.invoke_endpoint(EndpointName="py-live", Body=b"x")["Body"].read())["name"], "v1")

# Delete everything.
sm.delete_endpoint(EndpointName="py-live")
wait(sm, "endpoint_deleted", "py-live")
invalid("gone", f'Could not find endpoint "{ARN}endpoint/py-live".', sm.describe_endpoint, EndpointName="py-live")
sm.delete_endpoint_config(EndpointConfigName="py-v2")
for m in [m["ModelName"] for p in sm.get_paginator("list_models").paginate(NameContains="py-") for m in p["Models"]]:
    sm.delete_model(ModelName=m)
check("no models", sm.list_models(NameContains="py-")["Models"], [])
print("lifecycle: ok")
