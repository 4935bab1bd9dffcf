// Calls a model on this device with numbers, and prints what it gives.
// usage: node predict.mjs SOCKET MODEL NUMBER...
import { connect, numbers, tensor } from "./slipway-edge.mjs";

const [socket, model, ...input] = process.argv.slice(2);
if (input.length === 0) {
  console.error("usage: node predict.mjs SOCKET MODEL NUMBER...");
  process.exit(2);
}
const agent = connect(socket);
try {
  const takes = (await agent.DescribeModel({ name: model })).model.input_tensor_metadatas;
  const { tensors } = await agent.Predict({ name: model, tensors: [tensor(takes[0], input)] });
  for (const t of tensors) {
    console.log(t.tensor_metadata.name.toString(), t.tensor_metadata.shape, Array.from(numbers(t)));
  }
} catch (e) {
  console.error(`${e.code}: ${e.details ?? e.message}`);
  process.exitCode = 1;
} finally {
  agent.close();
}
