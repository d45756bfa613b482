/** What the user does to the objects of the picture, step by step. */

import { keepSettings } from "./keeping.js";
import { unhover } from "./previews.js";
import { ask, keep, lane, laneOf } from "./requests.js";
import { show, stage } from "./screen.js";
import { session } from "./session.js";
import { say } from "./status.js";
import {
  MOST_POINTS, changed, chosen, emptied, prompted, removed, selectedOf, selecting,
} from "./work.js";

/**
 * @typedef {import("./work.js").Work} Work
 * @typedef {import("./session.js").Tool} Tool
 */

/** @param {Work} state */
function step(state) {
  if (!session.current) return;
  if (state === session.work) {
    // A field may have been left with other than what is so.
    show();
    return;
  }
  session.current.history.commit(state);
  settled();
}

/** @param {Work} state */
function replace(state) {
  if (!session.current) return;
  session.current.history.replace(state);
  settled();
}

function settled() {
  if (!session.current) return;
  unhover();
  void keep(session.current);
  show();
  ask();
}

/**
 * @param {[number, number]} point
 * @param {boolean} positive
 */
export function click(point, positive) {
  if (!session.current) return;
  const item = selectedOf(session.work);
  if (!item && !positive) {
    say("Include a part of the object first, then exclude what is not of it.");
    return;
  }
  if (item && item.prompt.points.length >= MOST_POINTS) {
    say(`An object takes at most ${MOST_POINTS} points.`);
    return;
  }
  step(prompted(session.work, { point, positive }, session.labels.active));
}

/** @param {number[]} box */
export function boxed(box) {
  if (!session.current) return;
  step(prompted(session.work, { box }, session.labels.active));
  if (session.tool === "box") choose("include");
}

export function undo() {
  session.current?.history.undo();
  settled();
}

export function redo() {
  session.current?.history.redo();
  settled();
}

export function reset() {
  step(emptied(session.work));
}

/** End the object: the next click begins another. */
export function done() {
  if (session.work.selected !== null) replace(selecting(session.work, null));
}

/** @param {Tool} next */
export function choose(next) {
  session.tool = next;
  session.corner = null;
  session.drawn = null;
  if (next !== "include") unhover();
  show();
}

/** What the lists at the side do. @type {import("./panel.js").Actions} */
export const actions = {
  activate(name) {
    session.labels.active = name;
    keepSettings();
    const item = selectedOf(session.work);
    if (item) step(changed(session.work, item.id, { label: name }));
    else show();
  },
  add(text) {
    const name = session.labels.add(text);
    if (name) actions.activate(name);
  },
  recolor(name, color) {
    const { labels } = session;
    labels.list = labels.list.map((label) => (label.name === name ? { name, color } : label));
    keepSettings();
    show();
  },
  unlabel(name) {
    session.labels.remove(name);
    keepSettings();
    show();
  },
  select(id) {
    replace(selecting(session.work, session.work.selected === id ? null : id));
  },
  relabel(id, text) {
    const label = session.labels.add(text);
    keepSettings();
    step(changed(session.work, id, { label }));
  },
  hide(id) {
    const item = session.work.items.find((one) => one.id === id);
    replace(changed(session.work, id, { hidden: !item?.hidden }));
  },
  remove(id) {
    lane.cancel(laneOf(session.current, id));
    step(removed(session.work, id));
    stage.element.focus({ preventScroll: true });
  },
  choose(choice) {
    step(chosen(session.work, choice));
  },
  done,
};
