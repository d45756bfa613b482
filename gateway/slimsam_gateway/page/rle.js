/** COCO's run-length encoding: runs down the columns, background first. */

/**
 * Read compressed counts.
 *
 * Each number is in groups of 5 bits, the lowest first; bit 5 says that another follows, and the
 * highest bit of the last is the sign. From the fourth on, it is the difference to the run two before.
 *
 * @param {string} counts
 * @param {number} total pixels of the picture.
 * @returns {Uint32Array} where each run ends, in pixels from the first; foreground at odd indices.
 */
export function decodeRuns(counts, total) {
  const ends = [];
  const runs = [0, 0];
  let position = 0;
  let end = 0;
  while (position < counts.length) {
    let run = 0;
    let shift = 0;
    let group;
    do {
      group = counts.charCodeAt(position++) - 48;
      run |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16 && shift < 32) run |= -1 << shift;
    if (ends.length > 2) run += runs[ends.length % 2];
    runs[ends.length % 2] = run;
    end += run;
    ends.push(end);
  }
  if (end !== total) throw new Error(`expected runs of ${total} pixels, got ${end}`);
  return Uint32Array.from(ends);
}

/**
 * Count the pixels of a mask.
 *
 * @param {Uint32Array} ends
 */
export function areaOf(ends) {
  let area = 0;
  for (let index = 1; index < ends.length; index += 2) area += ends[index] - ends[index - 1];
  return area;
}

/**
 * Give the box of a mask.
 *
 * @param {Uint32Array} ends
 * @param {number} height of the picture, in pixels.
 * @returns {[number, number, number, number]} x0, y0, x1, y1, the latter two exclusive; zeros if empty.
 */
export function boxOf(ends, height) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, 0, 0];
  for (let index = 1; index < ends.length; index += 2) {
    const first = ends[index - 1];
    const last = ends[index] - 1;
    if (last < first) continue;
    const [left, right] = [Math.floor(first / height), Math.floor(last / height)];
    x0 = Math.min(x0, left);
    x1 = Math.max(x1, right + 1);
    // A run that goes on in the next column has the lowest row and the highest one.
    y0 = Math.min(y0, left < right ? 0 : first % height);
    y1 = Math.max(y1, left < right ? height : (last % height) + 1);
  }
  return x1 ? [x0, y0, x1, y1] : [0, 0, 0, 0];
}

/**
 * Call a function for each vertical piece of a mask within one column, from left to right.
 *
 * @param {Uint32Array} ends
 * @param {number} height of the picture, in pixels.
 * @param {(x: number, y0: number, y1: number) => void} visit rows y0 to y1, the latter exclusive.
 */
export function eachPiece(ends, height, visit) {
  for (let index = 1; index < ends.length; index += 2) {
    let start = ends[index - 1];
    while (start < ends[index]) {
      const x = Math.floor(start / height);
      const stop = Math.min(ends[index], (x + 1) * height);
      visit(x, start - x * height, stop - x * height);
      start = stop;
    }
  }
}

/**
 * Give the part of a mask that is inside a box, a byte per pixel, row after row.
 *
 * @param {Uint32Array} ends
 * @param {number} height of the picture, in pixels.
 * @param {[number, number, number, number]} box x0, y0, x1, y1, which holds the whole mask.
 */
export function pixelsOf(ends, height, [x0, y0, x1, y1]) {
  const width = x1 - x0;
  const pixels = new Uint8Array(width * (y1 - y0));
  eachPiece(ends, height, (x, top, bottom) => {
    for (let y = top; y < bottom; y++) pixels[(y - y0) * width + x - x0] = 1;
  });
  return pixels;
}
