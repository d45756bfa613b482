// node click.mjs IMAGE.png X Y [HOST:PORT]
//
// Segments the object at pixel (X, Y) with the model `slimsam`, and prints its best mask's score
// and area as JSON. Needs inference.protoset beside it: docs/contract.md says how to write it.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import { PNG } from "pngjs";

import { toFrame } from "./frame.mjs";
import { fromHalf, toMask } from "./mask.mjs";

const [file, x, y, address = "localhost:8001"] = process.argv.slice(2);
if (![x, y].map(Number).every(Number.isFinite)) {
  console.error("usage: node click.mjs IMAGE.png X Y [HOST:PORT]");
  process.exit(2);
}

const protoset = readFileSync(fileURLToPath(new URL("inference.protoset", import.meta.url)));
const { inference } = grpc.loadPackageDefinition(
  loader.loadFileDescriptorSetFromBuffer(protoset, { longs: Number }),
);
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const infer = promisify(client.ModelInfer.bind(client));

const { width, height, data } = PNG.sync.read(readFileSync(file)); // RGBA
const rgb = Buffer.from(data.filter((_, index) => index % 4 !== 3));
const { frame, inputSize } = toFrame(rgb, height, width);

// The click in the frame's pixels, and behind it SAM's padding point, because there is no box.
const [scaleY, scaleX] = [inputSize[0] / height, inputSize[1] / width];
const tensors = [
  ["image", "UINT8", [1, 1024, 1024, 3], frame],
  ["input_size", "INT32", [1, 2], bytes(Int32Array.from(inputSize))],
  ["point_coords", "FP32", [1, 1, 2, 2], bytes(Float32Array.of(x * scaleX, y * scaleY, 0, 0))],
  ["point_labels", "INT32", [1, 1, 2], bytes(Int32Array.of(1, -1))],
  ["mask_input", "FP32", [1, 1, 256, 256], Buffer.alloc(256 * 256 * 4)],
  ["has_mask_input", "FP32", [1, 1], bytes(Float32Array.of(0))],
];
const answer = await infer(
  {
    model_name: "slimsam",
    inputs: tensors.map(([name, datatype, shape]) => ({ name, datatype, shape })),
    outputs: [{ name: "low_res_masks" }, { name: "iou_predictions" }],
    raw_input_contents: tensors.map(([, , , content]) => content),
  },
  { deadline: Date.now() + 30_000 },
).catch((error) => {
  console.error(`${address}: ${error.message}`); // such as "3 INVALID_ARGUMENT: ..."
  process.exit(1);
});

// Bytes come in the order of answer.outputs, which need not be the order that was asked for.
const raw = (name) =>
  answer.raw_output_contents[answer.outputs.findIndex((output) => output.name === name)];
const scores = [1, 2, 3].map((mask) => raw("iou_predictions").readFloatLE(4 * mask));
const best = scores.indexOf(Math.max(...scores)); // among the three multimask outputs
const logits = fromHalf(raw("low_res_masks")).subarray((best + 1) * 65536, (best + 2) * 65536);
const area = toMask(logits, inputSize, height, width).reduce((sum, inside) => sum + inside, 0);
console.log(JSON.stringify({ best, score: scores[best], area }));
client.close();

function bytes(array) {
  return Buffer.from(array.buffer); // little-endian, as x86-64 and arm64 are
}
