/** What is seen: masks and marks on the picture, the lists beside it, and which buttons there are to press. */

import { element } from "./dom.js";
import { showCandidates, showLabels, showObjects } from "./panel.js";
import { boxOf, decodeRuns } from "./rle.js";
import { session } from "./session.js";
import { Stage } from "./stage.js";
import { showStrip } from "./strip.js";
import { maskOf, seenOf, selectedOf } from "./work.js";

/**
 * @typedef {import("./api.js").Mask} Mask
 * @typedef {import("./work.js").Item} Item
 * @typedef {{
 *   actions: import("./panel.js").Actions, open: (key: number) => void, close: (key: number) => void,
 * }} Handlers what the lists call.
 */

const canvas = (/** @type {string} */ id) => /** @type {HTMLCanvasElement} */ (element(id));
export const stage = new Stage(element("stage"), {
  picture: canvas("picture"), masks: canvas("masks"), marks: canvas("marks"),
});

/** Runs of masks, which every drawing needs. */
const unpacked = new WeakMap();
/** @type {Handlers} */
let handlers;

/** @param {Handlers} given before anything is shown. */
export function watchLists(given) {
  handlers = given;
}

/**
 * Give the runs of a mask of the current picture, and where it is.
 *
 * @param {Mask} mask
 * @returns {{ends: Uint32Array, box: [number, number, number, number], size: number}}
 */
export function unpack(mask) {
  const { width, height } = stage.view.picture;
  if (!unpacked.has(mask)) {
    const ends = decodeRuns(mask.counts, width * height);
    const box = boxOf(ends, height);
    unpacked.set(mask, { ends, box, size: (box[2] - box[0]) * (box[3] - box[1]) });
  }
  return unpacked.get(mask);
}

/** @param {Item} item */
function layerOf(item) {
  const mask = seenOf(item);
  if (!mask || !session.current || item.hidden) return [];
  const strength = item.id === session.work.selected ? 1 : 0.75;
  return [{ ...unpack(mask), color: session.labels.colorOf(item), strength }];
}

export function showMasks() {
  const { labels, preview, work: { items, selected, next } } = session;
  const layers = items.filter(({ id }) => id !== selected).flatMap(layerOf);
  // Small ones above large ones, and what is worked on above all.
  layers.sort((one, other) => other.size - one.size);
  layers.push(...items.filter(({ id }) => id === selected).flatMap(layerOf));
  if (preview) {
    const color = labels.colorOf({ label: labels.active, id: next });
    layers.push({ ...unpack(preview), color, strength: 0.6 });
  }
  stage.change({ layers });
}

export function showMarks() {
  const { cursor, drawn, work } = session;
  const prompt = selectedOf(work)?.prompt;
  stage.change({
    points: prompt?.points ?? [],
    labels: prompt?.labels ?? [],
    box: drawn ?? prompt?.box ?? null,
    cursor,
  });
}

/** Show all of it. */
export function show() {
  const { current, labels, pictures, tool, work } = session;
  const { actions, open, close } = handlers;
  const used = new Set(pictures.flatMap(({ history }) => history.state.items.map(({ label }) => label)));
  showMasks();
  showMarks();
  showLabels(labels, used, actions);
  showObjects(work, labels, actions);
  showCandidates(work, actions);
  showStrip(pictures, current, { open, close });
  const enable = (/** @type {string} */ id, /** @type {boolean} */ enabled) => {
    /** @type {HTMLButtonElement} */ (element(id)).disabled = !enabled;
  };
  enable("undo", current?.history.canUndo ?? false);
  enable("redo", current?.history.canRedo ?? false);
  enable("reset", work.items.length > 0);
  enable("everything", current !== null);
  enable("save", pictures.some(({ history }) => history.state.items.some(maskOf)));
  element("welcome").hidden = current !== null;
  const { element: box } = stage;
  box.classList.toggle("empty", current === null);
  box.setAttribute("aria-label", current
    ? `${current.name}, ${current.width} by ${current.height} pixels, objects: ${work.items.length}`
    : "No picture is open");
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.getAttribute("data-tool") === tool));
  }
  box.dataset.mode = tool === "pan" ? "pan" : "";
}
