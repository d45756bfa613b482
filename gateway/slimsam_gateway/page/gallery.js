/** The pictures of this tab: which there are, and which is open. */

import { discard, keepFiles, keepSettings } from "./keeping.js";
import { unique } from "./names.js";
import { Picture } from "./picture.js";
import { unhover } from "./previews.js";
import { api, ask, failed, lane } from "./requests.js";
import { show, stage } from "./screen.js";
import { stopSearch } from "./searches.js";
import { session } from "./session.js";
import { complain, during, messageOf, note, say } from "./status.js";

/** @param {import("./opening.js").Found[]} found */
export async function add(found) {
  if (!found.length) {
    say("There is no picture among these files.");
    return;
  }
  const { pictures } = session;
  // By the time, so that no key is of two pictures: another tab may add some, too.
  let key = Math.max(Date.now(), ...pictures.map((picture) => picture.key));
  const names = new Set(pictures.map(({ name }) => name));
  const added = found.map(({ name, file }) => {
    const picture = new Picture(++key, unique(name, names), file);
    names.add(picture.name);
    return picture;
  });
  pictures.push(...added);
  await open(added[0].key);
  await keepFiles(added);
}

/** @param {number} key */
export async function open(key) {
  const picture = session.pictures.find((one) => one.key === key);
  if (!picture || picture === session.wanted) return;
  session.wanted = picture;
  lane.cancel();
  unhover();
  say(`Opening ${picture.name} …`);
  let bitmap;
  try {
    bitmap = await during(picture.decode());
  } catch (error) {
    // One that cannot be shown is not kept, unless there is work on it.
    const kept = picture.history.state.items.length > 0;
    if (!kept) await close(key);
    else if (picture === session.wanted) {
      session.wanted = session.current;
      ask(); // what this one ended
    }
    show();
    // Where another is open in its place, the line tells of that one, sooner or later.
    if (kept || !session.wanted) complain(error);
    else note(messageOf(error));
    return;
  }
  if (picture !== session.wanted) {
    bitmap.close();
    return;
  }
  // The mouse may have gone over the picture before until here.
  unhover();
  Object.assign(session, { current: picture, cursor: null, corner: null, drawn: null });
  stage.show(bitmap);
  keepSettings();
  show();
  stage.element.focus({ preventScroll: true });
  void send(picture);
}

/** @param {Picture} picture */
async function send(picture) {
  say(`Sending ${picture.name} …`);
  try {
    await during(picture.upload(api));
    if (!session.isOpen(picture)) return;
    say(`${picture.name}, ${picture.width} × ${picture.height}. Click on an object.`);
    ask();
  } catch (error) {
    if (session.isOpen(picture)) void failed(error, () => void send(picture));
  }
}

/** @param {number} key */
export async function close(key) {
  const { pictures } = session;
  const index = pictures.findIndex((one) => one.key === key);
  if (index < 0) return;
  const [picture] = pictures.splice(index, 1);
  stopSearch(picture);
  discard(picture);
  // It is none of the server's business any more; if it does not hear of it, it forgets in time.
  picture.forget(api).catch(() => {});
  const next = pictures[Math.min(index, pictures.length - 1)];
  if (picture === session.wanted) {
    [session.current, session.wanted] = [null, null];
    lane.cancel();
    stage.show(null);
    say("");
    show();
    if (next) await open(next.key);
  } else {
    show();
  }
}

/** @param {number} by how many pictures to go on. */
export function turn(by) {
  const index = session.pictures.findIndex((picture) => picture === session.wanted);
  const next = session.pictures[index + by];
  if (next) void open(next.key);
}

/** Open the gateway's example. */
export async function example() {
  let response;
  let blob;
  try {
    // It leads on to the address with the picture's name.
    response = await fetch(new URL("page/example", document.baseURI));
    if (!response.ok) throw new Error(response.statusText);
    blob = await response.blob();
  } catch {
    complain("The example cannot be had; open a picture of your own.", () => void example());
    return;
  }
  const name = decodeURIComponent(new URL(response.url).pathname.split("/").pop() ?? "");
  await add([{ name, file: new File([blob], name, { type: blob.type }) }]);
}
