// node click.mjs HOST:PORT PICTURE PROMPT...
//
// Uploads the picture's file to the model slimsam_image, sends each prompt, a JSON object such as
// {"points": [[914, 256]]}, to slimsam_click, and prints the best mask of each object as JSON, a line
// for each prompt. Needs inference.protoset beside it: docs/contract.md says how to write it.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, file, ...prompts] = process.argv.slice(2);
if (prompts.length === 0) {
  console.error("usage: node click.mjs HOST:PORT PICTURE PROMPT...");
  process.exit(2);
}

const protoset = readFileSync(fileURLToPath(new URL("inference.protoset", import.meta.url)));
const { inference } = grpc.loadPackageDefinition(
  loader.loadFileDescriptorSetFromBuffer(protoset, { longs: Number }),
);
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const modelInfer = promisify(client.ModelInfer.bind(client));

try {
  const content = readFileSync(file);
  let picture = await upload(content);
  for (const prompt of prompts) {
    const masks = await click(picture, prompt).catch(async (error) => {
      if (!isGone(error)) throw error;
      picture = await upload(content); // once, and the click again
      return click(picture, prompt);
    });
    console.log(JSON.stringify(masks));
  }
} catch (error) {
  console.error(`${address}: ${error.message}`); // such as "3 INVALID_ARGUMENT: ..."
  process.exitCode = 1;
}
client.close();

// A picture was evicted, forgotten, too old, or sent to another server.
function isGone({ code, details }) {
  return code === grpc.status.NOT_FOUND && details.startsWith("not kept here: picture");
}

async function upload(content) {
  const answer = await infer("slimsam_image", [1], { image_bytes: content });
  const [height, width] = numbers(Int32Array, answer.original_size);
  return { id: texts(answer.image_id)[0], size: [height, width] };
}

async function click(picture, prompt) {
  const inputs = { image_id: Buffer.from(picture.id), prompt: Buffer.from(prompt) };
  const answer = await infer("slimsam_click", [1, 1], inputs);
  const scores = numbers(Float32Array, answer.scores);
  const areas = numbers(BigInt64Array, answer.areas);
  const boxes = numbers(Int32Array, answer.boxes);
  const counts = texts(answer.masks);
  return texts(answer.mask_ids).map((mask_id, i) => ({
    mask_id, // for a prompt that refines it
    score: scores[i],
    area: Number(areas[i]),
    box: [...boxes.slice(4 * i, 4 * i + 4)], // x0, y0, x1, y1; the latter two exclusive
    rle: { size: picture.size, counts: counts[i] }, // as COCO's tools read it
  }));
}

// Sends BYTES tensors of one element each, and gives the bytes of the answer's tensors.
async function infer(model_name, shape, elements) {
  const inputs = Object.entries(elements).map(([name, element]) => ({
    name,
    datatype: "BYTES",
    shape,
    contents: { bytes_contents: [element] },
  }));
  const answer = await modelInfer({ model_name, inputs }, { deadline: Date.now() + 30_000 });
  return Object.fromEntries(
    answer.outputs.map(({ name }, i) => [name, answer.raw_output_contents[i]]),
  );
}

function numbers(Type, raw) {
  // Copied, for alignment; little-endian, as x86-64 and arm64 are.
  return new Type(Uint8Array.from(raw).buffer);
}

// The elements of a BYTES tensor, each of which follows its length.
function texts(raw) {
  const elements = [];
  for (let start = 0; start < raw.length; ) {
    const end = start + 4 + raw.readUInt32LE(start);
    elements.push(raw.toString("utf-8", start + 4, end));
    start = end;
  }
  return elements;
}
