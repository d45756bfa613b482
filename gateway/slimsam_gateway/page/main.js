/** The page: what the parts have to do with each other. */

import { Api, Problem } from "./api.js";
import { element, make } from "./dom.js";
import { save } from "./exports/save.js";
import { described, watchKeys } from "./keyboard.js";
import { Labels } from "./labels.js";
import { listed, unique } from "./names.js";
import { NewestWins } from "./newest.js";
import { dropped, picturesOf } from "./opening.js";
import { showCandidates, showLabels, showObjects, watchPanel } from "./panel.js";
import { Picture } from "./picture.js";
import { watchPointers } from "./pointer.js";
import { boxOf, decodeRuns } from "./rle.js";
import { Stage } from "./stage.js";
import { complain, during, note, say } from "./status.js";
import { Storage } from "./storage.js";
import { showStrip } from "./strip.js";
import { together } from "./together.js";
import {
  MOST_POINTS, NOTHING, changed, chosen, emptied, maskOf, previewOf, prompted, removed, requestOf,
  seenOf, selectedOf, selecting, withEverything,
} from "./work.js";

/**
 * @typedef {import("./work.js").Item} Item
 * @typedef {import("./work.js").Work} Work
 * @typedef {"include" | "exclude" | "box" | "pan"} Tool
 */

const PREVIEW = "preview";
/** Each press of an arrow key moves the cursor so far, in CSS pixels. */
const STRIDE = 10;
const UNAUTHORIZED = 401;
/** Runs of masks, which every drawing needs. */
const unpacked = new WeakMap();
/** Answers that are on their way. */
const awaited = new WeakSet();
/** What ends the search for everything in a picture. @type {Map<Picture, AbortController>} */
const searches = new Map();

const canvas = (/** @type {string} */ id) => /** @type {HTMLCanvasElement} */ (element(id));
export const stage = new Stage(element("stage"), {
  picture: canvas("picture"), masks: canvas("masks"), marks: canvas("marks"),
});
const labels = new Labels();
const lane = new NewestWins();
const api = new Api(() => sessionStorage.getItem("key") ?? "");
const storage = await Storage.open();

/** @type {Picture[]} */
let pictures = [];
/** @type {Picture | null} */
let current = null;
/** The one that is opened last; it is current once it is decoded. @type {Picture | null} */
let wanted = null;
/** @type {Tool} */
let tool = "include";
/** What a click would give. @type {import("./api.js").Mask | null} */
let preview = null;
/** @type {string} */
let previewed = "";
/** The keyboard's cursor, in pixels of the picture. @type {[number, number] | null} */
let cursor = null;
/** Where the keyboard's box begins. @type {[number, number] | null} */
let corner = null;
/** The box that is being drawn. @type {number[] | null} */
let drawn = null;

const work = () => current?.history.state ?? NOTHING;

/* What is seen */

/** @param {Item} item */
function layerOf(item) {
  const mask = seenOf(item);
  if (!mask || !current || item.hidden) return [];
  return [layer(mask, labels.colorOf(item), item.id === work().selected ? 1 : 0.75)];
}

/**
 * @param {import("./api.js").Mask} mask
 * @param {string} color
 * @param {number} strength
 */
function layer(mask, color, strength) {
  const { width, height } = stage.view.picture;
  if (!unpacked.has(mask)) {
    const ends = decodeRuns(mask.counts, width * height);
    const box = boxOf(ends, height);
    unpacked.set(mask, { ends, box, size: (box[2] - box[0]) * (box[3] - box[1]) });
  }
  return { ...unpacked.get(mask), color, strength };
}

function showMasks() {
  const { items, selected } = work();
  const layers = items.filter(({ id }) => id !== selected).flatMap(layerOf);
  // Small ones above large ones, and what is worked on above all.
  layers.sort((one, other) => other.size - one.size);
  layers.push(...items.filter(({ id }) => id === selected).flatMap(layerOf));
  if (preview) {
    const next = { label: labels.active, id: work().next };
    layers.push(layer(preview, labels.colorOf(next), 0.6));
  }
  stage.change({ layers });
}

function showMarks() {
  const prompt = selectedOf(work())?.prompt;
  stage.change({
    points: prompt?.points ?? [],
    labels: prompt?.labels ?? [],
    box: drawn ?? prompt?.box ?? null,
    cursor,
  });
}

function show() {
  const state = work();
  const used = new Set(pictures.flatMap(({ history }) => history.state.items.map(({ label }) => label)));
  showMasks();
  showMarks();
  showLabels(labels, used, actions);
  showObjects(state, labels, actions);
  showCandidates(state, actions);
  showStrip(pictures, current, { open: (key) => void open(key), close: (key) => void close(key) });
  const enable = (/** @type {string} */ id, /** @type {boolean} */ enabled) => {
    /** @type {HTMLButtonElement} */ (element(id)).disabled = !enabled;
  };
  enable("undo", current?.history.canUndo ?? false);
  enable("redo", current?.history.canRedo ?? false);
  enable("reset", state.items.length > 0);
  enable("everything", current !== null);
  enable("save", pictures.some(({ history }) => history.state.items.some(maskOf)));
  element("welcome").hidden = current !== null;
  const { element: box } = stage;
  box.classList.toggle("empty", current === null);
  box.setAttribute("aria-label", current
    ? `${current.name}, ${current.width} by ${current.height} pixels, objects: ${state.items.length}`
    : "No picture is open");
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.getAttribute("data-tool") === tool));
  }
  box.dataset.mode = tool === "pan" ? "pan" : "";
}

/* Requests */

/**
 * Say what is wrong; where a key is missing, ask for it.
 *
 * @param {unknown} error
 * @param {() => void} again
 */
async function failed(error, again) {
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
function ask() {
  for (const item of work().items) {
    if (!item.answer.masks && !awaited.has(item.answer)) void askFor(item);
  }
}

/** @param {Item} item */
async function askFor(item) {
  const picture = current;
  if (!picture) return;
  const { answer, prompt } = item;
  awaited.add(answer);
  try {
    const masks = await during(lane.submit(`${picture.key}/${item.id}`, (signal) =>
      picture.with(api, ({ id }) => api.masks(id, requestOf(prompt), signal))));
    awaited.delete(answer);
    if (masks) answered(picture, item, masks);
    // One that a later prompt has ended is wanted again, if that was undone meanwhile.
    else if (picture === wanted && picture === current) ask();
  } catch (error) {
    awaited.delete(answer);
    if (picture === current) void failed(error, ask);
  }
}

/**
 * @param {Picture} picture
 * @param {Item} item
 * @param {import("./api.js").Mask[]} masks
 */
function answered(picture, item, masks) {
  item.answer.masks = masks;
  void keep(picture);
  if (picture !== current) return;
  show();
  const mask = maskOf(item);
  // Its number is another, if two tabs have given it to two objects.
  const shown = work().items.find(({ answer }) => answer === item.answer);
  if (mask && shown) {
    say(`Object ${shown.id}: ${areaOf(mask)} pixels, score ${mask.score.toFixed(2)}.`);
  }
}

/** @param {import("./api.js").Mask} mask */
function areaOf(mask) {
  const { ends } = layer(mask, "", 1);
  let area = 0;
  for (let index = 1; index < ends.length; index += 2) area += ends[index] - ends[index - 1];
  return area.toLocaleString("en");
}

/**
 * Show what a click would give, while no object is worked on.
 *
 * @param {[number, number] | null} pixel
 */
async function hover(pixel) {
  const picture = current;
  if (!pixel || !picture || selectedOf(work()) || tool !== "include") {
    unhover();
    return;
  }
  const place = `${picture.key}/${pixel}`;
  if (place === previewed) return;
  previewed = place;
  try {
    const masks = await lane.submit(PREVIEW, (signal) =>
      picture.with(api, ({ id }) => api.masks(id, previewOf(pixel), signal)), true);
    // A later one may be under way: its place is newer, and this one is still better than none.
    if (!masks || !previewed || picture !== current || selectedOf(work())) return;
    [preview] = masks;
    showMasks();
  } catch (error) {
    previewed = "";
    // What was clicked may have failed before, and is tried again, too.
    void failed(error, () => {
      ask();
      void hover(pixel);
    });
  }
}

function unhover() {
  if (!previewed && !preview) return;
  previewed = "";
  preview = null;
  lane.cancel(PREVIEW);
  showMasks();
}

/** @param {Picture | null} picture */
async function everything(picture = current) {
  if (!picture || !pictures.includes(picture) || searches.has(picture)) return;
  const controller = new AbortController();
  searches.set(picture, controller);
  say("Finding everything …");
  unhover();
  try {
    const records = await during(
      picture.with(api, (sent) => api.everything(sent, controller.signal)),
      () => controller.abort(),
    );
    picture.history.commit(withEverything(picture.history.state, records, labels.active));
    void keep(picture);
    show();
    if (picture === current) say(`${records.length} objects found.`);
  } catch (error) {
    if (!controller.signal.aborted) void failed(error, () => void everything(picture));
    else if (picture === current) say("Stopped.");
  } finally {
    searches.delete(picture);
  }
}

/* Steps */

/** @param {Work} state */
function step(state) {
  if (!current) return;
  if (state === work()) {
    // A field may have been left with other than what is so.
    show();
    return;
  }
  current.history.commit(state);
  settled();
}

/** @param {Work} state */
function replace(state) {
  if (!current) return;
  current.history.replace(state);
  settled();
}

function settled() {
  if (!current) return;
  unhover();
  void keep(current);
  show();
  ask();
}

/**
 * @param {[number, number]} point
 * @param {boolean} positive
 */
function click(point, positive) {
  if (!current) return;
  const item = selectedOf(work());
  if (!item && !positive) {
    say("Include a part of the object first, then exclude what is not of it.");
    return;
  }
  if (item && item.prompt.points.length >= MOST_POINTS) {
    say(`An object takes at most ${MOST_POINTS} points.`);
    return;
  }
  step(prompted(work(), { point, positive }, labels.active));
}

/** @param {number[]} box */
function boxed(box) {
  if (!current) return;
  step(prompted(work(), { box }, labels.active));
  if (tool === "box") choose("include");
}

function undo() {
  current?.history.undo();
  settled();
}

function redo() {
  current?.history.redo();
  settled();
}

function done() {
  if (work().selected !== null) replace(selecting(work(), null));
}

/** @param {Tool} next */
function choose(next) {
  tool = next;
  corner = null;
  drawn = null;
  if (next !== "include") unhover();
  show();
}

/** @type {import("./panel.js").Actions} */
const actions = {
  activate(name) {
    labels.active = name;
    keepSettings();
    const item = selectedOf(work());
    if (item && item.label !== name) step(changed(work(), item.id, { label: name }));
    else show();
  },
  add(text) {
    const name = labels.add(text);
    if (name) actions.activate(name);
  },
  recolor(name, color) {
    labels.list = labels.list.map((label) => (label.name === name ? { name, color } : label));
    keepSettings();
    show();
  },
  unlabel(name) {
    labels.remove(name);
    keepSettings();
    show();
  },
  select(id) {
    replace(selecting(work(), work().selected === id ? null : id));
  },
  relabel(id, text) {
    const label = labels.add(text);
    keepSettings();
    step(changed(work(), id, { label }));
  },
  hide(id) {
    const item = work().items.find((one) => one.id === id);
    replace(changed(work(), id, { hidden: !item?.hidden }));
  },
  remove(id) {
    lane.cancel(`${current?.key}/${id}`);
    step(removed(work(), id));
    stage.element.focus({ preventScroll: true });
  },
  choose(choice) {
    step(chosen(work(), choice));
  },
  done,
};

/* Pictures */

/** @param {import("./opening.js").Found[]} found */
async function add(found) {
  if (!found.length) {
    say("There is no picture among these files.");
    return;
  }
  // By the time, so that no key is of two pictures: another tab may add some, too.
  let key = Math.max(Date.now(), ...pictures.map((picture) => picture.key));
  const names = new Set(pictures.map(({ name }) => name));
  const added = found.map(({ name, file }) => {
    const picture = new Picture(++key, unique(name, names), file);
    names.add(picture.name);
    return picture;
  });
  pictures.push(...added);
  await open(added[0].key);
  try {
    for (const picture of added) {
      const { key: id, name, file } = picture;
      if (pictures.includes(picture)) await storage.put("files", id, { key: id, name, file });
    }
  } catch {
    note("The browser has no room for these pictures: they are lost when the page is closed.");
  }
}

/** @param {number} key */
async function open(key) {
  const picture = pictures.find((one) => one.key === key);
  if (!picture || picture === wanted) return;
  wanted = picture;
  lane.cancel();
  unhover();
  say(`Opening ${picture.name} …`);
  let bitmap;
  try {
    bitmap = await during(picture.decode());
  } catch (error) {
    // One that cannot be shown is not kept, unless there is work on it.
    if (!picture.history.state.items.length) await close(key);
    else if (picture === wanted) wanted = current;
    show();
    complain(error);
    return;
  }
  if (picture !== wanted) {
    bitmap.close();
    return;
  }
  // The mouse may have gone over the picture before until here.
  unhover();
  current = picture;
  [cursor, corner, drawn] = [null, null, null];
  stage.show(bitmap);
  keepSettings();
  show();
  stage.element.focus({ preventScroll: true });
  void send(picture);
}

/** @param {Picture} picture */
async function send(picture) {
  say(`Sending ${picture.name} …`);
  try {
    await during(picture.upload(api));
    if (picture !== current) return;
    say(`${picture.name}, ${picture.width} × ${picture.height}. Click on an object.`);
    ask();
  } catch (error) {
    if (picture === current) void failed(error, () => void send(picture));
  }
}

/** @param {number} key */
async function close(key) {
  const index = pictures.findIndex((one) => one.key === key);
  if (index < 0) return;
  const [picture] = pictures.splice(index, 1);
  searches.get(picture)?.abort();
  void storage.delete("files", key);
  void storage.delete("work", key);
  // It is none of the server's business any more; if it does not hear of it, it forgets in time.
  picture.forget(api).catch(() => {});
  const next = pictures[Math.min(index, pictures.length - 1)];
  if (picture === wanted) {
    [current, wanted] = [null, null];
    lane.cancel();
    stage.show(null);
    say("");
    show();
    if (next) await open(next.key);
  } else {
    show();
  }
}

/** @param {number} by */
function turn(by) {
  const index = pictures.findIndex((picture) => picture === wanted);
  const next = pictures[index + by];
  if (next) void open(next.key);
}

async function example() {
  let response;
  let blob;
  try {
    // It leads on to the address with the picture's name.
    response = await fetch(new URL("page/example", document.baseURI));
    if (!response.ok) throw new Error(response.statusText);
    blob = await response.blob();
  } catch {
    complain("The example cannot be had; open a picture of your own.", () => void example());
    return;
  }
  const name = decodeURIComponent(new URL(response.url).pathname.split("/").pop() ?? "");
  await add([{ name, file: new File([blob], name, { type: blob.type }) }]);
}

/* What is kept */

/**
 * Store the work on a picture, together with what another tab may have stored meanwhile.
 *
 * @param {Picture} picture
 */
async function keep(picture) {
  const { key, name, file, history } = picture;
  // The answer for one that is closed meanwhile is nobody's.
  if (!pictures.includes(picture)) return;
  // It is of this one state alone: to count would give two tabs the same.
  const version = Math.random();
  let stored = picture.stored;
  let [first, joined] = [false, false];
  try {
    await storage.update("work", key, (there) => {
      first = !there;
      if (there && there.version !== picture.stored.version) {
        const state = together(picture.stored.state, history.state, there.state);
        joined = state !== history.state;
        history.commit(state);
      }
      const { width, height } = picture;
      const record = { key, state: history.state, version, width, height };
      stored = record;
      return record;
    });
    picture.stored = stored;
    // Another tab may have closed it, and what has been done here since is to stay.
    if (first) await storage.update("files", key, (there) => (there ? undefined : { key, name, file }));
  } catch {
    note("The browser has no room for this work: save the masks before you close the page.");
  }
  if (!joined) return;
  note(`Another tab has changed the objects of ${name}: they are here now, beside those of this tab.`);
  if (picture === current) {
    show();
    ask();
  }
}

function keepSettings() {
  const { list, active } = labels;
  const single = /** @type {HTMLInputElement} */ (element("single-keys")).checked;
  storage.put("settings", "page", { list, active, single, open: current?.key }).catch(() => {});
}

async function restore() {
  const settings = await storage.get("settings", "page");
  if (settings) {
    Object.assign(labels, { list: settings.list, active: settings.active });
    /** @type {HTMLInputElement} */ (element("single-keys")).checked = settings.single;
  }
  const works = new Map((await storage.all("work")).map((record) => [record.key, record]));
  for (const { key, name, file } of await storage.all("files")) {
    const picture = new Picture(key, name, file);
    const stored = works.get(key);
    if (stored) {
      picture.history.replace(stored.state);
      // An earlier version of this page has not stored the size.
      Object.assign(picture, { stored, width: stored.width ?? 0, height: stored.height ?? 0 });
    }
    pictures.push(picture);
  }
  show();
  const first = pictures.find(({ key }) => key === settings?.open) ?? pictures[0];
  if (first) await open(first.key);
}

/* Saving */

async function saveMasks() {
  const dialog = /** @type {HTMLDialogElement} */ (element("save-dialog"));
  element("scope").hidden = pictures.length < 2;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "save") return;
  const chosenOne = (/** @type {string} */ name) =>
    /** @type {HTMLInputElement} */ (dialog.querySelector(`[name="${name}"]:checked`)).value;
  const all = pictures.length > 1 && chosenOne("scope") === "all";
  try {
    const asked = all ? pictures : pictures.filter((picture) => picture === current);
    const meant = asked.filter(({ history }) => history.state.items.some(maskOf));
    const { files, unseen } = await during(saveEach(chosenOne("format"), meant));
    const lacking = asked.flatMap(({ history }) => history.state.items.filter((item) => !maskOf(item)));
    const rest = lacking.length ? ` Objects left out, without a mask yet: ${lacking.length}.` : "";
    const unshown = unseen.length ? ` Pictures left out, which this browser cannot show: ${listed(unseen)}.` : "";
    const saved = files ? `Saved ${files} ${files === 1 ? "file" : "files"}.` : "There is nothing to save.";
    say(saved + rest + unshown);
  } catch (error) {
    complain(error);
  }
}

/**
 * @param {string} format
 * @param {Picture[]} meant
 * @returns {Promise<{files: number, unseen: string[]}>} how many files are saved, and the names of
 *   pictures that are left out, for they cannot be decoded.
 */
async function saveEach(format, meant) {
  /** @type {string[]} */
  const unseen = [];
  const ready = [];
  // One after the other: decoded pictures are large.
  for (const picture of meant) {
    try {
      ready.push(await annotated(picture));
    } catch {
      unseen.push(picture.name);
    }
  }
  const files = await save(format, ready, (name) => unseen.push(name));
  return { files, unseen };
}

/**
 * @param {Picture} picture
 * @returns {Promise<import("./exports/formats.js").Annotated>}
 */
async function annotated(picture) {
  if (!picture.width) (await picture.decode()).close();
  const { name, width, height, history: { state } } = picture;
  const objects = state.items.flatMap((item) => {
    const mask = maskOf(item);
    return mask ? [{ label: item.label, counts: mask.counts, score: mask.score }] : [];
  });
  return { name, width, height, objects, decode: () => picture.decode() };
}

/* The cursor of the keyboard */

/**
 * @param {number} dx
 * @param {number} dy
 * @param {boolean} fine
 */
function moveCursor(dx, dy, fine) {
  if (!current) return;
  const { view } = stage;
  const by = Math.max(1, Math.round((fine ? 1 : STRIDE) / view.scale));
  const clamp = (/** @type {number} */ value, /** @type {number} */ size) => Math.min(Math.max(value, 0), size - 1);
  const [x, y] = at();
  cursor = [clamp(x + dx * by, current.width), clamp(y + dy * by, current.height)];
  view.reveal(...cursor);
  stage.moved();
  if (corner) drawn = boxFrom(corner, cursor);
  say(`${cursor[0]}, ${cursor[1]}`);
  showMarks();
  void hover(cursor);
}

/** @returns {[number, number]} */
function at() {
  const { stage: { width, height } } = stage.view;
  return cursor ?? stage.view.toPixel(width / 2, height / 2);
}

/**
 * @param {[number, number]} one
 * @param {[number, number]} other
 */
function boxFrom([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx) + 1, Math.max(ay, by) + 1];
}

/** @param {boolean} positive */
function press(positive) {
  if (!current) return;
  cursor = at();
  if (tool !== "box") {
    click(cursor, positive && tool !== "exclude");
  } else if (!corner) {
    corner = cursor;
    say("The box begins here: move to its other corner, and press Enter.");
    showMarks();
  } else {
    const box = boxFrom(corner, cursor);
    [corner, drawn] = [null, null];
    boxed(box);
  }
}

function escape() {
  const boxing = pointers.cancel() || corner !== null;
  [corner, drawn] = [null, null];
  if (tool !== "include" || boxing) choose("include");
  else done();
}

const zoom = (/** @type {number} */ factor) => {
  const { stage: { width, height } } = stage.view;
  const [x, y] = cursor ? stage.view.toStage(...cursor) : [width / 2, height / 2];
  stage.view.zoom(x, y, factor);
  stage.moved();
};

const fit = () => {
  stage.view.fit();
  stage.moved();
};

const onSelected = (/** @type {(id: number) => void} */ action) => () => {
  const { selected } = work();
  if (selected !== null) action(selected);
};

const arrow = (/** @type {number} */ dx, /** @type {number} */ dy) =>
  (/** @type {KeyboardEvent} */ event) => moveCursor(dx, dy, event.shiftKey);

const reset = () => step(emptied(work()));

/** @type {import("./keyboard.js").Command[]} */
const commands = [
  { keys: ["ArrowLeft", "Shift+ArrowLeft"], says: "", run: arrow(-1, 0), onStage: true },
  { keys: ["ArrowRight", "Shift+ArrowRight"], says: "", run: arrow(1, 0), onStage: true },
  { keys: ["ArrowUp", "Shift+ArrowUp"], says: "", run: arrow(0, -1), onStage: true },
  { keys: ["ArrowDown", "Shift+ArrowDown"], says: "", run: arrow(0, 1), onStage: true },
  { keys: ["Enter"], says: "include what is at the cursor", run: () => press(true), onStage: true },
  { keys: ["Alt+Enter"], says: "exclude it", run: () => press(false), onStage: true },
  { keys: ["v"], says: "include", run: () => choose("include") },
  { keys: ["x"], says: "exclude", run: () => choose("exclude") },
  { keys: ["b"], says: "a box, from Enter to Enter", run: () => choose("box") },
  { keys: ["m"], says: "move the picture", run: () => choose("pan") },
  { keys: ["1"], says: "the first candidate", run: () => actions.choose(0) },
  { keys: ["2"], says: "the second", run: () => actions.choose(1) },
  { keys: ["3"], says: "the third", run: () => actions.choose(2) },
  { keys: ["0"], says: "one mask in place of candidates", run: () => actions.choose(null) },
  { keys: ["n"], says: "end the object: the next click begins another", run: done },
  { keys: ["Escape"], says: "end a box, a tool, the object", run: escape },
  { keys: ["e"], says: "find everything", run: () => void everything() },
  { keys: ["Delete", "Backspace"], says: "delete the object", run: onSelected((id) => actions.remove(id)) },
  { keys: ["h"], says: "hide or show it", run: onSelected((id) => actions.hide(id)) },
  { keys: ["l"], says: "write a new label; Escape leads back", run: () => element("new-label").focus() },
  { keys: ["Ctrl+z"], says: "undo", run: undo },
  { keys: ["Ctrl+y", "Ctrl+Shift+z"], says: "redo", run: redo },
  { keys: ["Shift+r"], says: "delete all objects", run: reset },
  { keys: ["+", "="], says: "zoom in", run: () => zoom(1.25) },
  { keys: ["-"], says: "zoom out", run: () => zoom(0.8) },
  { keys: ["f"], says: "the whole picture", run: fit },
  { keys: ["PageUp"], says: "the picture before", run: () => turn(-1) },
  { keys: ["PageDown"], says: "the next picture", run: () => turn(1) },
  { keys: ["Ctrl+o"], says: "open pictures", run: () => element("files").click() },
  { keys: ["Ctrl+s"], says: "save masks", run: () => element("save").click() },
  { keys: ["?"], says: "these keys", run: () => element("help").click() },
];

/* What the page listens to */

const pointers = watchPointers(stage, {
  tool: () => tool,
  click: (pixel, positive) => {
    cursor = null;
    click(pixel, positive);
  },
  hover: (pixel) => {
    if (cursor && pixel) {
      cursor = null;
      showMarks();
    }
    void hover(pixel);
  },
  boxing: (box) => {
    drawn = current ? box : null;
    showMarks();
  },
  box: boxed,
});
const listen = (/** @type {string} */ id, /** @type {() => void} */ action) =>
  element(id).addEventListener("click", action);

watchPanel(actions);
element("new-label").addEventListener("keydown", ({ key }) => {
  if (key === "Escape") stage.element.focus({ preventScroll: true });
});
watchKeys(stage.element, commands, () =>
  /** @type {HTMLInputElement} */ (element("single-keys")).checked);
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () =>
    choose(/** @type {Tool} */ (button.getAttribute("data-tool"))));
}
listen("undo", undo);
listen("redo", redo);
listen("reset", reset);
listen("everything", () => void everything());
listen("zoom-in", () => zoom(1.4));
listen("zoom-out", () => zoom(1 / 1.4));
listen("fit", fit);
listen("open", () => element("files").click());
listen("welcome-open", () => element("files").click());
listen("open-folder", () => element("folder").click());
listen("example", () => void example());
listen("save", () => void saveMasks());
listen("help", () => /** @type {HTMLDialogElement} */ (element("help-dialog")).showModal());
for (const button of document.querySelectorAll("[data-cancel]")) {
  // Enter in a form presses its first button that submits, which is not to be this one.
  button.addEventListener("click", () => button.closest("dialog")?.close());
}
element("single-keys").addEventListener("change", keepSettings);
for (const id of ["files", "folder"]) {
  element(id).addEventListener("change", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    void add(picturesOf(input.files ?? []));
    input.value = "";
  });
}
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    stage.element.classList.toggle("dropping", name === "dragover");
  });
}
addEventListener("drop", async (event) => {
  const transfer = /** @type {DragEvent} */ (event).dataTransfer;
  if (!transfer) return;
  const { found, unread } = await dropped(transfer);
  if (unread.length) note(`Left out, for they cannot be read: ${listed(unread)}.`);
  void add(found);
});
for (const { keys, says } of [
  { keys: ["Arrows"], says: "move the cursor, with Shift by one pixel" },
  ...described(commands),
]) {
  const names = keys.flatMap((key, index) => [index ? " " : "", make("kbd", { textContent: key })]);
  const entry = make("div", {}, make("dt", {}, ...names), make("dd", { textContent: says }));
  element("keys").append(entry);
}

await restore();
if (location.hash === "#example") {
  history.replaceState(null, "", location.pathname);
  if (!pictures.length) void example();
}
document.documentElement.dataset.ready = "";
