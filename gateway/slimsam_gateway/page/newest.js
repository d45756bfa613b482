/** One request under way, and of those that wait only the newest of each key. */

/**
 * @template T
 * @typedef {{
 *   key: string, preview: boolean, run: (signal: AbortSignal) => Promise<T>,
 *   controller: AbortController, resolve: (value: T | undefined) => void,
 *   reject: (error: unknown) => void,
 * }} Job
 */

export class NewestWins {
  /** @type {Job<any> | null} */
  #running = null;
  /** @type {Map<string, Job<any>>} */
  #waiting = new Map();

  /**
   * Run a job when its turn comes, unless a newer one of the same key comes first.
   *
   * A preview goes on while newer ones come, so that a slow server shows something; any other job
   * ends it, because who has clicked no longer wants to know what a click would give.
   *
   * @template T
   * @param {string} key
   * @param {(signal: AbortSignal) => Promise<T>} run
   * @param {boolean} [preview] whether it gives way to every job that is none.
   * @returns {Promise<T | undefined>} what it gave; undefined if it was dropped or ended.
   */
  submit(key, run, preview = false) {
    return new Promise((resolve, reject) => {
      const job = { key, preview, run, controller: new AbortController(), resolve, reject };
      this.#drop((other) => other.key === key || (other.preview && !preview));
      if (this.#running && !preview && (this.#running.key === key || this.#running.preview)) {
        this.#running.controller.abort();
      }
      this.#waiting.set(key, job);
      this.#next();
    });
  }

  /**
   * Drop the jobs of a key, the one under way included; without a key all of them.
   *
   * @param {string} [key]
   */
  cancel(key) {
    const meant = (/** @type {Job<any>} */ job) => key === undefined || job.key === key;
    this.#drop(meant);
    if (this.#running && meant(this.#running)) this.#running.controller.abort();
  }

  /** @param {(job: Job<any>) => boolean} meant */
  #drop(meant) {
    for (const job of [...this.#waiting.values()].filter(meant)) {
      this.#waiting.delete(job.key);
      job.resolve(undefined);
    }
  }

  async #next() {
    const [job] = this.#waiting.values();
    if (this.#running || !job) return;
    this.#waiting.delete(job.key);
    this.#running = job;
    try {
      const value = await job.run(job.controller.signal);
      job.resolve(job.controller.signal.aborted ? undefined : value);
    } catch (error) {
      if (job.controller.signal.aborted) job.resolve(undefined);
      else job.reject(error);
    } finally {
      this.#running = null;
      this.#next();
    }
  }
}
