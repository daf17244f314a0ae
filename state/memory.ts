/**
 * The memory twin of the store on disk, for tests and dry runs: the same order, the same atomicity. What stands in it is what
 * would stand on disk: `fork()` is the machine that starts again from the last commit, `failNextCommit` the disk that says no.
 */
import type { Store, StoreBatch } from './store.ts';
import { StoreError } from './errors.ts';

class MemoryBatch implements StoreBatch {
  readonly ops: [key: Uint8Array, value: Uint8Array | null][] = [];
  readonly owner: MemoryStore;
  done = false;
  constructor(owner: MemoryStore) {
    this.owner = owner;
  }
  put(key: Uint8Array, value: Uint8Array): void {
    this.ops.push([Uint8Array.from(key), Uint8Array.from(value)]);
  }
  del(key: Uint8Array): void {
    this.ops.push([Uint8Array.from(key), null]);
  }
}

/** An image of a store between two commits; never changed. */
export type StoreImage = ReadonlyMap<string, Uint8Array>;

export class MemoryStore implements Store {
  /** Keys as latin-1 text: code units are bytes, so text order is byte order. */
  #map: Map<string, Uint8Array>;
  #sorted: string[] | null = null;
  #failing: 'before' | 'after' | null = null;
  #state: 'open' | 'failed' | 'closed' = 'open';
  commits = 0;

  constructor(image: StoreImage = new Map()) {
    this.#map = new Map(image);
  }

  /** The next commit throws: with nothing applied, or after all was (an answer that was lost). */
  failNextCommit(when: 'before' | 'after' = 'before'): void {
    this.#failing = when;
  }
  snapshot(): StoreImage {
    return new Map(this.#map);
  }
  fork(): MemoryStore {
    return new MemoryStore(this.#map);
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#mustBeOpen();
    const value = this.#map.get(text(key));
    return value === undefined ? undefined : Uint8Array.from(value);
  }
  range(from: Uint8Array, to: Uint8Array, limit = -1): [Uint8Array, Uint8Array][] {
    return this.#between(from, to, limit).map((k) => [Uint8Array.from(Buffer.from(k, 'latin1')), Uint8Array.from(this.#map.get(k)!)]);
  }
  keys(from: Uint8Array, to: Uint8Array, limit = -1): Uint8Array[] {
    return this.#between(from, to, limit).map((k) => Uint8Array.from(Buffer.from(k, 'latin1')));
  }

  batch(): StoreBatch {
    this.#mustBeOpen();
    return new MemoryBatch(this);
  }
  commit(batch: StoreBatch): void {
    this.#mustBeOpen();
    if (!(batch instanceof MemoryBatch) || batch.owner !== this) throw new Error('a batch of another store');
    if (batch.done) throw new Error('a batch is committed once');
    batch.done = true;
    const failing = this.#failing;
    this.#failing = null;
    if (failing !== null) this.#state = 'failed';
    if (failing === 'before') throw new StoreError('IO', 'memory', 'the commit failed, as it was told to');
    for (const [key, value] of batch.ops) this.#apply(text(key), value);
    this.commits++;
    if (failing === 'after') throw new StoreError('IO', 'memory', 'the commit was applied, then failed, as it was told to');
  }
  close(): Promise<void> {
    this.#state = 'closed';
    return Promise.resolve();
  }

  #apply(key: string, value: Uint8Array | null): void {
    if (value === null) {
      if (this.#map.delete(key)) this.#sorted = null;
    } else {
      if (!this.#map.has(key)) this.#sorted = null;
      this.#map.set(key, value);
    }
  }

  #between(from: Uint8Array, to: Uint8Array, limit: number): string[] {
    this.#mustBeOpen();
    this.#sorted ??= [...this.#map.keys()].sort((a, b) => (a < b ? -1 : 1));
    const start = lowerBound(this.#sorted, text(from)),
      end = lowerBound(this.#sorted, text(to));
    return this.#sorted.slice(start, limit < 0 ? Math.max(start, end) : Math.min(Math.max(start, end), start + limit));
  }

  #mustBeOpen(): void {
    if (this.#state === 'closed') throw new StoreError('CLOSED', 'memory', 'the state is closed');
    if (this.#state === 'failed') throw new StoreError('CLOSED', 'memory', 'the state failed to take a commit and must be opened again');
  }
}

function text(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0,
    high = sorted.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (sorted[mid]! < key) low = mid + 1;
    else high = mid;
  }
  return low;
}
