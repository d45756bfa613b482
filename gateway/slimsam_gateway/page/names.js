/** Names of pictures, and of the files that are made of them. */

const MOST_LISTED = 5;

/**
 * Give the name of a file, with a number in it if another has it already.
 *
 * @param {string} name with its folders.
 * @param {Set<string>} taken
 */
export function unique(name, taken) {
  const [, stem, extension] = /** @type {RegExpMatchArray} */ (name.match(/^(.*?)(\.[^./]*)?$/s));
  let free = name;
  for (let count = 2; taken.has(free); count++) free = `${stem} (${count})${extension ?? ""}`;
  return free;
}

/**
 * Give what names of each picture's files begin with: its own without the extension, or the whole
 * where another has that, too, so that a.jpg and a.png keep apart. Not all folders tell A from a.
 *
 * @param {string[]} names of pictures, all different.
 * @returns {string[]}
 */
export function basesOf(names) {
  const folded = (/** @type {string} */ name) => name.toLowerCase();
  /** @type {Map<string, number>} */
  const uses = new Map();
  for (const name of names) {
    for (const base of new Set([folded(stemOf(name)), folded(name)])) {
      uses.set(base, (uses.get(base) ?? 0) + 1);
    }
  }
  /** @type {Set<string>} */
  const taken = new Set();
  return names.map((name) => {
    const base = uses.get(folded(stemOf(name))) === 1 ? stemOf(name) : name;
    let free = base;
    for (let count = 2; taken.has(folded(free)); count++) free = `${base} (${count})`;
    taken.add(folded(free));
    return free;
  });
}

/** @param {string} name of a file, with its folders. */
function stemOf(name) {
  return name.replace(/\.[^./]+$/, "");
}

/**
 * Name what there may be many of.
 *
 * @param {string[]} names
 */
export function listed(names) {
  const rest = names.length - MOST_LISTED;
  return names.slice(0, MOST_LISTED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
