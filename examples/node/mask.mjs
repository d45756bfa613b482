// From low-resolution logits to a mask of the image.
//
// 256 cells become 1024 pixels, the padding is cut off, the rest becomes the image: bilinear both
// times, without antialiasing or aligned corners. Then, and not before, the threshold.

const CELLS = 256;
const SIDE = 1024;

/** IEEE half precision, little-endian bytes, to numbers. */
export function fromHalf(bytes) {
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = bytes.readUInt16LE(2 * i);
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size =
      exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity)
      : (1024 + fraction) * 2 ** (exponent - 25);
    return bits & 0x8000 ? -size : size;
  });
}

/** Logits (256, 256) to a mask (height, width) of 0 and 1. */
export function toMask(logits, inputSize, height, width) {
  const rows = taps(inputSize[0], height);
  const columns = taps(inputSize[1], width);
  const mask = new Uint8Array(height * width);
  const line = new Float64Array(CELLS);
  for (let y = 0; y < height; y++) {
    line.fill(0);
    for (const [cell, share] of rows[y]) {
      for (let x = 0; x < CELLS; x++) line[x] += share * logits[cell * CELLS + x];
    }
    for (let x = 0; x < width; x++) {
      let value = 0;
      for (const [cell, share] of columns[x]) value += share * line[cell];
      mask[y * width + x] = value > 0 ? 1 : 0;
    }
  }
  return mask;
}

/** For each pixel along one axis the cells that it is made of, with their shares. */
function taps(valid, size) {
  const pixels = bilinear(CELLS, SIDE);
  return bilinear(valid, size).map((pair) =>
    pair.flatMap(([pixel, share]) => pixels[pixel].map(([cell, part]) => [cell, share * part])),
  );
}

function bilinear(source, target) {
  return Array.from({ length: target }, (_, index) => {
    const centre = Math.max((index + 0.5) * (source / target) - 0.5, 0);
    const low = Math.min(Math.floor(centre), source - 1);
    const high = Math.min(low + 1, source - 1);
    return [
      [low, 1 - (centre - low)],
      [high, centre - low],
    ];
  });
}
