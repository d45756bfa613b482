/** The gateway's calls. */

/**
 * @typedef {{counts: string, score: number, id: string | null}} Mask compressed counts of COCO's RLE;
 *   the model's own estimate; the id by which it can be refined, if the server has kept its logits.
 */
/**
 * @typedef {{counts: string, score: number, point: number[]}} MaskRecord a mask of everything mode,
 *   and the grid's point that gave it.
 */

/** What is no longer kept is a mask if the problem begins so; docs/clicks.md has it. */
const MASK_NOT_KEPT = "not kept here: mask";

/** What the gateway says is wrong, in its words. */
export class Problem extends Error {
  /**
   * @param {number} status of HTTP; 0 where nothing answered.
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  /** @param {() => string} key gives the key to send, or nothing. */
  constructor(key) {
    this.key = key;
  }

  /**
   * Send a picture's file, of which the server keeps what it needs for clicks.
   *
   * @param {Blob} file
   * @param {import("./picture.js").Size | null} original of a file that was reduced: the size before.
   * @param {AbortSignal} [signal]
   * @returns {Promise<{id: string, width: number, height: number}>}
   */
  upload(file, original, signal) {
    return this.#send("POST", `v1/images${query(original)}`, file, "application/octet-stream", signal);
  }

  /**
   * Ask for the masks of one object. A mask to refine that is no longer kept is left out.
   *
   * @param {string} id of the picture.
   * @param {import("./work.js").Request} prompt
   * @param {AbortSignal} [signal]
   * @returns {Promise<Mask[]>}
   */
  async masks(id, prompt, signal) {
    try {
      return await this.#masks(id, prompt, signal);
    } catch (error) {
      const lost = error instanceof Problem && error.message.startsWith(MASK_NOT_KEPT);
      if (!lost || !prompt.mask_id) throw error;
      return this.#masks(id, { ...prompt, mask_id: undefined }, signal);
    }
  }

  /**
   * @param {string} id
   * @param {import("./work.js").Request} prompt
   * @param {AbortSignal} [signal]
   * @returns {Promise<Mask[]>}
   */
  async #masks(id, prompt, signal) {
    const body = JSON.stringify({ ...prompt, format: "rle" });
    const answer = await this.#send("POST", `v1/images/${id}/masks`, body, "application/json", signal);
    return answer.masks[0].map((/** @type {string} */ counts, /** @type {number} */ index) => ({
      counts,
      score: answer.scores[0][index],
      id: answer.mask_ids[0][index],
    }));
  }

  /**
   * Ask for the masks of everything in a picture.
   *
   * @param {import("./picture.js").Sent} sent what was uploaded.
   * @param {AbortSignal} [signal]
   * @returns {Promise<MaskRecord[]>}
   */
  async everything({ id, file, original }, signal) {
    const path = `v1/images/${id}/everything${query(original)}`;
    const answer = await this.#send("POST", path, file, "application/octet-stream", signal);
    return answer.records.map((/** @type {any} */ record) => ({
      counts: record.segmentation.counts,
      score: record.predicted_iou,
      point: record.point_coords[0],
    }));
  }

  /**
   * Have the server erase a picture.
   *
   * @param {string} id
   */
  forget(id) {
    return this.#send("DELETE", `v1/images/${id}`);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {BodyInit} [body]
   * @param {string} [type]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async #send(method, path, body, type, signal) {
    /** @type {Record<string, string>} */
    const headers = type ? { "Content-Type": type } : {};
    if (this.key()) headers.Authorization = `Bearer ${this.key()}`;
    let response;
    try {
      response = await fetch(new URL(path, document.baseURI), {
        method, body, headers, signal,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, "The gateway does not answer.");
    }
    if (response.ok) return response.status === 204 ? null : response.json();
    const problem = await response.json().catch(() => ({}));
    throw new Problem(response.status, problem.detail || problem.title || response.statusText);
  }
}

/** @param {import("./picture.js").Size | null} original of a picture that was reduced. */
function query(original) {
  return original ? `?original_width=${original.width}&original_height=${original.height}` : "";
}
