/** What is open in this tab, and what is being done with it. */

import { Labels } from "./labels.js";
import { NOTHING } from "./work.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {"include" | "exclude" | "box" | "pan"} Tool
 */

class Session {
  /** @type {Picture[]} */
  pictures = [];
  /** @type {Picture | null} */
  current = null;
  /** The one that is opened last; it is current once it is decoded. @type {Picture | null} */
  wanted = null;
  labels = new Labels();
  /** @type {Tool} */
  tool = "include";
  /** What a click would give. @type {import("./api.js").Mask | null} */
  preview = null;
  /** The keyboard's cursor, in pixels of the picture. @type {[number, number] | null} */
  cursor = null;
  /** Where the keyboard's box begins. @type {[number, number] | null} */
  corner = null;
  /** The box that is being drawn. @type {number[] | null} */
  drawn = null;

  /**
   * Whether a picture is shown, and no other is being opened: the line tells of no other.
   *
   * @param {Picture} picture
   */
  isOpen(picture) {
    return picture === this.current && picture === this.wanted;
  }

  /** The work on the current picture. */
  get work() {
    return this.current?.history.state ?? NOTHING;
  }
}

export const session = new Session();
