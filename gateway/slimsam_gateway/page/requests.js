/** What the gateway is asked for the objects of the picture. */

import { Api, Problem } from "./api.js";
import { element } from "./dom.js";
import { keepWork } from "./keeping.js";
import { NewestWins } from "./newest.js";
import { areaOf } from "./rle.js";
import { show, unpack } from "./screen.js";
import { session } from "./session.js";
import { complain, during, say } from "./status.js";
import { maskOf, requestOf } from "./work.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {import("./work.js").Item} Item
 */

const UNAUTHORIZED = 401;

export const api = new Api(() => sessionStorage.getItem("key") ?? "");
export const lane = new NewestWins();

/** Answers that are on their way. */
const awaited = new WeakSet();

/**
 * Say what is wrong; where a key is missing, ask for it.
 *
 * @param {unknown} error
 * @param {() => void} again
 */
export async function failed(error, again) {
  complain(error, again);
  if (error instanceof Problem && error.status === UNAUTHORIZED && (await askForKey())) {
    say("");
    again();
  }
}

async function askForKey() {
  const dialog = /** @type {HTMLDialogElement} */ (element("key-dialog"));
  if (dialog.open) return false;
  const input = /** @type {HTMLInputElement} */ (element("api-key"));
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "ok") return false;
  sessionStorage.setItem("key", input.value.trim());
  return true;
}

/** Ask for what the objects of the picture still lack. */
export function ask() {
  for (const item of session.work.items) {
    if (!item.answer.masks && !awaited.has(item.answer)) void askFor(item);
  }
}

/** @param {Item} item */
async function askFor(item) {
  const picture = session.current;
  if (!picture) return;
  const { answer, prompt } = item;
  awaited.add(answer);
  try {
    const masks = await during(lane.submit(laneOf(picture, item.id), (signal) =>
      picture.with(api, ({ id }) => api.masks(id, requestOf(prompt), signal))));
    awaited.delete(answer);
    if (masks) answered(picture, item, masks);
    // One that a later prompt has ended is wanted again, if that was undone meanwhile.
    else if (session.isOpen(picture)) ask();
  } catch (error) {
    awaited.delete(answer);
    if (session.isOpen(picture)) void failed(error, ask);
  }
}

/**
 * Give the key of an object's requests, of which the newest counts.
 *
 * @param {Picture | null} picture
 * @param {number} id of the object.
 */
export function laneOf(picture, id) {
  return `${picture?.key}/${id}`;
}

/**
 * @param {Picture} picture
 * @param {Item} item
 * @param {import("./api.js").Mask[]} masks
 */
function answered(picture, item, masks) {
  item.answer.masks = masks;
  void keep(picture);
  if (picture !== session.current) return;
  show();
  const mask = maskOf(item);
  // Its number is another, if two tabs have given it to two objects.
  const shown = session.work.items.find(({ answer }) => answer === item.answer);
  if (mask && shown && session.isOpen(picture)) {
    const area = areaOf(unpack(mask).ends).toLocaleString("en");
    say(`Object ${shown.id}: ${area} pixels, score ${mask.score.toFixed(2)}.`);
  }
}

/**
 * Store the work on a picture; ask for what has come from another tab, too.
 *
 * @param {Picture} picture
 */
export async function keep(picture) {
  if ((await keepWork(picture)) && picture === session.current) {
    show();
    ask();
  }
}
