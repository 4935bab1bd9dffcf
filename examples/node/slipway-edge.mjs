// A small client of slipway-agent, for Node programs on the same device.
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const definition = fileURLToPath(new URL("../../proto/edgemanager/agent.proto", import.meta.url));
const loaded = loader.loadSync(definition, {
  keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
});
const { Agent } = grpc.loadPackageDefinition(loaded).AWS.SageMaker.Edge;

const largestMessage = 64 << 20;

// What JavaScript calls the types of the protocol. FLOAT16 has no name there.
const arrays = {
  UINT8: Uint8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array,
  FLOAT32: Float32Array, FLOAT64: Float64Array,
};

// connect returns the calls of the agent behind a socket: each takes a request
// and gives a promise of the response, which fails after timeout milliseconds.
// close ends the connection.
export function connect(socket, timeout = 10_000) {
  const client = new Agent(`unix:${socket}`, grpc.credentials.createInsecure(), {
    "grpc.max_send_message_length": largestMessage,
    "grpc.max_receive_message_length": largestMessage,
  });
  const calls = { close: () => client.close() };
  const names = [
    "Predict", "LoadModel", "UnLoadModel", "ListModels", "DescribeModel", "CaptureData", "GetCaptureDataStatus",
  ];
  for (const name of names) {
    const call = promisify(client[name]).bind(client);
    calls[name] = (request = {}) => call(request, new grpc.Metadata(), { deadline: Date.now() + timeout });
  }
  return calls;
}

// tensor packs numbers for an input with the given metadata.
export function tensor(metadata, numbers) {
  const Numbers = arrays[metadata.data_type];
  const packed = Numbers.from(numbers, Numbers === BigInt64Array ? BigInt : Number);
  return { tensor_metadata: metadata, byte_data: Buffer.from(packed.buffer) };
}

// numbers unpacks a tensor. Its bytes may lie anywhere, so they are copied to
// where an array of numbers may begin.
export function numbers({ tensor_metadata: { data_type }, byte_data }) {
  return new arrays[data_type](Uint8Array.from(byte_data).buffer);
}
