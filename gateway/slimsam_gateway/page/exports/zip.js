/** ZIP archives whose entries are stored as they are: pictures do not get smaller. */

import { crc32 } from "./crc32.js";

const UTF8_NAMES = 1 << 11;
const VERSION = 20;
/** 1 January 1980, the format's first day: the same files give the same archive. */
const DATE = (1 << 5) | 1;

/**
 * @param {{name: string, bytes: Uint8Array<ArrayBuffer>}[]} files
 * @returns {Blob}
 */
export function zip(files) {
  const entries = [];
  const directory = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const encoded = new TextEncoder().encode(name);
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
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...entries, ...directory, new Uint8Array(end.buffer)], {
    type: "application/zip",
  });
}
