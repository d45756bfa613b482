/** What survives a reload: pictures, the work on them, labels. It stays in this browser. */

const NAME = "slimsam";
/** Files are apart from the work on them, which is written at every step. */
const STORES = ["files", "work", "settings"];

export class Storage {
  /** @param {IDBDatabase | null} database none where the browser keeps nothing. */
  constructor(database) {
    this.database = database;
  }

  static async open() {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        for (const store of STORES) request.result.createObjectStore(store);
      };
      return new Storage(await settled(request));
    } catch {
      return new Storage(null);
    }
  }

  /**
   * @param {string} store
   * @param {IDBValidKey} key
   * @returns {Promise<any>}
   */
  async get(store, key) {
    return this.database && settled(this.database.transaction(store).objectStore(store).get(key));
  }

  /**
   * Give all values of a store, in the order of their keys.
   *
   * @param {string} store
   * @returns {Promise<any[]>}
   */
  async all(store) {
    if (!this.database) return [];
    return settled(this.database.transaction(store).objectStore(store).getAll());
  }

  /**
   * Store a value; it lasts once this resolves.
   *
   * @param {string} store
   * @param {IDBValidKey} key
   * @param {any} value
   * @throws {DOMException} it could not be stored, for want of room as a rule.
   */
  async put(store, key, value) {
    if (!this.database) return;
    const transaction = this.database.transaction(store, "readwrite");
    transaction.objectStore(store).put(value, key);
    await completed(transaction);
  }

  /**
   * Store what is made of the value that is there, which no tab changes in between. It lasts once
   * this resolves.
   *
   * @param {string} store
   * @param {IDBValidKey} key
   * @param {(stored: any) => any} make gets undefined where there is none; where it gives that,
   *   nothing changes.
   * @throws {DOMException} it could not be stored, for want of room as a rule.
   */
  async update(store, key, make) {
    if (!this.database) return;
    const transaction = this.database.transaction(store, "readwrite");
    const values = transaction.objectStore(store);
    const request = values.get(key);
    request.onsuccess = () => {
      const value = make(request.result);
      if (value !== undefined) values.put(value, key);
    };
    await completed(transaction);
  }

  /**
   * @param {string} store
   * @param {IDBValidKey} key
   */
  async delete(store, key) {
    if (!this.database) return;
    const transaction = this.database.transaction(store, "readwrite");
    transaction.objectStore(store).delete(key);
    await completed(transaction);
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * Wait until what was written lasts: a request that has succeeded may yet be undone.
 *
 * @param {IDBTransaction} transaction
 * @returns {Promise<void>}
 */
function completed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    // A request that fails ends in this, too.
    transaction.onabort = () => reject(transaction.error);
  });
}
