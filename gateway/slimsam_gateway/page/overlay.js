/**
 * Masks as they are seen: at the resolution of the screen, whatever that of the picture.
 *
 * No mask is ever unpacked at the picture's size: runs are drawn where they are in sight, and many
 * masks of a large picture cost no memory.
 */

import { channelsOf } from "./colors.js";

/**
 * @typedef {{
 *   ends: Uint32Array, box: [number, number, number, number], color: string, strength: number,
 * }} Layer a mask, where it is, its color, and how strong it is, 0 to 1.
 */

/**
 * Draw masks, later ones above earlier ones.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Layer[]} layers
 * @param {import("./view.js").View} view
 * @param {number} density device pixels per CSS pixel.
 */
export function drawMasks(context, layers, view, density) {
  const { width, height } = context.canvas;
  const seen = layers.slice(-65535);
  const reach = Math.max(1, Math.round(1.75 * density));
  const bounds = boundsOf(seen, view, density, width, height);
  if (!bounds) return;
  // Column after column, as the runs are.
  const numbers = new Uint16Array(width * height);
  seen.forEach((layer, index) => fill(numbers, index + 1, layer, view, density, width, height));
  const image = context.createImageData(bounds.x1 - bounds.x0, bounds.y1 - bounds.y0);
  color(new Uint32Array(image.data.buffer), numbers, seen, bounds, width, height, reach);
  context.putImageData(image, bounds.x0, bounds.y0);
}

/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Bounds */

/**
 * @param {Layer[]} layers
 * @param {import("./view.js").View} view
 * @param {number} density
 * @param {number} width
 * @param {number} height
 * @returns {Bounds | null}
 */
function boundsOf(layers, view, density, width, height) {
  let bounds = { x0: width, y0: height, x1: 0, y1: 0 };
  for (const { box: [x0, y0, x1, y1] } of layers) {
    bounds = {
      x0: Math.min(bounds.x0, Math.floor((view.left + x0 * view.scale) * density)),
      y0: Math.min(bounds.y0, Math.floor((view.top + y0 * view.scale) * density)),
      x1: Math.max(bounds.x1, Math.ceil((view.left + x1 * view.scale) * density)),
      y1: Math.max(bounds.y1, Math.ceil((view.top + y1 * view.scale) * density)),
    };
  }
  bounds = {
    x0: Math.max(bounds.x0, 0), y0: Math.max(bounds.y0, 0),
    x1: Math.min(bounds.x1, width), y1: Math.min(bounds.y1, height),
  };
  return bounds.x0 < bounds.x1 && bounds.y0 < bounds.y1 ? bounds : null;
}

/**
 * Write a layer's number where it is.
 *
 * @param {Uint16Array} numbers
 * @param {number} number
 * @param {Layer} layer
 * @param {import("./view.js").View} view
 * @param {number} density
 * @param {number} width
 * @param {number} height
 */
function fill(numbers, number, { ends, box }, view, density, width, height) {
  const step = view.scale * density;
  const [left, top] = [view.left * density, view.top * density];
  const rows = view.picture.height;
  // The first device pixel whose middle is at or behind the edge of a pixel of the picture.
  const at = (/** @type {number} */ place, /** @type {number} */ start, /** @type {number} */ size) =>
    Math.min(Math.max(Math.ceil(start + place * step - 0.5), 0), size);
  let run = 0;
  for (let column = at(box[0], left, width); column < at(box[2], left, width); column++) {
    const x = Math.floor((column + 0.5 - left) / step);
    const [start, stop] = [x * rows, (x + 1) * rows];
    while (run > 0 && ends[run - 1] > start) run--;
    while (run < ends.length && ends[run] <= start) run++;
    for (let piece = run; piece < ends.length; piece++) {
      const first = piece ? Math.max(ends[piece - 1], start) : start;
      if (first >= stop) break;
      if (piece % 2) {
        const last = Math.min(ends[piece], stop);
        const offset = column * height;
        numbers.fill(number, offset + at(first - start, top, height), offset + at(last - start, top, height));
      }
    }
  }
}

/**
 * Color the numbers: an outline, and what is inside it.
 *
 * @param {Uint32Array} target row after row, of the bounds.
 * @param {Uint16Array} numbers column after column, of the whole canvas.
 * @param {Layer[]} layers
 * @param {Bounds} bounds
 * @param {number} width
 * @param {number} height
 * @param {number} reach how thick outlines are, in device pixels.
 */
function color(target, numbers, layers, bounds, width, height, reach) {
  const rgba = (/** @type {Layer} */ layer, /** @type {number} */ alpha) => {
    const [red, green, blue] = channelsOf(layer.color);
    return new Uint32Array(new Uint8Array([red, green, blue, Math.round(255 * alpha)]).buffer)[0];
  };
  const inside = [0, ...layers.map((layer) => rgba(layer, 0.5 * layer.strength))];
  const outline = [0, ...layers.map((layer) => rgba(layer, Math.min(1, 0.4 + layer.strength)))];
  const stride = bounds.x1 - bounds.x0;
  for (let x = bounds.x0; x < bounds.x1; x++) {
    const [before, after] = [Math.max(x - reach, 0) * height, Math.min(x + reach, width - 1) * height];
    const here = x * height;
    for (let y = bounds.y0; y < bounds.y1; y++) {
      const number = numbers[here + y];
      if (!number) continue;
      const same = numbers[before + y] === number && numbers[after + y] === number
        && numbers[here + Math.max(y - reach, 0)] === number
        && numbers[here + Math.min(y + reach, height - 1)] === number;
      target[(y - bounds.y0) * stride + x - bounds.x0] = (same ? inside : outline)[number];
    }
  }
}
