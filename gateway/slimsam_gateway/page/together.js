/** The work of two tabs on one picture. */

/**
 * @typedef {import("./work.js").Item} Item
 * @typedef {import("./work.js").Work} Work
 */

/**
 * Put the work of two tabs together, which both went on from the same.
 *
 * An object is as the one tab left it that has changed or removed it. Where both have changed it,
 * or have given a new object the same number, there are two, so that nothing is lost; but of a state
 * that can only come back by undo or redo, the object is as the other tab left it.
 *
 * @param {Work} before
 * @param {Work} here
 * @param {Work} there
 * @param {boolean} [isCurrent] whether `here` is what the user sees.
 * @returns {Work} here itself, if nothing is new there.
 */
export function together(before, here, there, isCurrent = true) {
  const earlier = byNumber(before);
  const untouched = (/** @type {Item} */ item) => same(earlier.get(item.id), item);
  const [own, others] = [byNumber(here), byNumber(there)];
  if (there.items.every(untouched) && before.items.every(({ id }) => others.has(id))) return here;
  const kept = there.items.flatMap((item) => {
    const mine = own.get(item.id);
    if (!untouched(item)) return [item];
    return mine && untouched(mine) ? [mine] : [];
  });
  const taken = new Set(kept.map(({ id }) => id));
  let { selected } = here;
  let next = Math.max(here.next, there.next);
  for (const item of here.items) {
    if (untouched(item) || same(others.get(item.id), item)) continue;
    const former = earlier.get(item.id);
    if (!isCurrent && former && !same(others.get(item.id), former)) continue;
    const id = taken.has(item.id) ? next++ : item.id;
    if (item.id === selected) selected = id;
    kept.push({ ...item, id });
  }
  if (!kept.some(({ id }) => id === selected)) selected = null;
  return { items: kept, selected, next };
}

/**
 * @param {Work} work
 * @returns {Map<number, Item>}
 */
function byNumber({ items }) {
  return new Map(items.map((item) => [item.id, item]));
}

/**
 * Whether two objects are the same but for what the server has answered, and for being hidden.
 *
 * @param {Item | undefined} one
 * @param {Item | undefined} other
 */
function same(one, other) {
  const meant = (/** @type {Item} */ { label, prompt, choice }) => JSON.stringify([label, prompt, choice]);
  return one === other || (one !== undefined && other !== undefined && meant(one) === meant(other));
}
