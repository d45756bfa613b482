/** Where the picture lies in its stage: zoom and pan. Stage lengths are CSS pixels. */

const MOST_ZOOM = 32;
const MARGIN = 16;
/** Below the picture there is room for the candidates. */
const BELOW = 72;

export class View {
  /** CSS pixels per pixel of the picture. */
  scale = 1;
  /** Where the picture's corner is in the stage. */
  left = 0;
  top = 0;
  stage = { width: 1, height: 1 };
  picture = { width: 1, height: 1 };

  /** Show the whole picture. */
  fit() {
    this.scale = this.#fitting();
    this.left = (this.stage.width - this.picture.width * this.scale) / 2;
    const { above, below } = this.#margins();
    this.top = (this.stage.height + above - below - this.picture.height * this.scale) / 2;
  }

  #margins() {
    const { width, height } = this.stage;
    const around = Math.min(MARGIN, width / 20);
    return { around, above: around, below: Math.min(BELOW, height / 5) };
  }

  #fitting() {
    const { around, above, below } = this.#margins();
    return Math.min(
      MOST_ZOOM,
      Math.max(1, this.stage.width - 2 * around) / this.picture.width,
      Math.max(1, this.stage.height - above - below) / this.picture.height,
    );
  }

  get zoomed() {
    return this.scale > this.#fitting() * 1.001;
  }

  /**
   * Zoom so that what is at a place of the stage stays there.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} factor
   */
  zoom(x, y, factor) {
    const least = Math.min(1, this.#fitting()) / 2;
    const scale = Math.min(MOST_ZOOM, Math.max(least, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.pan(0, 0);
  }

  /**
   * Move the picture, of which some stays in sight.
   *
   * @param {number} dx
   * @param {number} dy
   */
  pan(dx, dy) {
    const kept = 48;
    const { width, height } = this.picture;
    const clamp = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
      Math.min(Math.max(value, low), high);
    this.left = clamp(this.left + dx, kept - width * this.scale, this.stage.width - kept);
    this.top = clamp(this.top + dy, kept - height * this.scale, this.stage.height - kept);
  }

  /**
   * Pan so far that a pixel of the picture is in sight.
   *
   * @param {number} x
   * @param {number} y
   */
  reveal(x, y) {
    const margin = 24;
    const [stageX, stageY] = this.toStage(x, y);
    const over = (/** @type {number} */ place, /** @type {number} */ end) =>
      Math.max(0, margin - place) - Math.max(0, place - end + margin);
    this.pan(over(stageX, this.stage.width), over(stageY, this.stage.height));
  }

  /**
   * Give the pixel of the picture at a place of the stage, or the nearest.
   *
   * @param {number} x
   * @param {number} y
   * @returns {[number, number]}
   */
  toPixel(x, y) {
    const place = (/** @type {number} */ value, /** @type {number} */ size) =>
      Math.min(Math.max(Math.floor(value / this.scale), 0), size - 1);
    return [
      place(x - this.left, this.picture.width),
      place(y - this.top, this.picture.height),
    ];
  }

  /**
   * @param {number} x of the stage.
   * @param {number} y
   */
  isInside(x, y) {
    const { width, height } = this.picture;
    return x >= this.left && y >= this.top
      && x < this.left + width * this.scale && y < this.top + height * this.scale;
  }

  /**
   * Give where the middle of a pixel is in the stage.
   *
   * @param {number} x
   * @param {number} y
   */
  toStage(x, y) {
    return [this.left + (x + 0.5) * this.scale, this.top + (y + 0.5) * this.scale];
  }
}
