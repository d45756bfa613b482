/** Pictures, the work on them, and what is chosen, as they survive a reload. */

import { element } from "./dom.js";
import { Picture } from "./picture.js";
import { session } from "./session.js";
import { note } from "./status.js";
import { Storage } from "./storage.js";
import { together } from "./together.js";

/** @typedef {import("./work.js").Work} Work */

const storage = await Storage.open();

const single = /** @type {HTMLInputElement} */ (element("single-keys"));

/**
 * Store pictures that are opened.
 *
 * @param {Picture[]} pictures
 */
export async function keepFiles(pictures) {
  try {
    for (const picture of pictures) {
      const { key, name, file } = picture;
      if (session.pictures.includes(picture)) await storage.put("files", key, { key, name, file });
    }
  } catch {
    note("The browser has no room for these pictures: they are lost when the page is closed.");
  }
}

/**
 * Store the work on a picture, together with what another tab may have stored meanwhile.
 *
 * @param {Picture} picture
 * @returns {Promise<boolean>} whether another tab's work has come to it.
 */
export async function keepWork(picture) {
  const { key, name, file, history } = picture;
  // The answer for one that is closed meanwhile is nobody's.
  if (!session.pictures.includes(picture)) return false;
  // It is of this one state alone: to count would give two tabs the same.
  const version = Math.random();
  let stored = picture.stored;
  let [first, joined] = [false, false];
  try {
    await storage.update("work", key, (there) => {
      first = !there;
      if (there && there.version !== picture.stored.version) {
        const { state: before } = picture.stored;
        joined = together(before, history.state, there.state) !== history.state;
        if (joined) history.map((state, isCurrent) => together(before, state, there.state, isCurrent));
      }
      const { width, height } = picture;
      const record = { key, state: history.state, version, width, height };
      stored = record;
      return record;
    });
    picture.stored = stored;
    // Another tab may have closed it, and what has been done here since is to stay.
    if (first && session.pictures.includes(picture)) {
      await storage.update("files", key, (there) => (there ? undefined : { key, name, file }));
    }
  } catch {
    note("The browser has no room for this work: save the masks before you close the page.");
  }
  if (joined) {
    note(`Another tab has changed the objects of ${name}: they are here now, beside those of this tab.`);
  }
  return joined;
}

/** Store labels, and what is open. */
export function keepSettings() {
  const { labels: { list, active }, current } = session;
  const settings = { list, active, single: single.checked, open: current?.key };
  storage.put("settings", "page", settings).catch(() => {});
}

/**
 * Keep a picture no longer.
 *
 * @param {Picture} picture
 */
export function discard({ key }) {
  void storage.delete("files", key);
  void storage.delete("work", key);
}

/**
 * Have again what was stored.
 *
 * @returns {Promise<number | undefined>} the key of the picture that was open.
 */
export async function restore() {
  const settings = await storage.get("settings", "page");
  if (settings) {
    Object.assign(session.labels, { list: settings.list, active: settings.active });
    single.checked = settings.single;
  }
  const works = new Map((await storage.all("work")).map((record) => [record.key, record]));
  for (const { key, name, file } of await storage.all("files")) {
    const picture = new Picture(key, name, file);
    const stored = works.get(key);
    if (stored) {
      picture.history.replace(stored.state);
      // An earlier version of this page has not stored the size.
      Object.assign(picture, { stored, width: stored.width ?? 0, height: stored.height ?? 0 });
    }
    session.pictures.push(picture);
  }
  return settings?.open;
}
