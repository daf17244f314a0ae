/**
 * What a data directory knows as a whole, apart from any job: a small store at DATA/control. Every write is durable when it returns.
 *
 *   'format'          1, as decimal text
 *   'instance'        the name of this data directory in ClickHouse, made once: hex text
 *   'audit.anchor'    number, space, hash of the last entry of the audit log
 *   'audit.acked'     number of the last entry that ClickHouse has acknowledged
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StoreLockedError } from '../../state/errors.ts';
import { openRocks } from '../../state/rocksdb.ts';
import type { Store } from '../../state/store.ts';
import { randomHex } from '../clock.ts';
import { TallyError } from '../errors.ts';
import type { AuditHead } from './audit-chain.ts';
import { type AuditAnchor, auditHeadFile, readHeadFile } from './audit.ts';

const FORMAT = '1';
const INSTANCE_BYTES = 8;
const SIZES = { memtableBytes: 4 << 20, cacheBytes: 1 << 20 };
const LOCK_TRIES = 60,
  LOCK_POLL_MS = 50;

export const controlDir = (dataDir: string): string => path.join(dataDir, 'control');

export class ControlStore {
  readonly instance: string;
  /** True when this data directory was made just now. */
  readonly isNew: boolean;
  readonly anchor: AuditAnchor;
  readonly #store: Store;

  private constructor(store: Store, instance: string, isNew: boolean) {
    this.#store = store;
    this.instance = instance;
    this.isNew = isNew;
    this.anchor = { read: () => readAnchor(store), write: (number, hash) => put(store, [['audit.anchor', `${number} ${hash}`]]) };
  }

  /** Over a store that is open; the control store closes it. */
  static over(store: Store, dir: string): ControlStore {
    const format = text(store, 'format'),
      known = text(store, 'instance');
    if (format !== undefined && format !== FORMAT) {
      throw new TallyError(
        'E_STATE_FORMAT',
        `${dir} has format ${format}, and this tally knows format ${FORMAT}.`,
        'it was written by a newer tally: run that one.',
      );
    }
    const instance = known ?? randomHex(INSTANCE_BYTES);
    if (known === undefined)
      put(store, [
        ['format', FORMAT],
        ['instance', instance],
      ]);
    return new ControlStore(store, instance, known === undefined);
  }

  static async open(dataDir: string): Promise<ControlStore> {
    const dir = controlDir(dataDir);
    const store = await openPatiently(dir);
    try {
      return ControlStore.over(store, dir);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** Entries of the audit log up to this number stand in ClickHouse. */
  acknowledged(): number {
    return Number(text(this.#store, 'audit.acked') ?? 0);
  }

  acknowledge(number: number): void {
    put(this.#store, [['audit.acked', String(number)]]);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

/** A reader (`tally audit verify`) may hold the store for a moment. */
async function openPatiently(dir: string): Promise<Store> {
  for (let left = LOCK_TRIES; ; left--) {
    try {
      return await openRocks(dir, SIZES);
    } catch (error) {
      if (!(error instanceof StoreLockedError) || left <= 1) throw error;
      await sleep(LOCK_POLL_MS);
    }
  }
}

export interface KnownAnchor {
  readonly head: AuditHead | undefined;
  /** Where it was read; 'head.json' while a run holds the state. */
  readonly from: 'state' | 'head.json' | 'nothing';
}

/** For readers: the anchor from the state if no run holds it, else from the file beside the log. Makes nothing anew. */
export async function knownAnchor(dataDir: string): Promise<KnownAnchor> {
  const fromFile = (): KnownAnchor => ({ head: readHeadFile(auditHeadFile(dataDir)), from: 'head.json' });
  // CURRENT is what makes a folder a RocksDB database: opening one without it would make it.
  if (!existsSync(path.join(controlDir(dataDir), 'CURRENT'))) {
    const said = fromFile();
    return said.head === undefined ? { head: undefined, from: 'nothing' } : said;
  }
  let store: Store;
  try {
    store = await openRocks(controlDir(dataDir), SIZES);
  } catch (error) {
    if (error instanceof StoreLockedError) return fromFile();
    throw error;
  }
  try {
    return { head: readAnchor(store), from: 'state' };
  } finally {
    await store.close();
  }
}

function readAnchor(store: Store): AuditHead | undefined {
  const said = text(store, 'audit.anchor');
  if (said === undefined) return undefined;
  const [number, hash] = said.split(' ');
  return { number: Number(number), hash: hash! };
}

function text(store: Store, key: string): string | undefined {
  const value = store.get(Buffer.from(key));
  return value === undefined ? undefined : Buffer.from(value).toString();
}

function put(store: Store, pairs: readonly (readonly [key: string, value: string])[]): void {
  const batch = store.batch();
  for (const [key, value] of pairs) batch.put(Buffer.from(key), Buffer.from(value));
  store.commit(batch);
}
