/** Keys, and what they do. */

/**
 * @typedef {{
 *   keys: string[], says: string, run: (event: KeyboardEvent) => void, onStage?: boolean,
 * }} Command keys such as "Ctrl+Shift+z"; onStage has it work on the picture alone.
 */

const NAMES = /** @type {Record<string, string>} */ ({
  " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→",
});

/**
 * Listen to keys.
 *
 * @param {HTMLElement} stage
 * @param {Command[]} commands
 * @param {() => boolean} everywhere whether single keys work wherever the focus is.
 */
export function watchKeys(stage, commands, everywhere) {
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || isText(event.target)) return;
    const pressed = nameOf(event);
    const command = commands.find(({ keys }) => keys.includes(pressed));
    if (!command) return;
    const focused = event.target === stage;
    const single = !pressed.startsWith("Ctrl+");
    if (!focused && (command.onStage || (single && !everywhere()))) return;
    event.preventDefault();
    command.run(event);
  });
}

/**
 * List the keys of commands.
 *
 * @param {Command[]} commands
 * @returns {{keys: string[], says: string}[]}
 */
export function described(commands) {
  return commands.filter(({ says }) => says).map(({ keys, says }) => ({
    keys: keys.map((key) => key.split(/\+(?=.)/).map((part) => NAMES[part] ?? titled(part)).join("+")),
    says,
  }));
}

/** @param {string} text */
function titled(text) {
  return text.length === 1 ? text.toUpperCase() : text;
}

/** @param {KeyboardEvent} event */
function nameOf(event) {
  const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
  // Shift is of the name only where it is not of the character.
  const letter = key.length === 1 ? key.toLowerCase() : key;
  const shifted = shiftKey && (key.length > 1 || letter !== key.toUpperCase());
  return [
    ctrlKey || metaKey ? "Ctrl+" : "", altKey ? "Alt+" : "", shifted ? "Shift+" : "", letter,
  ].join("");
}

/** @param {EventTarget | null} target */
function isText(target) {
  return target instanceof HTMLInputElement && !["radio", "checkbox", "color"].includes(target.type);
}
