/** ZIP archives whose entries are stored as they are: pictures do not get smaller. */

import { crc32 } from "./crc32.js";

const UTF8_NAMES = 1 << 11;
const VERSION = 20;
/** 1 January 1980, the format's first day: the same files give the same archive. */
const DATE = (1 << 5) | 1;
/** Bytes of an entry's header, and of the directory's. Each has the name, too. */
const HEADERS = 30 + 46;
const END = 22;
/** One more says that the format's 64-bit extension follows, which is not written here. */
const MOST_FILES = 0xfffe;
const MOST_BYTES = 0xfffffffe;

/**
 * Refuse what no archive holds.
 *
 * @param {number} files how many there are.
 * @param {number} [bytes] of the whole archive.
 * @throws {Error} there are too many, in the user's words.
 */
export function checkSize(files, bytes = 0) {
  for (const { count, most, unit } of [
    { count: files, most: MOST_FILES, unit: "files" }, { count: bytes, most: MOST_BYTES, unit: "bytes" },
  ]) {
    if (count <= most) continue;
    const [holds, got] = [most, count].map((number) => number.toLocaleString("en"));
    throw new Error(`Nothing is saved: an archive holds ${holds} ${unit}, and these are ${got}. `
      + "Save one picture at a time, or as COCO, which is a single file.");
  }
}

/**
 * @param {{name: string, bytes: Uint8Array<ArrayBuffer>}[]} files
 * @returns {Blob}
 * @throws {Error} there is more than an archive holds.
 */
export function zip(files) {
  const named = files.map(({ name, bytes }) => ({ encoded: new TextEncoder().encode(name), bytes }));
  checkSize(files.length, named.reduce((sum, { encoded, bytes }) =>
    sum + HEADERS + 2 * encoded.length + bytes.length, END));
  const entries = [];
  const directory = [];
  let offset = 0;
  for (const { encoded, bytes } of named) {
    // What both headers of an entry have.
    const fields = new DataView(new ArrayBuffer(26));
    fields.setUint16(0, VERSION, true);
    fields.setUint16(2, UTF8_NAMES, true);
    fields.setUint16(8, DATE, true);
    fields.setUint32(10, crc32(bytes), true);
    fields.setUint32(14, bytes.length, true);
    fields.setUint32(18, bytes.length, true);
    fields.setUint16(22, encoded.length, true);
    entries.push(Uint8Array.of(0x50, 0x4b, 3, 4), new Uint8Array(fields.buffer), encoded, bytes);

    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, offset, true);
    directory.push(
      Uint8Array.of(0x50, 0x4b, 1, 2, VERSION, 0), new Uint8Array(fields.buffer),
      new Uint8Array(rest.buffer), encoded,
    );
    offset += 30 + encoded.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(END));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...entries, ...directory, new Uint8Array(end.buffer)], {
    type: "application/zip",
  });
}
