/** The row of pictures, where there are several. */

import { element, icon, make } from "./dom.js";

const HEIGHT = 96;

/** @type {Map<number, HTMLLIElement>} */
const entries = new Map();

/** Pictures are decoded for it once they are in sight. */
const watcher = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    target.dispatchEvent(new Event("seen"));
  }
});

/**
 * @param {import("./picture.js").Picture[]} pictures
 * @param {import("./picture.js").Picture | null} current
 * @param {{open: (key: number) => void, close: (key: number) => void}} actions
 */
export function showStrip(pictures, current, actions) {
  element("strip").hidden = pictures.length < 2;
  const kept = new Set(pictures.map(({ key }) => key));
  for (const [key, entry] of entries) {
    if (kept.has(key)) continue;
    entry.remove();
    entries.delete(key);
  }
  for (const picture of pictures) {
    let entry = entries.get(picture.key);
    if (!entry) {
      entry = newEntry(picture, actions);
      entries.set(picture.key, entry);
      element("pictures").append(entry);
    }
    const thumb = /** @type {HTMLElement} */ (entry.querySelector(".thumb"));
    if (picture === current && thumb.getAttribute("aria-current") !== "true") {
      entry.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    thumb.setAttribute("aria-current", String(picture === current));
    const count = picture.history.state.items.length;
    const tally = /** @type {HTMLElement} */ (entry.querySelector(".tally"));
    tally.textContent = String(count);
    tally.hidden = count === 0;
  }
}

/**
 * @param {import("./picture.js").Picture} picture
 * @param {{open: (key: number) => void, close: (key: number) => void}} actions
 */
function newEntry(picture, actions) {
  const canvas = make("canvas", { width: 1, height: 1, attributes: { "aria-hidden": "true" } });
  canvas.addEventListener("seen", async () => {
    const bitmap = await createImageBitmap(picture.file, { resizeHeight: HEIGHT }).catch(() => null);
    if (!bitmap) return;
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
  }, { once: true });
  watcher.observe(canvas);
  return make(
    "li", {},
    make("button", {
      type: "button", className: "thumb", title: picture.name,
      onclick: () => actions.open(picture.key), attributes: { "aria-label": picture.name },
    }, canvas),
    make("span", { className: "tally" }),
    make("button", {
      type: "button", className: "close", onclick: () => actions.close(picture.key),
      attributes: { "aria-label": `Close ${picture.name}` },
    }, icon("close")),
  );
}
