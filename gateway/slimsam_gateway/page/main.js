/** The page: what is begun by which key, button, gesture or file. */

import { endBox, fit, moveCursor, press, zoom } from "./cursor.js";
import { element, make } from "./dom.js";
import { add, close, example, open, turn } from "./gallery.js";
import { keepSettings, restore } from "./keeping.js";
import { described, watchKeys } from "./keyboard.js";
import { listed } from "./names.js";
import { dropped, picturesOf } from "./opening.js";
import { watchPanel } from "./panel.js";
import { watchPointers } from "./pointer.js";
import { hover } from "./previews.js";
import { saveMasks } from "./saving.js";
import { show, showMarks, stage, watchLists } from "./screen.js";
import { everything } from "./searches.js";
import { session } from "./session.js";
import { note } from "./status.js";
import { actions, boxed, choose, click, done, redo, reset, undo } from "./steps.js";

export { stage };

const pointers = watchPointers(stage, {
  tool: () => session.tool,
  click: (pixel, positive) => {
    session.cursor = null;
    click(pixel, positive);
  },
  hover: (pixel) => {
    if (session.cursor && pixel) {
      session.cursor = null;
      showMarks();
    }
    void hover(pixel);
  },
  boxing: (box) => {
    session.drawn = session.current ? box : null;
    showMarks();
  },
  box: boxed,
});

/* Keys */

function escape() {
  const boxing = pointers.cancel() || session.corner !== null;
  endBox();
  if (session.tool !== "include" || boxing) choose("include");
  else done();
}

const onSelected = (/** @type {(id: number) => void} */ action) => () => {
  const { selected } = session.work;
  if (selected !== null) action(selected);
};

const arrow = (/** @type {number} */ dx, /** @type {number} */ dy) =>
  (/** @type {KeyboardEvent} */ event) => moveCursor(dx, dy, event.shiftKey);

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

watchKeys(stage.element, commands, () =>
  /** @type {HTMLInputElement} */ (element("single-keys")).checked);
for (const { keys, says } of [
  { keys: ["Arrows"], says: "move the cursor, with Shift by one pixel" },
  ...described(commands),
]) {
  const names = keys.flatMap((key, index) => [index ? " " : "", make("kbd", { textContent: key })]);
  const entry = make("div", {}, make("dt", {}, ...names), make("dd", { textContent: says }));
  element("keys").append(entry);
}

/* Buttons and fields */

const listen = (/** @type {string} */ id, /** @type {() => void} */ action) =>
  element(id).addEventListener("click", action);

watchLists({ actions, open: (key) => void open(key), close: (key) => void close(key) });
watchPanel(actions);
element("new-label").addEventListener("keydown", ({ key }) => {
  if (key === "Escape") stage.element.focus({ preventScroll: true });
});
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () =>
    choose(/** @type {import("./session.js").Tool} */ (button.getAttribute("data-tool"))));
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

/* Files */

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

/* Where it begins */

const last = await restore();
show();
const first = session.pictures.find(({ key }) => key === last) ?? session.pictures[0];
if (first) await open(first.key);
if (location.hash === "#example") {
  history.replaceState(null, "", location.pathname);
  if (!session.pictures.length) void example();
}
document.documentElement.dataset.ready = "";
