/** The line that says what happens, and what is wrong; the notice above it stays until it is read. */

import { element } from "./dom.js";

const line = element("status");
const busy = element("busy");
const retry = element("retry");
const stop = element("stop");
const notice = element("notice");
const noticed = element("notice-text");

/** @type {(() => void) | null} */
let again = null;
/** What ends that which is under way, the newest last. @type {Set<() => void>} */
const ends = new Set();
let underWay = 0;

retry.addEventListener("click", () => {
  const action = again;
  say("");
  action?.();
});
stop.addEventListener("click", () => {
  const newest = [...ends].pop();
  if (!newest) return;
  over(newest);
  newest();
});
element("put-away").addEventListener("click", () => (notice.hidden = true));

/**
 * Say how things are.
 *
 * @param {string} text
 */
export function say(text) {
  line.className = "";
  line.textContent = text;
  retry.hidden = true;
  again = null;
}

/**
 * Say what is wrong, in the words of the problem.
 *
 * @param {unknown} error
 * @param {() => void} [action] what can be tried again.
 */
export function complain(error, action) {
  say(messageOf(error));
  line.className = "problem";
  again = action ?? null;
  retry.hidden = !action;
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Say what has to be known whatever is said next: it stays until it is put away.
 *
 * @param {string} text
 */
export function note(text) {
  const texts = notice.hidden ? [] : (noticed.textContent ?? "").split("\n");
  if (!texts.includes(text)) noticed.textContent = [...texts, text].join("\n");
  notice.hidden = false;
}

/**
 * Show that something is under way.
 *
 * @template T
 * @param {Promise<T>} work
 * @param {() => void} [cancel] ends it; of several the newest is ended first.
 * @returns {Promise<T>}
 */
export async function during(work, cancel) {
  underWay += 1;
  if (cancel) ends.add(cancel);
  stop.hidden = !ends.size;
  busy.hidden = false;
  try {
    return await work;
  } finally {
    underWay -= 1;
    busy.hidden = underWay === 0;
    if (cancel) over(cancel);
  }
}

/** @param {() => void} cancel of what is ended. */
function over(cancel) {
  ends.delete(cancel);
  stop.hidden = !ends.size;
}
