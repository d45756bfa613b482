/** Hand files to the browser: one as it is, several in an archive. */

import { FORMATS } from "./formats.js";
import { zip } from "./zip.js";

/**
 * @param {string} format one of FORMATS.
 * @param {import("./formats.js").Annotated[]} pictures
 * @param {(name: string) => void} leaveOut is told which pictures are left out.
 * @returns {Promise<number>} how many files there are.
 */
export async function save(format, pictures, leaveOut) {
  const files = await FORMATS[format](pictures, leaveOut);
  if (files.length === 1) {
    const name = /** @type {string} */ (files[0].name.split("/").pop());
    download(name, new Blob([files[0].bytes]));
  } else if (files.length) {
    download(`${format}.zip`, zip(files));
  }
  return files.length;
}

/**
 * @param {string} name
 * @param {Blob} blob
 */
function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has begun to read it long before.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
