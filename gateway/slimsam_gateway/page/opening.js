/** Pictures that are dropped or chosen, those of folders included. */

/** @typedef {{name: string, file: File}} Found name has the folders before it. */

const EXTENSIONS = /\.(avif|bmp|gif|jpe?g|png|tiff?|webp)$/i;

/**
 * @param {Iterable<File>} files
 * @returns {Found[]} the pictures among them, sorted by name as people count.
 */
export function picturesOf(files) {
  const found = [...files].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
  return sorted(found);
}

/**
 * @param {DataTransfer} transfer
 * @returns {Promise<{found: Found[], unread: string[]}>} the pictures as above, and the names of
 *   files and folders that could not be read.
 */
export async function dropped(transfer) {
  /** @type {string[]} */
  const unread = [];
  // All of it is asked for at once: after the first wait the browser takes it back.
  const found = await Promise.all([...transfer.items].map((item) => {
    const entry = item.webkitGetAsEntry();
    if (entry) return walk(entry, "", unread);
    const file = item.getAsFile();
    return file ? [{ name: file.name, file }] : [];
  }));
  return { found: sorted(found.flat()), unread };
}

/**
 * @param {FileSystemEntry} entry
 * @param {string} folder
 * @param {string[]} unread gets the names of what cannot be read.
 * @returns {Promise<Found[]>} of a folder that cannot be read to its end, what was read before.
 */
async function walk(entry, folder, unread) {
  const name = folder + entry.name;
  /** @type {Found[]} */
  const found = [];
  try {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) =>
        /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
      return [{ name, file: /** @type {File} */ (file) }];
    }
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    while (true) {
      // Browsers give the entries of a folder in parts.
      /** @type {FileSystemEntry[]} */
      const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!part.length) return found;
      for (const inner of part) found.push(...(await walk(inner, `${name}/`, unread)));
    }
  } catch {
    unread.push(name);
    return found;
  }
}

/** @param {Found[]} found */
function sorted(found) {
  return found
    .filter(({ name, file }) => file.type.startsWith("image/") || EXTENSIONS.test(name))
    .sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
}
