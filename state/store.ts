/**
 * State is bytes in, bytes out: an ordered map with ONE way to change it, a batch that is applied whole and fsync'd, or not at
 * all. It knows no events. Synchronous: it is called at a batch's edges only, never per event.
 */
export interface StoreBatch {
  /** Copies both. */
  put(key: Uint8Array, value: Uint8Array): void;
  del(key: Uint8Array): void;
}
export interface Store {
  get(key: Uint8Array): Uint8Array | undefined;
  /** Entries with from <= key < to in key order, a copy each; `limit` bounds the number. */
  range(from: Uint8Array, to: Uint8Array, limit?: number): [key: Uint8Array, value: Uint8Array][];
  /** Keys alone, for sizes and deletion. */
  keys(from: Uint8Array, to: Uint8Array, limit?: number): Uint8Array[];
  batch(): StoreBatch;
  /** Atomic and durable when it returns; throws with nothing applied otherwise. */
  commit(batch: StoreBatch): void;
  close(): Promise<void>;
}
