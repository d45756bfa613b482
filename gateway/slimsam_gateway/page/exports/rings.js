/** Outlines of masks as rings of points, along the edges of pixels. */

/** Points may be left out if the outline stays so near to them, in pixels: steps of slopes are. */
const TOLERANCE = 0.75;

/** @typedef {[number, number]} Point */

/**
 * Give the rings of a mask, each closed by its first point, which is not repeated.
 *
 * @param {Uint8Array} pixels a byte per pixel, row after row; 0 is outside.
 * @param {number} width
 * @param {number} height
 * @returns {{outer: Point[][], holes: Point[][]}}
 */
export function ringsOf(pixels, width, height) {
  const at = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && y >= 0 && x < width && y < height && pixels[y * width + x] !== 0;
  const seen = new Uint8Array(width * height); // pixels whose upper edge is in a ring
  /** @type {{outer: Point[][], holes: Point[][]}} */
  const rings = { outer: [], holes: [] };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!at(x, y) || at(x, y - 1) || seen[y * width + x]) continue;
      const ring = walk(at, x, y, (edgeX, edgeY) => (seen[edgeY * width + edgeX] = 1));
      // Around a hole the walk goes the other way.
      (signedArea(ring) > 0 ? rings.outer : rings.holes).push(simplified(ring));
    }
  }
  return rings;
}

/**
 * Walk along edges from the upper left corner of a pixel, with the mask at the right hand.
 *
 * @param {(x: number, y: number) => boolean} at
 * @param {number} startX
 * @param {number} startY
 * @param {(x: number, y: number) => void} mark called for each pixel whose upper edge is passed.
 * @returns {Point[]} the corners.
 */
function walk(at, startX, startY, mark) {
  /** @type {Point[]} */
  const corners = [];
  let [x, y, dx, dy] = [startX, startY, 1, 0];
  do {
    corners.push([x, y]);
    do {
      if (dx === 1) mark(x, y);
      x += dx;
      y += dy;
      // The pixels before the corner: at the right hand, and at the left.
      const right = at(x + (dx - dy - 1) / 2, y + (dy + dx - 1) / 2);
      const left = at(x + (dx + dy - 1) / 2, y + (dy - dx - 1) / 2);
      if (!right) [dx, dy] = [-dy, dx];
      else if (left) [dx, dy] = [dy, -dx];
      else continue;
      break;
    } while (true);
  } while (x !== startX || y !== startY || dx !== 1);
  return corners;
}

/**
 * Give the area within a ring, negative where it goes round the other way, as around a hole.
 *
 * @param {Point[]} ring
 */
function signedArea(ring) {
  return ring.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = ring[(index + 1) % ring.length];
    return sum + (x * nextY - nextX * y) / 2;
  }, 0);
}

/**
 * Leave points out (Douglas and Peucker's way), from the two that are far apart.
 *
 * @param {Point[]} ring
 * @returns {Point[]}
 */
function simplified(ring) {
  const [x, y] = ring[0];
  let far = 0;
  ring.forEach(([otherX, otherY], index) => {
    const best = ring[far];
    if (Math.hypot(otherX - x, otherY - y) > Math.hypot(best[0] - x, best[1] - y)) far = index;
  });
  const closed = [...ring, ring[0]];
  const kept = new Set([0, far]);
  const spans = [[0, far], [far, ring.length]];
  while (spans.length) {
    const [first, last] = /** @type {[number, number]} */ (spans.pop());
    let [worst, distance] = [-1, TOLERANCE];
    for (let index = first + 1; index < last; index++) {
      const away = distanceOf(closed[index], closed[first], closed[last]);
      if (away > distance) [worst, distance] = [index, away];
    }
    if (worst < 0) continue;
    kept.add(worst);
    spans.push([first, worst], [worst, last]);
  }
  // Less than three points are no ring.
  return kept.size < 3 ? ring : ring.filter((_, index) => kept.has(index));
}

/**
 * @param {Point} point
 * @param {Point} start
 * @param {Point} end of a line.
 */
function distanceOf([x, y], [startX, startY], [endX, endY]) {
  const [dx, dy] = [endX - startX, endY - startY];
  const length = Math.hypot(dx, dy);
  if (!length) return Math.hypot(x - startX, y - startY);
  return Math.abs(dx * (y - startY) - dy * (x - startX)) / length;
}
