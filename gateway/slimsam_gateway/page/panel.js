/** The lists at the side, and the candidates. */

import { element, icon, make } from "./dom.js";
import { chosenOf, maskOf, selectedOf } from "./work.js";

/**
 * @typedef {import("./work.js").Item} Item
 * @typedef {{
 *   activate: (label: string) => void, recolor: (label: string, color: string) => void,
 *   unlabel: (label: string) => void, add: (label: string) => void,
 *   select: (id: number) => void, relabel: (id: number, label: string) => void,
 *   hide: (id: number) => void, remove: (id: number) => void,
 *   choose: (choice: number | null) => void, done: () => void,
 * }} Actions
 */

const labelList = element("labels");
const objectList = element("objects");
const candidates = element("candidates");

/** @type {Map<number, HTMLLIElement>} */
const rows = new Map();

/** @param {Actions} actions */
export function watchPanel(actions) {
  element("add-label").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (element("new-label"));
    actions.add(input.value);
    input.value = "";
  });
}

/**
 * Show labels.
 *
 * @param {import("./labels.js").Labels} labels
 * @param {Set<string>} used labels of objects, which cannot be removed.
 * @param {Actions} actions
 */
export function showLabels(labels, used, actions) {
  const focused = document.activeElement?.getAttribute("data-label");
  const entries = [{ name: "", color: "" }, ...labels.list].map(({ name, color }) => {
    const button = make("button", {
      type: "button",
      className: "name",
      textContent: name || "No label",
      onclick: () => actions.activate(name),
      attributes: { "aria-pressed": String(labels.active === name), "data-label": name || "-" },
    });
    const entry = make("li", { className: labels.active === name ? "active" : "" });
    if (name) {
      entry.append(make("input", {
        type: "color",
        value: color,
        attributes: { "aria-label": `Color of ${name}` },
        onchange: (/** @type {Event} */ event) =>
          actions.recolor(name, /** @type {HTMLInputElement} */ (event.target).value),
      }));
    }
    entry.append(button);
    if (name && !used.has(name)) {
      entry.append(make("button", {
        type: "button",
        className: "remove",
        onclick: () => actions.unlabel(name),
        attributes: { "aria-label": `Remove the label ${name}` },
      }, icon("close")));
    }
    return entry;
  });
  labelList.replaceChildren(...entries);
  element("label-names").replaceChildren(
    ...labels.list.map(({ name }) => make("option", { value: name })),
  );
  if (focused) {
    const again = labelList.querySelector(`[data-label="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
  }
}

/**
 * Show objects, the newest first. What has the focus keeps it.
 *
 * @param {import("./work.js").Work} work
 * @param {import("./labels.js").Labels} labels
 * @param {Actions} actions
 */
export function showObjects(work, labels, actions) {
  const kept = new Set(work.items.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (kept.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  let after = /** @type {HTMLLIElement | null} */ (null);
  for (const item of [...work.items].reverse()) {
    const row = rows.get(item.id) ?? newRow(item.id, actions);
    rows.set(item.id, row);
    fillRow(row, item, work.selected === item.id, labels);
    const expected = after ? after.nextElementSibling : objectList.firstElementChild;
    if (expected !== row) objectList.insertBefore(row, expected);
    after = row;
  }
  element("count").textContent = work.items.length ? String(work.items.length) : "";
  element("no-objects").hidden = work.items.length > 0;
}

/**
 * @param {number} id
 * @param {Actions} actions
 */
function newRow(id, actions) {
  const swatch = make("span", { className: "swatch" });
  return make(
    "li", {},
    make("button", {
      type: "button", className: "select", onclick: () => actions.select(id),
      attributes: { "aria-label": `Object ${id}` },
    }, swatch, String(id)),
    make("input", {
      type: "text", maxLength: 100, placeholder: "no label", autocomplete: "off",
      attributes: { "aria-label": `Label of object ${id}`, list: "label-names" },
      onchange: (/** @type {Event} */ event) =>
        actions.relabel(id, /** @type {HTMLInputElement} */ (event.target).value),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "Enter") /** @type {HTMLInputElement} */ (event.target).blur();
      },
    }),
    make("span", { className: "score", title: "The model's own estimate of the mask's IoU" }),
    make("button", { type: "button", className: "icon hide", onclick: () => actions.hide(id) }),
    make("button", {
      type: "button", className: "icon", onclick: () => actions.remove(id),
      attributes: { "aria-label": `Delete object ${id}` },
    }, icon("close")),
  );
}

/**
 * @param {HTMLLIElement} row
 * @param {Item} item
 * @param {boolean} selected
 * @param {import("./labels.js").Labels} labels
 */
function fillRow(row, item, selected, labels) {
  const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
  row.classList.toggle("selected", selected);
  row.classList.toggle("concealed", item.hidden);
  find(".select").setAttribute("aria-pressed", String(selected));
  find(".swatch").style.backgroundColor = labels.colorOf(item);
  const input = /** @type {HTMLInputElement} */ (find("input"));
  if (document.activeElement !== input || input.value === input.defaultValue) {
    input.value = item.label;
  }
  input.defaultValue = item.label;
  find(".score").textContent = maskOf(item)?.score.toFixed(2) ?? "…";
  const hide = find(".hide");
  if (hide.dataset.hidden !== String(item.hidden)) {
    hide.dataset.hidden = String(item.hidden);
    hide.replaceChildren(icon(item.hidden ? "hide" : "show"));
    hide.setAttribute("aria-label", `${item.hidden ? "Show" : "Hide"} object ${item.id}`);
  }
}

/**
 * Show the candidates of the selected object, to choose from, and the way to the next.
 *
 * @param {import("./work.js").Work} work
 * @param {Actions} actions
 */
export function showCandidates(work, actions) {
  const item = selectedOf(work);
  candidates.hidden = !item;
  if (!item) return;
  const focused = document.activeElement?.getAttribute("data-candidate");
  const { multimask } = item.prompt;
  const masks = item.answer.masks;
  const button = (
    /** @type {(Node | string)[]} */ text, /** @type {string} */ key, /** @type {boolean} */ pressed,
    /** @type {string} */ title, /** @type {() => void} */ onclick, /** @type {string} */ score = "",
  ) => make("button", {
    type: "button", title, onclick,
    attributes: { "aria-pressed": String(pressed), "data-candidate": key },
  }, ...text, make("small", { textContent: score }));
  const buttons = [0, 1, 2].map((index) => {
    const score = multimask && masks?.[index] ? masks[index].score.toFixed(2) : "";
    const named = make("span", { className: "hidden-text", textContent: "Candidate " });
    return button(
      [named, String(index + 1)], String(index), multimask && chosenOf(item) === index,
      `The model's own estimate of its IoU (${index + 1})`, () => actions.choose(index), score,
    );
  });
  const single = button(
    ["Single"], "single", !multimask, "One mask in place of candidates (0)", () => actions.choose(null),
  );
  const done = make("button", {
    type: "button", className: "done", title: "End this object: the next click begins another (N)",
    onclick: actions.done, attributes: { "data-candidate": "done" },
  }, icon("done"), "Done");
  candidates.replaceChildren(...buttons, single, done);
  if (focused) {
    const again = candidates.querySelector(`[data-candidate="${focused}"]`);
    if (again instanceof HTMLElement) again.focus();
  }
}
