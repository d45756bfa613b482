/** The work on a picture: objects, each of a prompt, and the masks that it gives. */

/**
 * @typedef {import("./api.js").Mask} Mask
 * @typedef {{
 *   points: number[][], labels: number[], box: number[] | null, multimask: boolean,
 *   refines: Mask | null,
 * }} Prompt in pixels of the picture; labels are 1 for the object and 0 for what is not of it;
 *   refines is the mask that was seen when it was made.
 * @typedef {{
 *   points?: number[][], labels?: number[], box?: number[], mask_id?: string,
 *   multimask_output: boolean, masks: "all" | "best", keep_masks?: boolean,
 * }} Request as docs/click-prompt.schema.json has it.
 * @typedef {{masks: Mask[] | null}} Answer filled when it is there; the states before and after a
 *   step share it, so going back asks for nothing.
 * @typedef {{
 *   id: number, label: string, hidden: boolean, prompt: Prompt, answer: Answer,
 *   choice: number | null,
 * }} Item choice is the candidate that the user wants, null the best.
 * @typedef {{items: Item[], selected: number | null, next: number}} Work
 */

/** @type {Work} */
export const NOTHING = Object.freeze({ items: [], selected: null, next: 1 });

/** @type {Prompt} */
const EMPTY = { points: [], labels: [], box: null, multimask: true, refines: null };

/** A request has no more points of one object. */
export const MOST_POINTS = 60;

/**
 * @param {Work} work
 * @returns {Item | undefined}
 */
export function selectedOf(work) {
  return work.items.find(({ id }) => id === work.selected);
}

/**
 * Give the candidate that an object is.
 *
 * @param {Item} item
 * @returns {number} an index, -1 where there is no answer yet.
 */
export function chosenOf({ answer: { masks }, choice }) {
  if (!masks) return -1;
  if (choice !== null && choice < masks.length) return choice;
  const best = Math.max(...masks.map(({ score }) => score));
  return masks.findIndex(({ score }) => score === best);
}

/**
 * @param {Item} item
 * @returns {Mask | undefined}
 */
export function maskOf(item) {
  return item.answer.masks?.[chosenOf(item)];
}

/**
 * Give what is seen of an object: its mask, or while that is asked for the one that it refines.
 *
 * @param {Item} item
 * @returns {Mask | null}
 */
export function seenOf(item) {
  return maskOf(item) ?? item.prompt.refines ?? null;
}

/**
 * Add to the prompt of the selected object; without one, begin an object.
 *
 * As SAM is made to be asked, one point or box has candidates, for it may mean several things, and
 * whatever is added refines the mask that is seen into one. A new box is a new beginning.
 *
 * @param {Work} work
 * @param {{point?: [number, number], positive?: boolean, box?: number[]}} change
 * @param {string} label of an object that begins.
 * @returns {Work}
 */
export function prompted(work, { point, positive = true, box }, label) {
  const item = selectedOf(work);
  /** @type {Prompt} */
  const before = item?.prompt ?? EMPTY;
  const prompt = {
    points: point ? [...before.points, point] : before.points,
    labels: point ? [...before.labels, positive ? 1 : 0] : before.labels,
    box: box ?? before.box,
    multimask: true,
    refines: box || !item ? null : seenOf(item),
  };
  prompt.multimask = prompt.points.length + (prompt.box ? 1 : 0) === 1;
  if (item) {
    const answer = { masks: null };
    return changed(work, item.id, { prompt, answer, choice: null, hidden: false });
  }
  const id = work.next;
  const begun = { id, label, hidden: false, prompt, answer: { masks: null }, choice: null };
  return { items: [...work.items, begun], selected: id, next: id + 1 };
}

/**
 * Choose a candidate, or null for one mask instead of candidates.
 *
 * @param {Work} work
 * @param {number | null} choice
 * @returns {Work}
 */
export function chosen(work, choice) {
  const item = selectedOf(work);
  if (!item) return work;
  const multimask = choice !== null;
  const same = item.prompt.multimask === multimask;
  // The best candidate is chosen where none is.
  if (same && choice === chosenOf(item)) return work;
  return changed(work, item.id, {
    choice,
    ...(same ? {} : { prompt: { ...item.prompt, multimask }, answer: { masks: null } }),
  });
}

/**
 * Change an object. What changes nothing gives the same work, here and elsewhere: it is no step.
 *
 * @param {Work} work
 * @param {number} id
 * @param {Partial<Item>} change
 * @returns {Work}
 */
export function changed(work, id, change) {
  const item = work.items.find((one) => one.id === id);
  const differs = Object.entries(change).some(([name, value]) =>
    item?.[/** @type {keyof Item} */ (name)] !== value);
  if (!item || !differs) return work;
  const items = work.items.map((one) => (one === item ? { ...item, ...change } : one));
  return { ...work, items };
}

/**
 * @param {Work} work
 * @param {number} id
 * @returns {Work}
 */
export function removed(work, id) {
  return {
    ...work,
    items: work.items.filter((item) => item.id !== id),
    selected: work.selected === id ? null : work.selected,
  };
}

/**
 * Remove all objects. The next one has a number that none has had.
 *
 * @param {Work} work
 * @returns {Work}
 */
export function emptied(work) {
  return work.items.length ? { ...NOTHING, next: work.next } : work;
}

/**
 * @param {Work} work
 * @param {number | null} id
 * @returns {Work}
 */
export function selecting(work, id) {
  return { ...work, selected: id };
}

/**
 * Add what everything mode has found. A click on one of them goes on from its point of the grid.
 *
 * @param {Work} work
 * @param {import("./api.js").MaskRecord[]} records
 * @param {string} label
 * @returns {Work}
 */
export function withEverything(work, records, label) {
  if (!records.length) return work;
  const found = records.map(({ counts, score, point }, index) => ({
    id: work.next + index,
    label,
    hidden: false,
    prompt: { ...EMPTY, points: [point], labels: [1], multimask: false },
    answer: { masks: [{ counts, score, id: null }] },
    choice: null,
  }));
  return { items: [...work.items, ...found], selected: null, next: work.next + found.length };
}

/**
 * Give the prompt of a request.
 *
 * @param {Prompt} prompt
 * @returns {Request}
 */
export function requestOf({ points, labels, box, multimask, refines }) {
  return {
    ...(points.length ? { points, labels } : {}),
    ...(box ? { box } : {}),
    ...(refines?.id ? { mask_id: refines.id } : {}),
    multimask_output: multimask,
    masks: "all",
  };
}

/**
 * Give the prompt that shows what a click would give. Previews come by the dozen: the best mask is
 * enough, and the server is to keep none, for each would make one go that may yet be refined.
 *
 * @param {number[]} point
 * @returns {Request}
 */
export function previewOf(point) {
  return { points: [point], labels: [1], multimask_output: true, masks: "best", keep_masks: false };
}
