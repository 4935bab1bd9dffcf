// The life of an endpoint with the AWS SDK for JavaScript.
// usage: node lifecycle.mjs V1.tar.gz V2.tar.gz
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  CreateBucketCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client, paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import {
  AddTagsCommand, CreateEndpointCommand, CreateEndpointConfigCommand, CreateModelCommand, DeleteEndpointCommand, DeleteEndpointConfigCommand,
  DeleteModelCommand, DescribeEndpointCommand, ListTagsCommand, SageMakerClient, UpdateEndpointCommand, paginateListModels, waitUntilEndpointDeleted,
  waitUntilEndpointInService,
} from "@aws-sdk/client-sagemaker";
import {
  InvokeEndpointCommand, InvokeEndpointWithResponseStreamCommand, SageMakerRuntimeClient,
} from "@aws-sdk/client-sagemaker-runtime";

const settings = { region: process.env.AWS_REGION, endpoint: process.env.AWS_ENDPOINT_URL, maxAttempts: 1 };
const sm = new SageMakerClient(settings);
const runtime = new SageMakerRuntimeClient(settings);
const s3 = new S3Client({ ...settings, forcePathStyle: true });
const text = (bytes) => new TextDecoder().decode(bytes);
const arn = `arn:aws:sagemaker:${process.env.AWS_REGION}:123456789012:`;
const waiting = { client: sm, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };

const Bucket = "js-models";
await s3.send(new CreateBucketCommand({ Bucket }));
for (const [i, path] of process.argv.slice(2).entries()) {
  const version = `v${i + 1}`;
  const Body = readFileSync(path);
  await s3.send(new PutObjectCommand({ Bucket, Key: `${version}/model.tar.gz`, Body }));
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key: `${version}/model.tar.gz` }));
  assert.equal(head.ContentLength, Body.length);
  const got = await s3.send(new GetObjectCommand({ Bucket, Key: `${version}/model.tar.gz` }));
  assert.deepEqual(Buffer.from(await got.Body.transformToByteArray()), Body);

  await sm.send(new CreateModelCommand({
    ModelName: `js-${version}`,
    PrimaryContainer: { Image: "test/model:latest", ModelDataUrl: `s3://${Bucket}/${version}/model.tar.gz` },
  }));
  const made = await sm.send(new CreateEndpointConfigCommand({
    EndpointConfigName: `js-${version}`,
    ProductionVariants: [{ VariantName: "main", ModelName: `js-${version}`, InitialInstanceCount: 1, InstanceType: "ml.m5.large" }],
  }));
  assert.equal(made.EndpointConfigArn, `${arn}endpoint-config/js-${version}`);
}

for (let n = 0; n < 5; n++) await s3.send(new PutObjectCommand({ Bucket, Key: `many/${n}`, Body: "x" }));
const keys = [];
for await (const page of paginateListObjectsV2({ client: s3, pageSize: 2 }, { Bucket, Prefix: "many/" })) keys.push(...page.Contents.map((o) => o.Key));
assert.deepEqual(keys, [0, 1, 2, 3, 4].map((n) => `many/${n}`));
await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }));

const models = [];
for await (const page of paginateListModels({ client: sm, pageSize: 1 }, { NameContains: "js-", SortBy: "Name", SortOrder: "Ascending" })) {
  models.push(...page.Models.map((m) => m.ModelName));
}
assert.deepEqual(models, ["js-v1", "js-v2"]);
await sm.send(new AddTagsCommand({ ResourceArn: `${arn}model/js-v1`, Tags: [{ Key: "k", Value: "v" }] }));
assert.deepEqual((await sm.send(new ListTagsCommand({ ResourceArn: `${arn}model/js-v1` }))).Tags, [{ Key: "k", Value: "v" }]);

const EndpointName = "js-live";
await sm.send(new CreateEndpointCommand({ EndpointName, EndpointConfigName: "js-v1" }));
await waitUntilEndpointInService(waiting, { EndpointName });
const ask = async (input) => runtime.send(new InvokeEndpointCommand({ EndpointName, ...input }));
let out = await ask({ Body: Buffer.from("ahoy"), ContentType: "text/plain" });
assert.equal(JSON.parse(text(out.Body)).name, "v1");
assert.equal(out.InvokedProductionVariant, "main");
const stream = await runtime.send(new InvokeEndpointWithResponseStreamCommand({ EndpointName, Body: "go", CustomAttributes: "chunks=4,chunk_ms=20" }));
let streamed = "";
for await (const event of stream.Body) streamed += text(event.PayloadPart.Bytes);
assert.equal(streamed, "chunk 0\nchunk 1\nchunk 2\nchunk 3\n");

await sm.send(new UpdateEndpointCommand({ EndpointName, EndpointConfigName: "js-v2" }));
await waitUntilEndpointInService(waiting, { EndpointName });
assert.equal((await sm.send(new DescribeEndpointCommand({ EndpointName }))).EndpointConfigName, "js-v2");
out = await ask({ Body: "x" });
assert.equal(JSON.parse(text(out.Body)).name, "v2");

// Errors arrive as the SDK's own classes.
await assert.rejects(ask({ Body: "x", CustomAttributes: "status=500" }), (e) => {
  assert.equal(e.name, "ModelError");
  assert.equal(e.OriginalStatusCode, 500);
  assert.equal(e.$metadata.httpStatusCode, 424);
  return true;
});
await assert.rejects(ask({ EndpointName: "nope", Body: "x" }), { name: "ValidationError", message: "Endpoint nope of account 123456789012 not found." });
await assert.rejects(sm.send(new DescribeEndpointCommand({ EndpointName: "nope" })), {
  name: "ValidationException", message: `Could not find endpoint "${arn}endpoint/nope".`,
});

await sm.send(new DeleteEndpointCommand({ EndpointName }));
await waitUntilEndpointDeleted(waiting, { EndpointName });
for (const version of ["v1", "v2"]) {
  await sm.send(new DeleteEndpointConfigCommand({ EndpointConfigName: `js-${version}` }));
  await sm.send(new DeleteModelCommand({ ModelName: `js-${version}` }));
}
console.log("lifecycle: ok");
