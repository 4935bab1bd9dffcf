// Calls of the Edge Manager protocol with grpc-js, which reads the .proto itself.
// usage: node check.mjs EXAMPLES SOCKET PACKAGE
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const [examples, socket, url] = process.argv.slice(2);
const { connect, numbers, tensor } = await import(pathToFileURL(`${examples}/node/slipway-edge.mjs`));
const agent = connect(socket, 120_000);

const { models } = await agent.ListModels();
assert.deepEqual(models.map((m) => m.name), ["any", "double", "plain"]);
const latin = models[1].input_tensor_metadatas[0];
assert.deepEqual(latin.name, Buffer.from("donn\xe9es", "latin1"));

const answer = await agent.Predict({ name: "double", tensors: [tensor(latin, [1, 2, 3, 4, 5, 6, 7, 8])] });
assert.deepEqual(answer.tensors[0].tensor_metadata, { name: Buffer.from("doubled"), data_type: "FLOAT32", shape: [2, 4] });
assert.deepEqual(Array.from(numbers(answer.tensors[0])), [2, 4, 6, 8, 10, 12, 14, 16]);

// Large ones, many at a time.
const large = new Float32Array(1 << 20).map((_, i) => i % 1000);
const answers = await Promise.all([1, 2, 3, 4].map(() => agent.Predict({ name: "double", tensors: [tensor({ data_type: "FLOAT32" }, large)] })));
const doubled = Buffer.from(large.map((n) => 2 * n).buffer);
for (const a of answers) assert(doubled.equals(a.tensors[0].byte_data), "a large answer is wrong");

await assert.rejects(agent.Predict({ name: "other", tensors: [] }), { code: 5, details: /no model is loaded/ });
await assert.rejects(agent.Predict({ name: "double", tensors: [{ byte_data: Buffer.alloc(5) }] }), { code: 3, details: /5 bytes can't be of shape/ });

const loaded = await agent.LoadModel({ url, name: "node-model" });
assert.equal(loaded.model.name, "node-model");
await agent.UnLoadModel({ name: "node-model" });
await assert.rejects(agent.UnLoadModel({ name: "node-model" }), { code: 5 });

const capture_id = `node:${Date.now()}`;
const input_tensors = [tensor({ name: Buffer.from("x"), data_type: "INT64", shape: [2] }, [1, -1])];
await agent.CaptureData({ model_name: "double", capture_id, input_tensors });
assert.equal((await agent.GetCaptureDataStatus({ capture_id })).status, "SUCCESS");
agent.close();
console.log("ok");
