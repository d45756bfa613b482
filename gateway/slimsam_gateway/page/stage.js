/** The canvases: the picture, masks above it, and marks above these. */

import { drawMasks } from "./overlay.js";
import { View } from "./view.js";

/**
 * @typedef {{
 *   layers: import("./overlay.js").Layer[], points: number[][], labels: number[],
 *   box: number[] | null, cursor: number[] | null,
 * }} Scene what is above the picture; coordinates are pixels of the picture.
 */

const POINT_RADIUS = 8;

export class Stage {
  view = new View();
  /** @type {ImageBitmap | null} */
  #bitmap = null;
  /** @type {Scene} */
  #scene = { layers: [], points: [], labels: [], box: null, cursor: null };
  #stale = { picture: false, masks: false, marks: false };
  #frame = 0;

  /**
   * @param {HTMLElement} element
   * @param {{picture: HTMLCanvasElement, masks: HTMLCanvasElement, marks: HTMLCanvasElement}} canvases
   */
  constructor(element, canvases) {
    this.element = element;
    this.canvases = canvases;
    new ResizeObserver(() => this.#resize()).observe(element);
    this.#resize();
  }

  #resize() {
    const whole = !this.view.zoomed;
    const { clientWidth: width, clientHeight: height } = this.element;
    this.view.stage = { width, height };
    for (const canvas of Object.values(this.canvases)) {
      canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
      canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
    }
    if (whole) this.view.fit();
    this.moved();
  }

  /**
   * Show another picture, whole, or none.
   *
   * @param {ImageBitmap | null} bitmap belongs to the stage from here on.
   */
  show(bitmap) {
    this.#bitmap?.close();
    this.#bitmap = bitmap;
    this.view.picture = { width: bitmap?.width ?? 1, height: bitmap?.height ?? 1 };
    this.view.fit();
    this.moved();
  }

  /** Draw all again, after the view has changed. */
  moved() {
    this.#plan({ picture: true, masks: true, marks: true });
  }

  /** @param {Partial<Scene>} scene what is other than before. */
  change(scene) {
    this.#scene = { ...this.#scene, ...scene };
    this.#plan({ masks: "layers" in scene, marks: true });
  }

  /** @param {{picture?: boolean, masks?: boolean, marks?: boolean}} stale */
  #plan(stale) {
    for (const part of /** @type {const} */ (["picture", "masks", "marks"])) {
      this.#stale[part] ||= stale[part] ?? false;
    }
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    const { picture, masks, marks } = this.#stale;
    this.#stale = { picture: false, masks: false, marks: false };
    if (picture) this.#drawPicture(this.#cleared(this.canvases.picture));
    if (masks) {
      const context = this.#cleared(this.canvases.masks);
      if (this.#bitmap) drawMasks(context, this.#scene.layers, this.view, devicePixelRatio);
    }
    if (marks) this.#drawMarks(this.#cleared(this.canvases.marks));
  }

  /** @param {HTMLCanvasElement} canvas */
  #cleared(canvas) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    return context;
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawPicture(context) {
    if (!this.#bitmap) return;
    const { left, top, scale, picture } = this.view;
    // Who comes close wants to see pixels.
    context.imageSmoothingEnabled = scale * devicePixelRatio < 3;
    context.drawImage(this.#bitmap, left, top, picture.width * scale, picture.height * scale);
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawMarks(context) {
    if (!this.#bitmap) return;
    const { points, labels, box, cursor } = this.#scene;
    if (box) this.#drawBox(context, box);
    points.forEach(([x, y], index) => this.#drawPoint(context, x, y, labels[index] === 1));
    if (cursor) this.#drawCursor(context, cursor[0], cursor[1]);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number[]} box
   */
  #drawBox(context, [x0, y0, x1, y1]) {
    const { left, top, scale } = this.view;
    const sides = [left + x0 * scale, top + y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
    const [x, y, width, height] = sides;
    context.lineWidth = 3;
    context.strokeStyle = "rgb(0 0 0 / 60%)";
    context.strokeRect(x, y, width, height);
    context.lineWidth = 1.5;
    context.strokeStyle = "#fff";
    context.setLineDash([6, 4]);
    context.strokeRect(x, y, width, height);
    context.setLineDash([]);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} pixelX
   * @param {number} pixelY
   * @param {boolean} positive
   */
  #drawPoint(context, pixelX, pixelY, positive) {
    const [x, y] = this.view.toStage(pixelX, pixelY);
    context.beginPath();
    context.arc(x, y, POINT_RADIUS, 0, 2 * Math.PI);
    context.fillStyle = positive ? "#0f766e" : "#b42318";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#fff";
    context.stroke();
    context.beginPath();
    context.moveTo(x - 4, y);
    context.lineTo(x + 4, y);
    if (positive) {
      context.moveTo(x, y - 4);
      context.lineTo(x, y + 4);
    }
    context.stroke();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} pixelX
   * @param {number} pixelY
   */
  #drawCursor(context, pixelX, pixelY) {
    const [x, y] = this.view.toStage(pixelX, pixelY);
    for (const [width, color] of /** @type {const} */ ([[4, "#000"], [2, "#fff"]])) {
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 5 * dx, y + 5 * dy);
        context.lineTo(x + 16 * dx, y + 16 * dy);
      }
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    }
  }
}
