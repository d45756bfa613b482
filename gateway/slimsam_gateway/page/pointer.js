/** Mouse, pen and fingers on the stage: clicks, boxes, moving and zooming. */

/** What moves less is a click, in CSS pixels. */
const STILL = 5;
/** A finger rolls as it taps. */
const FINGER_STILL = 12;
const WHEEL_SPEED = 0.0015;

/**
 * @typedef {{
 *   tool: () => "include" | "exclude" | "box" | "pan",
 *   click: (pixel: [number, number], positive: boolean) => void,
 *   hover: (pixel: [number, number] | null) => void,
 *   boxing: (box: number[] | null) => void,
 *   box: (box: number[]) => void,
 * }} Handlers
 * @typedef {{
 *   kind: "press" | "box" | "pan", startX: number, startY: number, x: number, y: number,
 *   negative: boolean,
 * }} Gesture
 */

/**
 * Watch the stage.
 *
 * @param {import("./stage.js").Stage} stage
 * @param {Handlers} handlers
 * @returns {{cancel: () => boolean}} ends a box that is being drawn, if there is one.
 */
export function watchPointers(stage, handlers) {
  const { element, view } = stage;
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  /** @type {Gesture | null} */
  let gesture = null;
  let space = false;

  const place = (/** @type {MouseEvent} */ event) => {
    const bounds = element.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  };
  const boxOf = (/** @type {Gesture} */ { startX, startY, x, y }) => {
    const [[ax, ay], [bx, by]] = [view.toPixel(startX, startY), view.toPixel(x, y)];
    return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx) + 1, Math.max(ay, by) + 1];
  };
  const showMode = () => {
    const pans = space || handlers.tool() === "pan";
    element.dataset.mode = gesture?.kind === "pan" ? "panning" : pans ? "pan" : "";
  };

  element.addEventListener("pointerdown", (event) => {
    const { x, y } = place(event);
    element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x, y });
    if (fingers.size > 1) {
      // Two fingers move and zoom; what the first began is not meant.
      if (gesture?.kind === "box") handlers.boxing(null);
      gesture = null;
      return;
    }
    const pans = space || event.button === 1 || handlers.tool() === "pan";
    const boxes = event.button === 0 && (event.shiftKey || handlers.tool() === "box");
    const negative = event.button === 2 || event.altKey;
    const kind = pans ? "pan" : boxes ? "box" : "press";
    gesture = { kind, startX: x, startY: y, x, y, negative };
    if (event.button === 1) event.preventDefault();
    showMode();
  });

  element.addEventListener("pointermove", (event) => {
    const at = place(event);
    const before = fingers.get(event.pointerId);
    if (before && fingers.size > 1) {
      pinch(event.pointerId, before, at);
      return;
    }
    if (!gesture) {
      if (event.pointerType !== "touch") {
        handlers.hover(view.isInside(at.x, at.y) && !space ? view.toPixel(at.x, at.y) : null);
      }
      return;
    }
    const still = event.pointerType === "touch" ? FINGER_STILL : STILL;
    const far = Math.hypot(at.x - gesture.startX, at.y - gesture.startY) > still;
    if (gesture.kind === "press" && far) gesture.kind = "pan";
    if (gesture.kind === "pan") {
      view.pan(at.x - gesture.x, at.y - gesture.y);
      stage.moved();
      showMode();
    }
    gesture = { ...gesture, ...at };
    if (gesture.kind === "box") handlers.boxing(boxOf(gesture));
  });

  /**
   * @param {number} id of the finger that has moved.
   * @param {{x: number, y: number}} before
   * @param {{x: number, y: number}} at
   */
  function pinch(id, before, at) {
    const other = [...fingers].find(([key]) => key !== id)?.[1];
    fingers.set(id, at);
    if (!other) return;
    const distance = (/** @type {{x: number, y: number}} */ one) => Math.hypot(one.x - other.x, one.y - other.y);
    view.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    view.zoom((at.x + other.x) / 2, (at.y + other.y) / 2, Math.max(distance(at), 1) / Math.max(distance(before), 1));
    stage.moved();
  }

  element.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    const ended = gesture;
    gesture = null;
    showMode();
    if (!ended) return;
    if (ended.kind === "box") {
      handlers.boxing(null);
      const far = Math.max(Math.abs(ended.x - ended.startX), Math.abs(ended.y - ended.startY)) > STILL;
      if (far) handlers.box(boxOf(ended));
    } else if (ended.kind === "press" && view.isInside(ended.x, ended.y)) {
      handlers.click(view.toPixel(ended.x, ended.y), !ended.negative && handlers.tool() !== "exclude");
    }
  });

  element.addEventListener("pointercancel", (event) => {
    fingers.delete(event.pointerId);
    cancel();
  });
  element.addEventListener("pointerleave", () => handlers.hover(null));
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = place(event);
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 * event.deltaY : event.deltaY;
    // A pinch on a touchpad is a wheel with Ctrl, in smaller steps.
    view.zoom(x, y, Math.exp(-pixels * WHEEL_SPEED * (event.ctrlKey ? 6 : 1)));
    stage.moved();
  }, { passive: false });

  addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target instanceof HTMLInputElement) return;
    if (event.target !== element && event.target !== document.body) return;
    event.preventDefault();
    space = true;
    showMode();
  });
  addEventListener("keyup", (event) => {
    if (event.key === " ") space = false;
    showMode();
  });
  addEventListener("blur", () => (space = false));

  function cancel() {
    const boxing = gesture?.kind === "box";
    gesture = null;
    handlers.boxing(null);
    showMode();
    return boxing;
  }

  return { cancel };
}
