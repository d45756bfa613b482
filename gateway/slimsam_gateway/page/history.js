/** States of the work on a picture, to go back to. States are never changed. */

const MOST_STEPS = 200;

/** @template State */
export class History {
  /** @type {State[]} */
  #past = [];
  /** @type {State[]} */
  #future = [];

  /** @param {State} state */
  constructor(state) {
    this.state = state;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /**
   * Take a step that can be undone, unless it leads nowhere.
   *
   * @param {State} state
   */
  commit(state) {
    if (state === this.state) return;
    this.#past = [...this.#past.slice(1 - MOST_STEPS), this.state];
    this.#future = [];
    this.state = state;
  }

  /**
   * Change what is no step, such as which object is selected.
   *
   * @param {State} state
   */
  replace(state) {
    this.state = state;
  }

  /**
   * Change all states alike, by what comes from elsewhere: it is no step, and stays when one is undone.
   *
   * @param {(state: State, isCurrent: boolean) => State} change
   */
  map(change) {
    this.#past = this.#past.map((state) => change(state, false));
    this.#future = this.#future.map((state) => change(state, false));
    this.state = change(this.state, true);
  }

  undo() {
    const state = this.#past.pop();
    if (state === undefined) return;
    this.#future.push(this.state);
    this.state = state;
  }

  redo() {
    const state = this.#future.pop();
    if (state === undefined) return;
    this.#past.push(this.state);
    this.state = state;
  }
}
