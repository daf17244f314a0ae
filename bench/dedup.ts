/**
 * Dedup alone: ns an event on the way in, resends with another event_time in hot hours and in cold ones, memory, and the time to open again;
 * beside it the naive way, one RocksDB key an id, asked by getMany, on the same ids, in turns with it. `node bench/dedup.ts [--quick]`.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { openRocks } from '../state/rocksdb.ts';
import type { Store } from '../state/store.ts';
import { CONFLICT, EventColumns, FRESH } from '../topology/batch.ts';
import { Dedup } from '../topology/dedup/dedup.ts';
import { print, row } from './table.ts';
import type { Row } from './table.ts';

const HOUR = 3600000,
  SLICE = 4096,
  COMMIT = 500_000,
  COLD_BYTES = 48 << 20,
  DAY0 = 20_000 * 24 * HOUR;
const KEY: [number, number] = [0x12345678, 0x9abcdef0];
let root = '';
const rows: Row[] = [];

/** Ids are a function of their number, as random as UUIDv4 and made again at will. */
function fill(ids: Uint32Array, at: number, n: number): void {
  let x = Math.imul(n + 1, 0x9e3779b1);
  for (let j = 0; j < 4; j++) {
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) + n;
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) + j;
    ids[at + j] = x ^ (x >>> 16);
  }
  ids[at] = n;
}

interface Run {
  readonly total: number;
  readonly spanMs: number;
  readonly resends: number;
}
/** Event i: 3 % are resends of an earlier number; time runs through the span. */
function slice(out: EventColumns, from: number, run: Run): void {
  out.count = Math.min(SLICE, run.total - from);
  for (let i = 0; i < out.count; i++) {
    const n = from + i;
    const source =
      run.resends > 0 && (Math.imul(n, 0x9e3779b1) >>> 0) % 1000 < run.resends * 1000
        ? Math.floor(n * (((Math.imul(n, 0x85ebca6b) >>> 0) % 1000) / 1000))
        : n;
    fill(out.id, i * 4, source);
    out.time[i] = DAY0 + Math.floor((source / run.total) * run.spanMs);
    out.fingerprint[i] = source;
  }
}

function commit(dedup: Dedup, store: Store): void {
  const batch = store.batch();
  dedup.write(batch);
  store.commit(batch);
}

function ingest(dedup: Dedup, store: Store, run: Run): void {
  const events = new EventColumns(SLICE, 0),
    verdict = new Uint8Array(SLICE);
  let admitMs = 0,
    commitMs = 0,
    slowest = 0,
    slowestCommit = 0,
    fresh = 0,
    seen = 0;
  for (let from = 0; from < run.total; from += SLICE) {
    slice(events, from, run);
    let t = performance.now();
    dedup.admit(events, verdict);
    t = performance.now() - t;
    admitMs += t;
    slowest = Math.max(slowest, t);
    for (let i = 0; i < events.count; i++) if (verdict[i] === FRESH) fresh++;
    seen += events.count;
    if (seen < COMMIT && from + SLICE < run.total) continue;
    seen = 0;
    t = performance.now();
    commit(dedup, store);
    t = performance.now() - t;
    commitMs += t;
    slowestCommit = Math.max(slowestCommit, t);
  }
  const s = dedup.stats(),
    what = `${run.total / 1e6}M ids over ${Math.round(run.spanMs / HOUR)} h`;
  rows.push(
    row('dedup', `${what}, admit`, (admitMs / run.total) * 1e6, null, 'ns'),
    row('dedup', `${what}, commit, an event`, (commitMs / run.total) * 1e6, null, 'ns'),
    row('dedup', `${what}, slowest slice of ${SLICE}`, slowest, null, 'ms'),
    row('dedup', `${what}, slowest commit`, slowestCommit, null, 'ms'),
    row('dedup', `${what}, memory: identities and directory`, (s.memoryBytes + s.directoryBytes) / 1048576, null, 'MiB'),
  );
  if (fresh > run.total) throw new Error('more fresh events than events');
}

/** Resends of `count` ids from number `from` to `to`, each with the newest time of all: every one must be a conflict. */
function resend(dedup: Dedup, run: Run, from: number, to: number, count: number, what: string): void {
  const events = new EventColumns(SLICE, 0),
    verdict = new Uint8Array(SLICE);
  let ms = 0,
    right = 0;
  for (let at = 0; at < count; at += SLICE) {
    events.count = Math.min(SLICE, count - at);
    for (let i = 0; i < events.count; i++) {
      const n = from + ((Math.imul(at + i, 0x9e3779b1) >>> 0) % (to - from));
      fill(events.id, i * 4, n);
      events.time[i] = DAY0 + run.spanMs - 1 - ((at + i) % 1000);
      events.fingerprint[i] = n + 1;
    }
    const t = performance.now();
    dedup.admit(events, verdict);
    ms += performance.now() - t;
    for (let i = 0; i < events.count; i++) if (verdict[i] === CONFLICT) right++;
  }
  if (right !== count) throw new Error(`${right} of ${count} resends with another event_time were found`);
  rows.push(row('dedup', `${count.toLocaleString('en')} resends with another event_time, ${what}`, (count / ms) * 1e3, null, 'events/s'));
}

async function scenario(name: string, run: Run, cold: boolean): Promise<void> {
  const dir = path.join(root, name.replaceAll(/\W/g, '-'));
  let store = await openRocks(dir);
  // What is asked of cold hours is to be in the store, not in memory.
  const bound = cold ? { memoryBytesMax: COLD_BYTES } : {};
  let dedup = new Dedup({ store, horizonMs: 30 * 24 * HOUR, hashKey: KEY, ...bound });
  ingest(dedup, store, { ...run });
  const plain = { ...run, resends: 0 },
    hot = Math.floor(run.total * Math.max(0, 1 - (2.5 * HOUR) / run.spanMs));
  const known = run.resends === 0;
  if (known) resend(dedup, plain, hot, run.total, 1_000_000, 'hot hours');
  if (known && cold) resend(dedup, plain, 0, run.total, 20_000, 'all hours, first questions');
  if (known && cold) resend(dedup, plain, 0, run.total, 1_000_000, 'all hours');
  const max = dedup.maxTime;
  await store.close();
  store = await openRocks(dir);
  dedup = new Dedup({ store, horizonMs: 30 * 24 * HOUR, hashKey: KEY });
  const t = performance.now();
  dedup.open(max);
  rows.push(row('dedup', `${name}, open again`, performance.now() - t, null, 'ms'));
  await store.close();
}

interface Naive {
  open(options: object): Promise<void>;
  close(): Promise<void>;
  _getManySync(keys: Buffer[]): (Buffer | undefined)[];
  _chainedBatch(): { _put(k: Buffer, v: Buffer): void; _writeSync(o: object): void };
}
async function againstNaive(total: number): Promise<void> {
  const { RocksLevel } = createRequire(import.meta.url)('@nxtedition/rocksdb') as { RocksLevel: new (dir: string) => Naive };
  const naive = new RocksLevel(path.join(root, 'naive'));
  await naive.open({ createIfMissing: true });
  const store = await openRocks(path.join(root, 'ours'));
  const dedup = new Dedup({ store, horizonMs: 30 * 24 * HOUR, hashKey: KEY });
  const run = { total, spanMs: 24 * HOUR, resends: 0.03 },
    events = new EventColumns(SLICE, 0),
    verdict = new Uint8Array(SLICE);
  let oursMs = 0,
    naiveMs = 0,
    batch = naive._chainedBatch(),
    pending = new Set<string>(),
    differ = 0,
    since = 0;
  for (let from = 0; from < total; from += SLICE) {
    slice(events, from, run);
    since += SLICE;
    let t = performance.now();
    dedup.admit(events, verdict);
    if (since >= 100_000) commit(dedup, store);
    oursMs += performance.now() - t;
    t = performance.now();
    const keys = Array.from({ length: events.count }, (_, i) => Buffer.from(events.id.buffer.slice(i * 16, i * 16 + 16)));
    const found = naive._getManySync(keys);
    for (let i = 0; i < keys.length; i++) {
      const name = keys[i]!.toString('latin1'),
        fresh = found[i] === undefined && !pending.has(name);
      if (fresh !== (verdict[i] === FRESH)) differ++;
      if (!fresh) continue;
      pending.add(name);
      const value = Buffer.alloc(12);
      value.writeUInt32LE(events.fingerprint[i]!);
      value.writeDoubleLE(events.time[i]!, 4);
      batch._put(keys[i]!, value);
    }
    if (since >= 100_000) {
      batch._writeSync({ sync: true });
      batch = naive._chainedBatch();
      pending = new Set();
      since = 0;
    }
    naiveMs += performance.now() - t;
  }
  if (differ > 0) throw new Error(`${differ} answers differ from the naive way's`);
  rows.push(
    row(
      'dedup',
      `${total / 1e6}M ids, commits of 100,000 fsynced, against a RocksDB key an id`,
      (oursMs / total) * 1e6,
      (naiveMs / total) * 1e6,
      'ns',
    ),
  );
  await naive.close();
  await store.close();
}

/** `millions` are the identities of the large scenarios. */
export async function benchDedup(quick: boolean, millions = quick ? 1 : 10): Promise<Row[]> {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-bench-dedup-'));
  rows.length = 0;
  try {
    await againstNaive(quick ? 300_000 : 1_000_000);
    if (!quick) await scenario(`${millions}M ids over 24 h`, { total: millions * 1e6, spanMs: 24 * HOUR, resends: 0.03 }, false);
    await scenario(`${millions}M ids over 30 days`, { total: millions * 1e6, spanMs: 720 * HOUR - 1, resends: 0 }, !quick);
    return [...rows];
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

if (import.meta.main) print(await benchDedup(process.argv.includes('--quick')));
