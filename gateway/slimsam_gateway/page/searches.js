/** The search for everything in a picture. */

import { unhover } from "./previews.js";
import { api, failed, keep } from "./requests.js";
import { show } from "./screen.js";
import { session } from "./session.js";
import { during, messageOf, note, say } from "./status.js";
import { withEverything } from "./work.js";

/** @typedef {import("./picture.js").Picture} Picture */

/** What ends the search in a picture. @type {Map<Picture, AbortController>} */
const searches = new Map();

/** @param {Picture | null} picture */
export async function everything(picture = session.current) {
  if (!picture || !session.pictures.includes(picture) || searches.has(picture)) return;
  const controller = new AbortController();
  searches.set(picture, controller);
  say("Finding everything …");
  unhover();
  try {
    const records = await during(
      picture.with(api, (sent) => api.everything(sent, controller.signal)),
      () => controller.abort(),
    );
    const { history } = picture;
    history.commit(withEverything(history.state, records, session.labels.active));
    void keep(picture);
    show();
    if (session.isOpen(picture)) say(`${records.length} objects found.`);
  } catch (error) {
    const isOpen = session.isOpen(picture);
    if (controller.signal.aborted) {
      if (isOpen) say("Stopped.");
    } else if (isOpen) void failed(error, () => void everything(picture));
    else note(`${picture.name}: ${messageOf(error)}`);
  } finally {
    searches.delete(picture);
  }
}

/** @param {Picture} picture that is closed. */
export function stopSearch(picture) {
  searches.get(picture)?.abort();
}
