/** The line that says what happens, and what is wrong. */

import { element } from "./dom.js";

const line = element("status");
const busy = element("busy");
const retry = element("retry");
const stop = element("stop");

/** @type {(() => void) | null} */
let again = null;
/** @type {(() => void) | null} */
let end = null;
let underWay = 0;

retry.addEventListener("click", () => {
  const action = again;
  say("");
  action?.();
});
stop.addEventListener("click", () => end?.());

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
  say(error instanceof Error ? error.message : String(error));
  line.className = "problem";
  again = action ?? null;
  retry.hidden = !action;
}

/**
 * Show that something is under way.
 *
 * @template T
 * @param {Promise<T>} work
 * @param {() => void} [cancel] ends it.
 * @returns {Promise<T>}
 */
export async function during(work, cancel) {
  underWay += 1;
  if (cancel) {
    end = cancel;
    stop.hidden = false;
  }
  busy.hidden = false;
  try {
    return await work;
  } finally {
    underWay -= 1;
    busy.hidden = underWay === 0;
    if (cancel && end === cancel) {
      end = null;
      stop.hidden = true;
    }
  }
}
