/** A picture: its file, its place on the server, the work on it. */

import { Problem } from "./api.js";
import { History } from "./history.js";
import { NOTHING } from "./work.js";

/**
 * @typedef {{width: number, height: number}} Size in pixels.
 * @typedef {{id: string, file: Blob, original: Size | null}} Sent what the server has got: the
 *   picture's file, or a reduced copy of a picture that had the original size.
 * @typedef {{version: number, state: import("./work.js").Work}} Stored what the browser has of the
 *   work, and the number by which it is told from what another tab stores.
 */

/** A picture above the server's limits is sent with so many pixels on its longest side. */
const REDUCED_SIDE = 1024;
const NOT_KEPT = 404;
const TOO_LARGE = 413;

export class Picture {
  /** @type {History<import("./work.js").Work>} */
  history = new History(NOTHING);
  /** What was last stored here, or seen to be. @type {Stored} */
  stored = { version: 0, state: NOTHING };
  /** Pixels, 0 until it was opened. */
  width = 0;
  height = 0;
  /** @type {Promise<Sent> | null} */
  #sent = null;
  /** @type {Promise<Blob> | null} */
  #copy = null;

  /**
   * @param {number} key by which it is stored.
   * @param {string} name of its file, with its folders.
   * @param {Blob} file
   */
  constructor(key, name, file) {
    this.key = key;
    this.name = name;
    this.file = file;
  }

  /**
   * Decode it, turned as its EXIF data say: the server does so, too.
   *
   * @returns {Promise<ImageBitmap>}
   */
  async decode() {
    let bitmap;
    try {
      bitmap = await createImageBitmap(this.file);
    } catch {
      throw new Error(`${this.name}: this browser cannot show it.`);
    }
    [this.width, this.height] = [bitmap.width, bitmap.height];
    return bitmap;
  }

  /**
   * Call the server for a picture that it keeps. One that is no longer kept is sent again, once.
   *
   * @template T
   * @param {import("./api.js").Api} api
   * @param {(sent: Sent) => Promise<T>} call
   * @returns {Promise<T>}
   */
  async with(api, call) {
    try {
      return await call(await this.upload(api));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== NOT_KEPT) throw error;
      this.#sent = null;
      return call(await this.upload(api));
    }
  }

  /**
   * Send it, if it has not been sent; who asks meanwhile waits for the same.
   *
   * @param {import("./api.js").Api} api
   * @returns {Promise<Sent>}
   */
  upload(api) {
    this.#sent ??= this.#send(api).catch((error) => {
      this.#sent = null;
      throw error;
    });
    return this.#sent;
  }

  /**
   * @param {import("./api.js").Api} api
   * @returns {Promise<Sent>}
   */
  async #send(api) {
    let kept;
    let file = this.file;
    let original = null;
    try {
      // What was above a limit once is so again.
      if (this.#copy) throw new Problem(TOO_LARGE, "");
      kept = await api.upload(file, null);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== TOO_LARGE) throw error;
      file = await (this.#copy ??= this.#reduced());
      original = { width: this.width, height: this.height };
      kept = await api.upload(file, original);
    }
    if (this.width && (kept.width !== this.width || kept.height !== this.height)) {
      throw new Error(
        `${this.name}: expected ${this.width} x ${this.height} pixels, as this browser shows it, `
          + `the server found ${kept.width} x ${kept.height}`,
      );
    }
    return { id: kept.id, file, original };
  }

  async #reduced() {
    const scale = REDUCED_SIDE / Math.max(this.width, this.height);
    const side = (/** @type {number} */ length) => Math.max(1, Math.round(length * scale));
    const bitmap = await createImageBitmap(this.file);
    const canvas = new OffscreenCanvas(side(this.width), side(this.height));
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return canvas.convertToBlob({ type: "image/png" });
  }

  /**
   * Have the server erase it, if it was sent.
   *
   * @param {import("./api.js").Api} api
   */
  async forget(api) {
    if (this.#sent) await api.forget((await this.#sent).id);
    this.#sent = null;
  }
}
