"""What two functions in the cloud did with the data that devices captured: one
lists a prefix, reads JSON Lines and stores tensors by device, the other looks
for the shape of a tensor with a regular expression (edge specification §7.5).
It fails until the events of both devices are there.

usage: captured.py BUCKET PREFIX FLEET MODEL
"""

import base64
import datetime
import json
import re
import struct
import sys
from urllib.parse import urlparse

from session import check, check_true, client

bucket, prefix, fleet, model = sys.argv[1:5]
s3 = client("s3")
now = datetime.datetime.now(datetime.timezone.utc)
hours = [now - datetime.timedelta(hours=h) for h in (0, 1)]  # it may have turned meanwhile
keys = []
for hour in hours:
    folder = f"{prefix}/{fleet}/{model}/{hour:%Y/%m/%d/%H}/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
        keys += [o["Key"] for o in page.get("Contents", [])]
events = {}
for key in keys:
    if key.endswith(".jsonl"):
        for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines():
            event = json.loads(line)
            events[event["eventMetadata"]["eventId"]] = event
            check("the order of the keys", list(event), sorted(event))
check("the events", sorted(events), ["cam-1-event", "cam-2-event"])


def tensor(element):
    """The bytes of a tensor, embedded or beside it, and what they are."""
    if "data-ref" in element:
        at = urlparse(element["data-ref"])
        check("where data lies", (at.scheme, at.netloc), ("s3", bucket))
        data = s3.get_object(Bucket=at.netloc, Key=at.path.lstrip("/"))["Body"].read()
    else:
        check("the encoding", element["encoding"], "BASE64")
        data = base64.b64decode(element["data"])
    kind, dims = re.fullmatch(r"Tensor\[(\w+); ((?:\d+, )*\d+)\]", element["observedContentType"]).groups()
    return kind, [int(d) for d in dims.split(", ")], data


for device in ("cam-1", "cam-2"):
    event = events[device + "-event"]
    about = event["eventMetadata"]
    check("the metadata", {k: v for k, v in about.items() if k != "inferenceTime"}, {
        "deviceFleetName": fleet, "deviceId": device, "eventId": device + "-event", "modelName": model, "modelVersion": "1.0"})
    datetime.datetime.strptime(about["inferenceTime"], "%Y-%m-%dT%H:%M:%S")
    check("the version", event["eventVersion"], "0")
    image = event["deviceFleetInputs"][0]
    check("the mode", image["mode"], "Input")
    kind, shape, data = tensor(image)
    check("the image", (kind, shape, len(data)), ("FLOAT32", [1, 64], 256))
    check_true("its pixels", all(0 <= p <= 16 for p in struct.unpack("<64f", data)), data)
    check("its place", "data-ref" in image, device == "cam-2")
    for output in event["deviceFleetOutputs"]:
        kind, shape, data = tensor(output)
        check_true("an output", output["mode"] == "Output" and len(data) > 0 and shape[0] == 1, output)
    note = event["deviceFleetAuxiliaryInputs"][0]
    check("the note", (note["encoding"], note["observedContentType"], json.loads(note["data"])), ("JSON", "json", {"line": 7}))
    check("no other", event["deviceFleetAuxiliaryOutputs"], [])
print(f"captured: both devices' events are read from {len(keys)} objects")
