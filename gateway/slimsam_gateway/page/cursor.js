/** The keyboard's cursor on the picture, and where it zooms. */

import { hover } from "./previews.js";
import { showMarks, stage } from "./screen.js";
import { session } from "./session.js";
import { say } from "./status.js";
import { boxed, click } from "./steps.js";

/** Each press of an arrow key moves the cursor so far, in CSS pixels. */
const STRIDE = 10;

/**
 * @param {number} dx
 * @param {number} dy
 * @param {boolean} fine
 */
export function moveCursor(dx, dy, fine) {
  const { current, corner } = session;
  if (!current) return;
  const { view } = stage;
  const by = Math.max(1, Math.round((fine ? 1 : STRIDE) / view.scale));
  const clamp = (/** @type {number} */ value, /** @type {number} */ size) => Math.min(Math.max(value, 0), size - 1);
  const [x, y] = at();
  /** @type {[number, number]} */
  const cursor = [clamp(x + dx * by, current.width), clamp(y + dy * by, current.height)];
  session.cursor = cursor;
  view.reveal(...cursor);
  stage.moved();
  if (corner) session.drawn = boxFrom(corner, cursor);
  say(`${cursor[0]}, ${cursor[1]}`);
  showMarks();
  void hover(cursor);
}

/** @returns {[number, number]} */
function at() {
  const { stage: { width, height } } = stage.view;
  return session.cursor ?? stage.view.toPixel(width / 2, height / 2);
}

/**
 * @param {[number, number]} one
 * @param {[number, number]} other
 */
function boxFrom([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx) + 1, Math.max(ay, by) + 1];
}

/** @param {boolean} positive */
export function press(positive) {
  if (!session.current) return;
  const cursor = at();
  session.cursor = cursor;
  if (session.tool !== "box") {
    click(cursor, positive && session.tool !== "exclude");
  } else if (!session.corner) {
    session.corner = cursor;
    say("The box begins here: move to its other corner, and press Enter.");
    showMarks();
  } else {
    const box = boxFrom(session.corner, cursor);
    endBox();
    boxed(box);
  }
}

/** Have no box that is begun by the keyboard. */
export function endBox() {
  [session.corner, session.drawn] = [null, null];
}

/** @param {number} factor */
export function zoom(factor) {
  const { stage: { width, height } } = stage.view;
  const [x, y] = session.cursor ? stage.view.toStage(...session.cursor) : [width / 2, height / 2];
  stage.view.zoom(x, y, factor);
  stage.moved();
}

/** See the whole picture. */
export function fit() {
  stage.view.fit();
  stage.moved();
}
