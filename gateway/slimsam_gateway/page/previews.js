/** What a click would give, as the mouse or the cursor moves. */

import { api, ask, failed, lane } from "./requests.js";
import { showMasks } from "./screen.js";
import { session } from "./session.js";
import { previewOf, selectedOf } from "./work.js";

const PREVIEW = "preview";

/** The picture and the pixel that were asked for last. */
let previewed = "";

/**
 * Show what a click would give, while no object is worked on.
 *
 * @param {[number, number] | null} pixel
 */
export async function hover(pixel) {
  const picture = session.current;
  if (!pixel || !picture || selectedOf(session.work) || session.tool !== "include") {
    unhover();
    return;
  }
  const place = `${picture.key}/${pixel}`;
  if (place === previewed) return;
  previewed = place;
  try {
    const masks = await lane.submit(PREVIEW, (signal) =>
      picture.with(api, ({ id }) => api.masks(id, previewOf(pixel), signal)), true);
    // A later one may be under way: its place is newer, and this one is still better than none.
    if (!masks || !previewed || picture !== session.current || selectedOf(session.work)) return;
    [session.preview] = masks;
    showMasks();
  } catch (error) {
    previewed = "";
    // What was clicked may have failed before, and is tried again, too.
    void failed(error, () => {
      ask();
      void hover(pixel);
    });
  }
}

/** Show it no longer. */
export function unhover() {
  if (!previewed && !session.preview) return;
  previewed = "";
  session.preview = null;
  lane.cancel(PREVIEW);
  showMasks();
}
