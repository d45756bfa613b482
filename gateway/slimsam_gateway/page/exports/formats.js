/** What can be saved: COCO, masks, labelme, cut-outs. */

import { basesOf, unique } from "../names.js";
import { areaOf, boxOf, decodeRuns, pixelsOf } from "../rle.js";
import { maskPng } from "./png.js";
import { ringsOf } from "./rings.js";
import { checkSize } from "./zip.js";

/** Objects without a label have this category. */
export const UNLABELLED = "object";

/**
 * @typedef {{label: string, counts: string, score: number}} Saved an object.
 * @typedef {{
 *   name: string, width: number, height: number, objects: Saved[],
 *   decode: () => Promise<ImageBitmap>,
 * }} Annotated a picture with objects.
 * @typedef {{name: string, bytes: Uint8Array<ArrayBuffer>}} File
 */

/**
 * Each tells which pictures it leaves out: those that cannot be decoded, where it needs their pixels.
 *
 * @type {Record<string, (pictures: Annotated[], leaveOut: (name: string) => void) => Promise<File[]>>}
 */
export const FORMATS = { coco, masks, labelme, cutouts };

/** @param {Annotated[]} pictures */
async function coco(pictures) {
  const names = new Set(pictures.flatMap(({ objects }) => objects.map(categoryOf)));
  const categories = [...names].sort().map((name, index) => ({
    id: index + 1, name, supercategory: UNLABELLED,
  }));
  const ids = new Map(categories.map(({ id, name }) => [name, id]));
  /** @type {object[]} */
  const annotations = [];
  pictures.forEach((picture, index) => {
    for (const object of picture.objects) {
      const { ends, box: [x0, y0, x1, y1] } = shapeOf(picture, object);
      annotations.push({
        id: annotations.length + 1,
        image_id: index + 1,
        category_id: ids.get(categoryOf(object)),
        segmentation: { size: [picture.height, picture.width], counts: object.counts },
        area: areaOf(ends),
        bbox: [x0, y0, x1 - x0, y1 - y0],
        iscrowd: 0,
        score: object.score,
      });
    }
  });
  const images = pictures.map(({ name, width, height }, index) => ({
    id: index + 1, file_name: name, height, width,
  }));
  const info = { description: "Masks of SlimSAM" };
  return [json("annotations.json", { info, licenses: [], images, annotations, categories })];
}

/** @param {Annotated[]} pictures */
function masks(pictures) {
  return eachObject(pictures, null, (picture, object) => {
    const { ends } = shapeOf(picture, object);
    const pixels = pixelsOf(ends, picture.height, [0, 0, picture.width, picture.height]);
    return maskPng(pixels, picture.width, picture.height);
  });
}

/**
 * @param {Annotated[]} pictures
 * @param {(name: string) => void} leaveOut
 */
function cutouts(pictures, leaveOut) {
  return eachObject(pictures, leaveOut, async (picture, object, bitmap) => {
    const { ends, box } = shapeOf(picture, object);
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.drawImage(bitmap, -box[0], -box[1]);
    const image = context.getImageData(0, 0, width, height);
    pixelsOf(ends, picture.height, box).forEach((inside, index) => {
      if (!inside) image.data.fill(0, 4 * index, 4 * index + 4);
    });
    context.putImageData(image, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/png" });
    return new Uint8Array(await blob.arrayBuffer());
  });
}

/**
 * A mask that a polygon can be is one; labelme's polygons have no holes, so one with holes is a mask.
 *
 * @param {Annotated[]} pictures
 */
async function labelme(pictures) {
  const bases = basesOf(pictures.map(({ name }) => name));
  const files = [];
  for (const [order, picture] of pictures.entries()) {
    const shapes = [];
    for (const [index, object] of picture.objects.entries()) {
      const { ends, box } = shapeOf(picture, object);
      const [x0, y0, x1, y1] = box;
      const [width, height] = [x1 - x0, y1 - y0];
      if (!width) continue;
      const pixels = pixelsOf(ends, picture.height, box);
      const { outer, holes } = ringsOf(pixels, width, height);
      const common = {
        label: categoryOf(object),
        group_id: outer.length > 1 ? index + 1 : null,
        description: "",
        flags: {},
      };
      if (holes.length) {
        const mask = base64(await maskPng(pixels, width, height));
        const points = [[x0, y0], [x1 - 1, y1 - 1]];
        shapes.push({ ...common, points, shape_type: "mask", mask });
        continue;
      }
      for (const ring of outer) {
        const points = ring.map(([x, y]) => [x + x0, y + y0]);
        shapes.push({ ...common, points, shape_type: "polygon", mask: null });
      }
    }
    files.push(json(`${bases[order]}.json`, {
      version: "5.5.0",
      flags: {},
      shapes,
      imagePath: picture.name.split("/").pop(),
      imageData: null,
      imageHeight: picture.height,
      imageWidth: picture.width,
    }));
  }
  return files;
}

/**
 * Make a PNG of each object that is somewhere.
 *
 * @param {Annotated[]} pictures
 * @param {((name: string) => void) | null} leaveOut is told of pictures that cannot be decoded; null
 *   where none has to be.
 * @param {(picture: Annotated, object: Saved, bitmap: ImageBitmap) => Promise<Uint8Array<ArrayBuffer>>} make
 */
async function eachObject(pictures, leaveOut, make) {
  // Before the work rather than after it.
  checkSize(pictures.reduce((sum, { objects }) => sum + objects.length, 0));
  const bases = basesOf(pictures.map(({ name }) => name));
  /** @type {Set<string>} */
  const taken = new Set();
  const files = [];
  for (const [order, picture] of pictures.entries()) {
    const bitmap = leaveOut && (await picture.decode().catch(() => null));
    if (leaveOut && !bitmap) {
      leaveOut(picture.name);
      continue;
    }
    for (const [index, object] of picture.objects.entries()) {
      if (!areaOf(shapeOf(picture, object).ends)) continue;
      const base = `${bases[order]}-${index + 1}-${plain(categoryOf(object))}`;
      // Object 1, labelled 1-sun, of a.jpg and object 1, labelled sun, of a-1.jpg.
      const name = unique(`${base}.png`, taken);
      taken.add(name);
      files.push({ name, bytes: await make(picture, object, /** @type {ImageBitmap} */ (bitmap)) });
    }
    bitmap?.close();
  }
  return files;
}

/**
 * @param {Annotated} picture
 * @param {Saved} object
 */
function shapeOf(picture, object) {
  const ends = decodeRuns(object.counts, picture.width * picture.height);
  return { ends, box: boxOf(ends, picture.height) };
}

/** @param {Saved} object */
function categoryOf(object) {
  return object.label || UNLABELLED;
}

/**
 * Give a label as names of files can have it.
 *
 * @param {string} label
 */
function plain(label) {
  return label.replace(/[^\p{L}\p{N}_-]+/gu, "_").slice(0, 60);
}

/**
 * @param {string} name
 * @param {object} content
 */
function json(name, content) {
  return { name, bytes: new TextEncoder().encode(JSON.stringify(content, null, 1)) };
}

/** @param {Uint8Array} bytes */
function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
