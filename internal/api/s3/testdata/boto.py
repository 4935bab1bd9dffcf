"""What people do with boto3, against the endpoint in the environment."""
import hashlib
import io
import os
import sys
import urllib.request
import warnings

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

warnings.simplefilter("ignore")
work = sys.argv[1]
verify = os.environ.get("SITE_CA") or None


def client(**config):
    return boto3.client("s3", verify=verify, config=Config(retries={"max_attempts": 1}, **config))


def raises(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as e:
        got = e.response["Error"]["Code"]
        assert got == code, (got, code)
        return e
    raise AssertionError(f"no {code}")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


s3 = client()
s3.create_bucket(Bucket="boto")
s3.get_waiter("bucket_exists").wait(Bucket="boto")
assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["boto"]
raises("404", s3.head_bucket, Bucket="not-there")

# Files, small and in parts, both ways.
for name, size in (("small", 1000), ("large", 17 * 1024 * 1024 + 3)):
    path = os.path.join(work, name)
    with open(path, "wb") as f:
        f.write(os.urandom(size))
    for algorithm in (None, "CRC32", "SHA256", "SHA1"):
        extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        s3.upload_file(path, "boto", f"files/{name}", ExtraArgs=extra, Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=6 << 20))
        s3.download_file("boto", f"files/{name}", path + ".back")
        assert digest(path) == digest(path + ".back"), (name, algorithm)
    head = s3.head_object(Bucket="boto", Key=f"files/{name}", ChecksumMode="ENABLED")
    assert head["ContentLength"] == size and "ChecksumSHA1" in head, head
    assert ("-3" in head["ETag"]) == (name == "large"), head

# Streams, metadata, encodings.
s3.put_object(Bucket="boto", Key="ключ with spaces +&?=%/x", Body=b"abc", Metadata={"Name": "v"}, ContentType="text/csv")
got = s3.get_object(Bucket="boto", Key="ключ with spaces +&?=%/x")
assert got["Body"].read() == b"abc" and got["Metadata"] == {"name": "v"} and got["ContentType"] == "text/csv"
s3.upload_fileobj(io.BytesIO(b"stream"), "boto", "stream")
assert s3.get_object(Bucket="boto", Key="stream", Range="bytes=2-3")["Body"].read() == b"re"
raises("PreconditionFailed", s3.put_object, Bucket="boto", Key="stream", Body=b"", IfNoneMatch="*")
raises("304", s3.get_object, Bucket="boto", Key="stream", IfNoneMatch=s3.head_object(Bucket="boto", Key="stream")["ETag"])
raises("NoSuchKey", s3.get_object, Bucket="boto", Key="nothing")
raises("404", s3.head_object, Bucket="boto", Key="nothing")
raises("InvalidRange", s3.get_object, Bucket="boto", Key="stream", Range="bytes=99-")
raises("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket="boto")
raises("NotImplemented", s3.put_bucket_policy, Bucket="boto", Policy="{}")

# Copies, in one piece and in parts.
s3.copy_object(Bucket="boto", Key="copy", CopySource={"Bucket": "boto", "Key": "ключ with spaces +&?=%/x"})
s3.copy({"Bucket": "boto", "Key": "files/large"}, "boto", "copy-large", Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=6 << 20))
s3.download_file("boto", "copy-large", os.path.join(work, "copy"))
assert digest(os.path.join(work, "copy")) == digest(os.path.join(work, "large"))

# Listings.
for i in range(25):
    s3.put_object(Bucket="boto", Key=f"many/{i % 5}/{i}<&>", Body=b"")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="boto", Prefix="many/", PaginationConfig={"PageSize": 4})
keys = [o["Key"] for p in pages for o in p.get("Contents", [])]
assert len(keys) == 25 and keys == sorted(keys), keys
pages = s3.get_paginator("list_objects").paginate(Bucket="boto", Prefix="many/", Delimiter="/", PaginationConfig={"PageSize": 2})
prefixes = [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])]
assert prefixes == [f"many/{i}/" for i in range(5)], prefixes
assert any(o["Key"] == "ключ with spaces +&?=%/x" for o in s3.list_objects_v2(Bucket="boto")["Contents"])

# An upload given up.
upload = s3.create_multipart_upload(Bucket="boto", Key="given-up")["UploadId"]
s3.upload_part(Bucket="boto", Key="given-up", UploadId=upload, PartNumber=1, Body=b"x")
assert len(s3.list_parts(Bucket="boto", Key="given-up", UploadId=upload)["Parts"]) == 1
s3.abort_multipart_upload(Bucket="boto", Key="given-up", UploadId=upload)
raises("NoSuchUpload", s3.list_parts, Bucket="boto", Key="given-up", UploadId=upload)

# Presigned: boto3's default here is Version 2.
for version, mark in ((None, "AWSAccessKeyId="), ("s3v4", "X-Amz-Signature=")):
    c = client(signature_version=version) if version else s3
    url = c.generate_presigned_url("put_object", Params={"Bucket": "boto", "Key": "pre signed"}, ExpiresIn=60)
    assert mark in url, url
    urllib.request.urlopen(urllib.request.Request(url, data=b"presigned", method="PUT", headers={"Content-Type": ""}), **({"cafile": verify} if verify else {}))
    url = c.generate_presigned_url("get_object", Params={"Bucket": "boto", "Key": "pre signed", "ResponseContentType": "x/y"}, ExpiresIn=60)
    with urllib.request.urlopen(url, **({"cafile": verify} if verify else {})) as r:
        assert r.read() == b"presigned" and r.headers["Content-Type"] == "x/y"
    try:
        urllib.request.urlopen(url.replace("pre%20signed", "stream"), **({"cafile": verify} if verify else {}))
        raise AssertionError("a changed URL was accepted")
    except urllib.error.HTTPError as e:
        assert e.code == 403 and b"SignatureDoesNotMatch" in e.read()

# Clean up.
bucket = boto3.resource("s3", verify=verify).Bucket("boto")
bucket.objects.all().delete()
raises("NoSuchBucket", s3.delete_bucket, Bucket="another")
s3.delete_bucket(Bucket="boto")

# The wrong secret.
wrong = boto3.client("s3", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong", verify=verify)
raises("SignatureDoesNotMatch", wrong.list_buckets)
wrong = boto3.client("s3", aws_access_key_id="AKIANOBODY", aws_secret_access_key="wrong", verify=verify)
raises("InvalidAccessKeyId", wrong.list_buckets)
print("all held")
