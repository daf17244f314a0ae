/**
 * The store on disk: RocksDB, and the only file that imports it. A commit is one write batch with `sync`, so one WAL record
 * and one fsync: whole, or not there. Values are packed segments of KBs to MBs, hence no compression of the WAL, big blocks and a
 * small block cache. Memtables and levels are RocksDB's own: the binding's smaller ones had 12M events rewritten for 5 % of the run's CPU,
 * 24M for 10 %. The binding crashes on a database that is closed, so every call asks first.
 */
import { createRequire } from 'node:module';
import type { Store, StoreBatch } from './store.ts';
import { StoreError, StoreLockedError } from './errors.ts';

interface NativeBatch {
  _put(key: Uint8Array, value: Uint8Array): void;
  _del(key: Uint8Array): void;
  _clear(): void;
  _writeSync(options: { sync: boolean }): void;
  close(): Promise<void>;
}
interface Database {
  open(options: object): Promise<void>;
  close(): Promise<void>;
  _chainedBatch(): NativeBatch;
  _getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined | null)[];
  querySync(options: object): { rows: Uint8Array[] };
}

export interface RocksOptions {
  /** For a small store: memtables of a quarter of this; RocksDB may hold up to one and a half times as much for a moment. */
  readonly memtableBytes?: number;
  readonly cacheBytes?: number;
}

const CACHE_BYTES = 8 << 20,
  BLOCK_BYTES = 16 << 10;
const SYNC = { sync: true };

export async function openRocks(dir: string, options: RocksOptions = {}): Promise<Store> {
  const { RocksLevel } = createRequire(import.meta.url)('@nxtedition/rocksdb') as { RocksLevel: new (dir: string) => Database };
  const db = new RocksLevel(dir);
  try {
    await db.open({
      createIfMissing: true,
      ...(options.memtableBytes === undefined ? {} : { compaction: 'level', memtableMemoryBudget: options.memtableBytes }),
      cacheSize: options.cacheBytes ?? CACHE_BYTES,
      blockSize: BLOCK_BYTES,
      compression: false,
      walCompression: false,
      parallelism: 2,
    });
  } catch (error) {
    throw faultOf(dir, error);
  }
  return new RocksStore(dir, db);
}

class RocksBatch implements StoreBatch {
  native: NativeBatch | null;
  readonly owner: RocksStore;
  constructor(owner: RocksStore, native: NativeBatch) {
    this.owner = owner;
    this.native = native;
  }
  put(key: Uint8Array, value: Uint8Array): void {
    this.native!._put(key, value);
  }
  del(key: Uint8Array): void {
    this.native!._del(key);
  }
}

class RocksStore implements Store {
  readonly #dir: string;
  readonly #db: Database;
  #state: 'open' | 'failed' | 'closed' = 'open';
  /** A native batch keeps its memory until it is collected, so one is used again and again. */
  #spare: NativeBatch | null = null;
  #closing: Promise<void> | null = null;

  constructor(dir: string, db: Database) {
    this.#dir = dir;
    this.#db = db;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#mustBeOpen();
    try {
      return this.#db._getManySync([key])[0] ?? undefined;
    } catch (error) {
      throw faultOf(this.#dir, error);
    }
  }

  range(from: Uint8Array, to: Uint8Array, limit = -1): [Uint8Array, Uint8Array][] {
    const rows = this.#query(from, to, limit, true);
    const out: [Uint8Array, Uint8Array][] = [];
    for (let i = 0; i < rows.length; i += 2) out.push([rows[i]!, rows[i + 1]!]);
    return out;
  }

  keys(from: Uint8Array, to: Uint8Array, limit = -1): Uint8Array[] {
    const rows = this.#query(from, to, limit, false);
    const out: Uint8Array[] = [];
    for (let i = 0; i < rows.length; i += 2) out.push(rows[i]!);
    return out;
  }

  batch(): StoreBatch {
    this.#mustBeOpen();
    const native = this.#spare ?? this.#db._chainedBatch();
    this.#spare = null;
    return new RocksBatch(this, native);
  }

  commit(batch: StoreBatch): void {
    this.#mustBeOpen();
    if (!(batch instanceof RocksBatch) || batch.owner !== this) throw new Error('a batch of another store');
    const native = batch.native;
    if (native === null) throw new Error('a batch is committed once');
    batch.native = null;
    try {
      native._writeSync(SYNC);
    } catch (error) {
      this.#state = 'failed';
      throw faultOf(this.#dir, error);
    }
    native._clear();
    if (this.#spare === null) this.#spare = native;
    else void native.close();
  }

  close(): Promise<void> {
    this.#state = 'closed';
    this.#closing ??= this.#db.close();
    return this.#closing;
  }

  #query(gte: Uint8Array, lt: Uint8Array, limit: number, values: boolean): Uint8Array[] {
    this.#mustBeOpen();
    try {
      return this.#db.querySync({ gte, lt, limit, values, keyEncoding: 'buffer', valueEncoding: 'buffer' }).rows;
    } catch (error) {
      throw faultOf(this.#dir, error);
    }
  }

  #mustBeOpen(): void {
    if (this.#state === 'open') return;
    throw new StoreError(
      'CLOSED',
      this.#dir,
      this.#state === 'closed'
        ? `the state in ${this.#dir} is closed`
        : `the state in ${this.#dir} failed to take a commit and must be opened again`,
    );
  }
}

/** The binding puts its own error, with its code, below one or two of abstract-level's. */
function faultOf(dir: string, error: unknown): StoreError {
  let root = error as { code?: string; message?: string; cause?: unknown };
  while (root.cause !== undefined && root.cause !== null) root = root.cause as typeof root;
  const said = root.message ?? String(error);
  if (root.code === 'LEVEL_LOCKED') return new StoreLockedError(dir, error);
  if (root.code === 'LEVEL_CORRUPTION' || said.startsWith('Corruption'))
    return new StoreError('CORRUPT', dir, `the state in ${dir} is damaged: ${said}`, error);
  return new StoreError('IO', dir, `the state in ${dir} cannot be read or written: ${said}`, error);
}
