// What people do with the JavaScript SDK, against the endpoint in the environment.
const assert = require("node:assert");
const { Readable } = require("node:stream");
const { S3Client, CreateBucketCommand, PutObjectCommand, GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, DeleteObjectsCommand, DeleteBucketCommand, CopyObjectCommand } = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

(async () => {
  const s3 = new S3Client({ endpoint: process.env.AWS_ENDPOINT_URL, region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });
  const Bucket = "javascript";
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new PutObjectCommand({ Bucket, Key: "a b/ü+", Body: "text", Metadata: { n: "v" } }));
  const got = await s3.send(new GetObjectCommand({ Bucket, Key: "a b/ü+" }));
  assert.equal(await got.Body.transformToString(), "text");
  assert.deepEqual(got.Metadata, { n: "v" });
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256"]) {
    await s3.send(new PutObjectCommand({ Bucket, Key: "stream", Body: Readable.from([Buffer.from("str"), Buffer.from("eam")]), ContentLength: 6, ChecksumAlgorithm }));
    const back = await s3.send(new GetObjectCommand({ Bucket, Key: "stream", ChecksumMode: "ENABLED" }));
    assert.equal(await back.Body.transformToString(), "stream");
  }
  const large = Buffer.alloc(11 * 1024 * 1024, "x");
  await new Upload({ client: s3, params: { Bucket, Key: "large", Body: Readable.from([large]) } }).done();
  assert.equal((await s3.send(new HeadObjectCommand({ Bucket, Key: "large" }))).ContentLength, large.length);
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: encodeURIComponent("javascript/a b/ü+") }));
  // By default the SDK signs the checksum of nothing into such a URL, and then no body fits it.
  const presigner = new S3Client({ endpoint: process.env.AWS_ENDPOINT_URL, region: "us-east-1", forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" });
  const url = await getSignedUrl(presigner, new PutObjectCommand({ Bucket, Key: "signed", ContentType: "text/csv" }), { expiresIn: 60 });
  const put = await fetch(url, { method: "PUT", body: "1,2", headers: { "content-type": "text/csv" } });
  assert.equal(put.status, 200, await put.text());
  const down = await fetch(await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "signed" })));
  assert.equal(await down.text(), "1,2");
  const list = await s3.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(list.Contents.map((o) => o.Key), ["a b/ü+", "copy", "large", "signed", "stream"]);
  await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: list.Contents.map(({ Key }) => ({ Key })) } }));
  await s3.send(new DeleteBucketCommand({ Bucket }));
  await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: "x" })), { name: "NoSuchBucket" });
  console.log("all held");
})().catch((e) => { console.error(e); process.exit(1); });
