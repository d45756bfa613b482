/** The user's labels and their colors. */

import { distinctColor } from "./colors.js";

/** @typedef {{name: string, color: string}} Label */

export class Labels {
  /** @type {Label[]} */
  list = [];
  /** The label that new objects get; empty for none. */
  active = "";

  /**
   * Have a label, new or not.
   *
   * @param {string} text
   * @returns {string} its name, without space around it.
   */
  add(text) {
    const name = text.trim();
    if (name && !this.list.some((label) => label.name === name)) {
      const used = new Set(this.list.map(({ color }) => color));
      let index = 0;
      while (used.has(distinctColor(index))) index++;
      this.list.push({ name, color: distinctColor(index) });
    }
    return name;
  }

  /** @param {string} name */
  remove(name) {
    this.list = this.list.filter((label) => label.name !== name);
    if (this.active === name) this.active = "";
  }

  /**
   * Give an object's color: its label's, or without one a color of its own.
   *
   * @param {{label: string, id: number}} item
   */
  colorOf({ label, id }) {
    const known = this.list.find(({ name }) => name === label);
    return known ? known.color : distinctColor(id - 1);
  }
}
