/** Colors that tell masks apart, the same ones each time: those of the SDK's drawings. */

/** Hues that are turned by this angle, in degrees, stay apart however many there are. */
const GOLDEN_ANGLE = 137.508;
const FIRST_HUE = 210;
const LIGHTNESS = [0.55, 0.7, 0.42, 0.62];
const SATURATION = 0.85;

/**
 * Give the color of an index from 0 on.
 *
 * @param {number} index
 * @returns {string} such as "#2c8cec".
 */
export function distinctColor(index) {
  const hue = (FIRST_HUE + index * GOLDEN_ANGLE) % 360;
  const lightness = LIGHTNESS[index % LIGHTNESS.length];
  const reach = SATURATION * Math.min(lightness, 1 - lightness);
  const channel = (/** @type {number} */ turn) => {
    const place = (turn + hue / 30) % 12;
    const value = lightness - reach * Math.max(-1, Math.min(place - 3, 9 - place, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}

/**
 * Give red, green and blue, each 0 to 255.
 *
 * @param {string} color such as "#2c8cec".
 */
export function channelsOf(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}
