// The encoder's frame, to the bit as the Python SDK makes it.
//
// The longest side becomes 1024; the resize is Pillow's BILINEAR on 8-bit values: a triangle filter
// that widens where it shrinks, with weights of 22 bits, columns first, rounded after each pass.

const SIDE = 1024;
const BITS = 22;

/** Size [height, width] in the frame. */
export function resizedSize(height, width) {
  const scale = SIDE / Math.max(height, width);
  return [height, width].map((side) => Math.max(Math.trunc(side * scale + 0.5), 1));
}

/** RGB bytes (height, width, 3) to { frame: (1024, 1024, 3) bytes, inputSize: [height, width] }. */
export function toFrame(rgb, height, width) {
  const inputSize = resizedSize(height, width);
  const wide = resizeRows(rgb, height, width, inputSize[1]);
  const resized = resizeColumns(wide, height, inputSize[1], inputSize[0]);
  const frame = Buffer.alloc(SIDE * SIDE * 3); // zeros around the picture
  const row = inputSize[1] * 3;
  for (let y = 0; y < inputSize[0]; y++) {
    resized.copy(frame, y * SIDE * 3, y * row, (y + 1) * row);
  }
  return { frame, inputSize };
}

function resizeRows(rgb, height, width, target) {
  if (width === target) return Buffer.from(rgb);
  const out = Buffer.alloc(height * target * 3);
  filters(width, target).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        const start = (y * width + first) * 3 + c;
        out[(y * target + x) * 3 + c] = weighted(rgb, start, 3, weights);
      }
    }
  });
  return out;
}

function resizeColumns(rgb, height, width, target) {
  if (height === target) return rgb;
  const row = width * 3;
  const out = Buffer.alloc(target * row);
  filters(height, target).forEach(({ first, weights }, y) => {
    for (let i = 0; i < row; i++) {
      out[y * row + i] = weighted(rgb, first * row + i, row, weights);
    }
  });
  return out;
}

function weighted(bytes, start, step, weights) {
  let sum = 1 << (BITS - 1);
  for (let k = 0; k < weights.length; k++) sum += bytes[start + k * step] * weights[k];
  return Math.min(sum >> BITS, 255);
}

/** For each target pixel the first source pixel that counts, and the weights from there on. */
function filters(source, target) {
  const scale = source / target;
  const reach = Math.max(scale, 1); // antialiasing: half the triangle's base
  return Array.from({ length: target }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), source);
    const shares = [];
    for (let x = first; x < end; x++) {
      shares.push(Math.max(1 - Math.abs((x - centre + 0.5) * (1 / reach)), 0));
    }
    const sum = shares.reduce((a, b) => a + b);
    return { first, weights: shares.map((w) => Math.trunc((w / sum) * 2 ** BITS + 0.5)) };
  });
}
