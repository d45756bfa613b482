/** What the dialog of the button Save does. */

import { element } from "./dom.js";
import { save } from "./exports/save.js";
import { listed } from "./names.js";
import { session } from "./session.js";
import { complain, during, say } from "./status.js";
import { maskOf } from "./work.js";

/** @typedef {import("./picture.js").Picture} Picture */

/** Ask what to save, save it, and say what is left out. */
export async function saveMasks() {
  const { pictures } = session;
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
    const asked = all ? pictures : pictures.filter((picture) => picture === session.current);
    const meant = asked.filter(({ history }) => history.state.items.some(maskOf));
    const { files, unseen } = await during(saveEach(chosenOne("format"), meant));
    const lacking = asked.flatMap(({ history }) => history.state.items.filter((item) => !maskOf(item)));
    say([
      files ? `Saved ${files} ${files === 1 ? "file" : "files"}.` : "There is nothing to save.",
      lacking.length ? `Objects left out, without a mask yet: ${lacking.length}.` : "",
      unseen.length ? `Pictures left out, which this browser cannot show: ${listed(unseen)}.` : "",
    ].filter(Boolean).join(" "));
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
