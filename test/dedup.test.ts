import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { MemoryStore } from '../state/memory.ts';
import { openRocks } from '../state/rocksdb.ts';
import type { Store } from '../state/store.ts';
import { CONFLICT, DUPLICATE, EventColumns, EXPIRED, FRESH } from '../topology/batch.ts';
import { Dedup } from '../topology/dedup/dedup.ts';
import type { DedupOptions } from '../topology/dedup/dedup.ts';

const HOUR = 3600000,
  DAY = 24 * HOUR;
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-dedup-'));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

interface Event {
  readonly id: number;
  readonly time: number;
  readonly fp: number;
}

function columns(events: readonly Event[]): EventColumns {
  const out = new EventColumns(Math.max(1, events.length), 0);
  out.count = events.length;
  events.forEach((e, i) => {
    // Little entropy in front, as in a UUIDv7.
    out.id.set([0x01900000, 7, 0x8000, e.id], i * 4);
    out.time[i] = e.time;
    out.fingerprint[i] = e.fp;
  });
  return out;
}

/** The same in the plainest way. */
class Model {
  readonly known = new Map<number, { hour: number; fp: number }>();
  readonly horizon: number;
  max = -1;
  constructor(horizon: number) {
    this.horizon = horizon;
  }
  say(e: Event): number {
    const hour = Math.floor(e.time / HOUR);
    const gone = (h: number) => this.max >= 0 && (h + 1) * HOUR <= this.max - this.horizon;
    if (gone(hour)) return EXPIRED;
    this.max = Math.max(this.max, e.time);
    const before = this.known.get(e.id);
    if (before !== undefined && !gone(before.hour)) return before.fp === e.fp ? DUPLICATE : CONFLICT;
    this.known.set(e.id, { hour, fp: e.fp });
    return FRESH;
  }
}

const SMALL: Partial<DedupOptions> = {
  directorySlots: 256,
  memoryBytesMax: 4000,
  tuning: {
    partEntries: 8,
    segmentEntries: 8,
    chunkBits: 4,
    coldAfterHours: 2,
    compactBytes: 500,
    segmentFill: Infinity,
    segmentsMax: 0,
    segmentsBesideParts: 5,
  },
};

function make(store: Store, horizonMs: number, more: Partial<DedupOptions> = {}): Dedup {
  return new Dedup({ store, horizonMs, hashKey: [1, 2], ...SMALL, ...more });
}
function admit(dedup: Dedup, events: readonly Event[]): number[] {
  const verdict = new Uint8Array(events.length);
  dedup.admit(columns(events), verdict);
  return [...verdict];
}
function commit(dedup: Dedup, store: Store): void {
  const batch = store.batch();
  dedup.write(batch);
  store.commit(batch);
}
/** A small fast generator, so that a long run is one number. */
function random(seed: number): () => number {
  let x = seed >>> 0;
  return () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), 1 | x);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe('dedup', () => {
  it('tells a resend from a conflict, in the slice at hand and later, whatever hour it claims', () => {
    const dedup = make(new MemoryStore(), 30 * DAY);
    const e = { id: 1, time: 100 * DAY, fp: 9 };
    expect(admit(dedup, [e, e, { ...e, fp: 8 }, { ...e, time: 101 * DAY, fp: 7 }, { ...e, id: 2 }])).toEqual([
      FRESH,
      DUPLICATE,
      CONFLICT,
      CONFLICT,
      FRESH,
    ]);
    expect(dedup.maxTime).toBe(101 * DAY);
    expect(admit(dedup, [e, { ...e, time: 90 * DAY, fp: 3 }, { ...e, fp: 8 }])).toEqual([DUPLICATE, CONFLICT, CONFLICT]);
    expect(dedup.stats().identities).toBe(2);
  });

  it('forgets an hour at the very record that moves the boundary to its end', () => {
    const dedup = make(new MemoryStore(), HOUR);
    const at = (time: number, id: number) => ({ id, time, fp: 1 });
    expect(dedup.boundary()).toBe(-Infinity);
    expect(admit(dedup, [at(0, 1), at(2 * HOUR - 1, 2), at(HOUR - 1, 1), at(2 * HOUR, 1), at(HOUR - 1, 3), at(HOUR, 4)])).toEqual([
      FRESH,
      FRESH,
      DUPLICATE,
      FRESH,
      EXPIRED,
      FRESH,
    ]);
    expect(dedup.boundary()).toBe(HOUR);
  });

  it('lets an expired record neither raise the time nor use up its id', () => {
    const dedup = make(new MemoryStore(), DAY);
    expect(
      admit(dedup, [
        { id: 1, time: 50 * DAY, fp: 1 },
        { id: 2, time: DAY, fp: 1 },
        { id: 2, time: 50 * DAY, fp: 2 },
      ]),
    ).toEqual([FRESH, EXPIRED, FRESH]);
    expect(dedup.maxTime).toBe(50 * DAY);
  });

  it('is not misled by an hour that bears the tag of one long forgotten', () => {
    const store = new MemoryStore(),
      dedup = make(store, DAY);
    const start = 1000 * HOUR,
      events = Array.from({ length: 50 }, (_, i) => ({ id: i, time: start, fp: 1 }));
    expect(admit(dedup, events).every((v) => v === FRESH)).toBe(true);
    commit(dedup, store);
    for (const hours of [1023, 2046, 1023 * 1000]) {
      const later = events.map((e) => ({ ...e, time: start + hours * HOUR, fp: 2 }));
      expect(admit(dedup, later).every((v) => v === FRESH)).toBe(true);
      expect(admit(dedup, later).every((v) => v === DUPLICATE)).toBe(true);
    }
    commit(dedup, store);
    expect(dedup.stats().identities).toBe(50);
  });

  it('deletes forgotten hours whole, parts and all', () => {
    const store = new MemoryStore();
    let dedup = make(store, DAY);
    for (let h = 0; h < 20; h++) {
      admit(
        dedup,
        Array.from({ length: 60 }, (_, i) => ({ id: h * 100 + i, time: h * HOUR, fp: 1 })),
      );
      commit(dedup, store);
    }
    expect(dedup.stats().compactions).toBeGreaterThan(5);
    dedup = make(store, DAY);
    dedup.open(19 * HOUR);
    expect(dedup.stats().identities).toBe(1200);
    admit(dedup, [{ id: 1, time: 100 * DAY, fp: 1 }]);
    commit(dedup, store);
    expect(store.keys(Buffer.from('I'), Buffer.from('J')).length).toBe(2);
  });

  it('refuses a state that was made under another hash key, and one that lacks a part or a segment', () => {
    const store = new MemoryStore(),
      dedup = make(store, DAY);
    for (let h = 0; h < 9; h++) {
      admit(
        dedup,
        Array.from({ length: 60 }, (_, i) => ({ id: h * 100 + i, time: h * HOUR, fp: 1 })),
      );
      commit(dedup, store);
    }
    expect(() => make(store, DAY, { hashKey: [1, 3] }).open(8 * HOUR)).toThrow('another hash key');
    const keys = store.keys(Buffer.from('I'), Buffer.from('J'));
    for (const kind of [2, 1]) {
      const key = keys.findLast((k) => k[5] === kind)!,
        value = store.get(key)!;
      let batch = store.batch();
      batch.del(key);
      store.commit(batch);
      expect(() => make(store, DAY).open(8 * HOUR), `kind ${kind}`).toThrow(' not ');
      batch = store.batch();
      batch.put(key, value);
      store.commit(batch);
      make(store, DAY).open(8 * HOUR);
    }
  });

  it('compacts in one commit hours that are in memory and hours that are not, under the tightest bound', () => {
    const store = new MemoryStore(),
      tuning = { ...SMALL.tuning, chunkBits: 16, compactBytes: 0 };
    let dedup = make(store, 30 * DAY, { memoryBytesMax: 1e9, tuning });
    const hours = (from: number, to: number, first: number) =>
      Array.from({ length: (to - from) * 40 }, (_, i) => ({ id: first + i, time: (from + Math.floor(i / 40)) * HOUR, fp: 1 }));
    admit(dedup, [...hours(0, 10, 0), { id: 1e6, time: 50 * HOUR, fp: 1 }]);
    commit(dedup, store);
    dedup = make(store, 30 * DAY, { memoryBytesMax: 100, tuning: { ...tuning, compactBytes: 1e6 } });
    dedup.open(50 * HOUR);
    const more = hours(10, 20, 10_000);
    expect(admit(dedup, more).every((v) => v === FRESH)).toBe(true);
    commit(dedup, store);
    expect(dedup.stats()).toMatchObject({ compactions: 20, identities: 801 });
    expect(admit(dedup, [...hours(0, 10, 0), ...more]).every((v) => v === DUPLICATE)).toBe(true);
  });

  it('counts identities and keeps its memory near its bound', () => {
    const store = new MemoryStore(),
      dedup = make(store, 30 * DAY, { memoryBytesMax: 100_000 });
    for (let i = 0; i < 100; i++) {
      admit(
        dedup,
        Array.from({ length: 500 }, (_, j) => ({ id: i * 500 + j, time: i * HOUR, fp: 1 })),
      );
      commit(dedup, store);
    }
    admit(dedup, [{ id: 0, time: 0, fp: 1 }]);
    expect(dedup.stats()).toMatchObject({ identities: 50_000, hours: 100 });
    expect(dedup.stats().memoryBytes).toBeLessThan(150_000);
    const resend = Array.from({ length: 50_000 }, (_, i) => ({ id: i, time: 99 * HOUR, fp: i % 2 }));
    expect(admit(dedup, resend).every((v, i) => v === (i % 2 === 1 ? DUPLICATE : CONFLICT))).toBe(true);
  });
});

describe('an hour with more identities than fit into memory', () => {
  const HOURLY = 40_000,
    slice = (from: number, count: number, fp = 1) => Array.from({ length: count }, (_, i) => ({ id: from + i, time: 5 * HOUR, fp }));
  const grown = (store: Store): Dedup => {
    const dedup = make(store, 30 * DAY, { memoryBytesMax: 100_000 });
    for (let from = 0; from < HOURLY; from += 500) {
      expect(admit(dedup, slice(from, 500)).every((v) => v === FRESH)).toBe(true);
      commit(dedup, store);
    }
    return dedup;
  };

  it('goes on without reading what it holds, within the bound', () => {
    const dedup = grown(new MemoryStore());
    expect(dedup.stats()).toMatchObject({ identities: HOURLY, hourLoads: 0, pointReads: 0 });
    admit(dedup, slice(HOURLY, 1));
    expect(dedup.stats().memoryBytes).toBeLessThan(100_000);
  });

  it('answers for the oldest and the newest of them, one read of the store a question at most', () => {
    const store = new MemoryStore(),
      dedup = grown(store);
    expect(admit(dedup, slice(0, 50)).every((v) => v === DUPLICATE)).toBe(true);
    expect(admit(dedup, slice(HOURLY - 50, 50, 2)).every((v) => v === CONFLICT)).toBe(true);
    expect(dedup.stats()).toMatchObject({ hourLoads: 0, pointReads: 50 });
    const again = make(store, 30 * DAY);
    again.open(dedup.maxTime);
    expect(admit(again, [...slice(0, HOURLY), ...slice(HOURLY, 50)]).filter((v) => v === FRESH).length).toBe(50);
  });

  it('outgrows its directory a little at a time, and answers meanwhile', () => {
    const store = new MemoryStore(),
      dedup = make(store, 30 * DAY, { directorySlots: 4096, memoryBytesMax: 10_000 });
    let begun = 0;
    for (let known = 0; known < HOURLY; known += 10) {
      const before = dedup.stats();
      expect(admit(dedup, slice(known, 10)).every((v) => v === FRESH)).toBe(true);
      expect(admit(dedup, [...slice(known >> 1, 3), ...slice(known, 3)]).every((v) => v === DUPLICATE)).toBe(true);
      const now = dedup.stats();
      // Another one was begun with, and the old one still answers.
      if (now.rebuilds > before.rebuilds && now.directoryBytes === before.directoryBytes) begun++;
      if (known % 70 === 0) commit(dedup, store);
    }
    expect(begun).toBe(dedup.stats().rebuilds);
    expect(begun).toBeGreaterThan(2);
    expect(admit(dedup, slice(0, HOURLY)).every((v) => v === DUPLICATE)).toBe(true);
  });
});

it('misses no identity of an hour that is due for other parts while the directory is made anew', () => {
  const store = new MemoryStore(),
    tuning = { ...SMALL.tuning, compactBytes: 1e6 },
    dedup = make(store, 30 * DAY, { directorySlots: 4096, tuning }),
    of = (hour: number, from: number, count: number) =>
      Array.from({ length: count }, (_, i) => ({ id: from + i, time: hour * HOUR, fp: 1 }));
  admit(dedup, [...of(5, 0, 2860), ...of(50, 10_000, 1)]);
  commit(dedup, store);
  expect(dedup.stats()).toMatchObject({ compactions: 1, rebuilds: 0 });
  const size = dedup.stats().directoryBytes;
  // Late ones, one by one: enough segments for the parts to be made again.
  let late = 0;
  for (; late < 1000 && dedup.stats().directoryBytes === size; late++) {
    admit(dedup, of(5, 20_000 + late, 1));
    commit(dedup, store);
  }
  expect(late).toBeGreaterThan(100);
  expect(dedup.stats().rebuilds).toBe(1);
  commit(dedup, store);
  expect(dedup.stats().compactions).toBeGreaterThan(1);
  expect(admit(dedup, [...of(5, 0, 2860), ...of(5, 20_000, late)]).filter((v) => v !== DUPLICATE)).toEqual([]);
});

const stores: [string, number, () => Promise<Store>, (s: Store) => Promise<Store>][] = [
  ['memory', 40, () => Promise.resolve(new MemoryStore()), (s) => Promise.resolve((s as MemoryStore).fork())],
  [
    'rocksdb',
    4,
    () => openRocks(dirOf()),
    async (s) => {
      await s.close();
      return openRocks(root + `/r${dirs}`);
    },
  ],
];
let dirs = 0;
const dirOf = () => path.join(root, `r${++dirs}`);

/** A stream with jumps, late events and resends, cut at random into slices, commits and restarts from the last commit. */
async function compare(seed: number, open: () => Promise<Store>, reopen: (s: Store) => Promise<Store>): Promise<Set<number>> {
  const r = random(seed),
    int = (n: number) => Math.floor(r() * n),
    pick = <T>(a: readonly T[]): T => a[int(a.length)]!;
  const horizon = pick([HOUR, 1.5 * HOUR, 7 * HOUR, 3 * DAY, 30 * DAY, 42 * DAY]);
  const spread = pick([0.2, 1, 1.1]) * horizon,
    idSpace = pick([50, 800, 4000]);
  const more: Partial<DedupOptions> = {
    memoryBytesMax: pick([0, 4000, 100_000, 1 << 28]),
    hashKey: [int(2 ** 32), seed],
    tuning: { ...SMALL.tuning, chunkBits: pick([2, 4, 7]), segmentFill: pick([0, 4, Infinity]) },
  };
  let store = await open(),
    dedup = make(store, horizon, more),
    model = new Model(horizon);
  let now = pick([0, 500 * DAY]),
    sent: Event[] = [];
  let saved = { max: -1, known: new Map(model.known), now, sent: 0 };
  const seen = new Set<number>();
  for (let step = 0; step < 120; step++) {
    const events: Event[] = [];
    for (let n = int(pick([4, 130, 300])); n > 0; n--) {
      now += pick([0, 1, 1000, HOUR / 20, r() < 0.02 ? HOUR * 5 : 0, r() < 0.002 ? 1023 * HOUR : 0, r() < 0.0005 ? 400 * DAY : 0]);
      const old = sent.length > 0 && r() < 0.3 ? pick(sent) : null;
      const time = Math.max(0, Math.floor(now - r() ** 3 * spread));
      const event =
        old === null
          ? { id: int(idSpace), time, fp: int(2) }
          : { id: old.id, time: r() < 0.5 ? old.time : time, fp: r() < 0.7 ? old.fp : int(3) };
      events.push(event);
      sent.push(event);
    }
    const want = events.map((e) => model.say(e)),
      got: number[] = [];
    for (let from = 0; from < events.length;) {
      const to = Math.min(events.length, from + 1 + int(pick([3, 70, 400])));
      got.push(...admit(dedup, events.slice(from, to)));
      from = to;
    }
    expect(got, `seed ${seed}, step ${step}`).toEqual(want);
    expect(dedup.maxTime).toBe(model.max);
    for (const v of want) seen.add(v);
    if (r() < 0.4) {
      commit(dedup, store);
      saved = { max: model.max, known: new Map(model.known), now, sent: sent.length };
    }
    if (r() < 0.08) {
      store = await reopen(store);
      model = new Model(horizon);
      model.max = saved.max;
      for (const [id, at] of saved.known) model.known.set(id, at);
      now = saved.now;
      sent = sent.slice(0, saved.sent);
      dedup = make(store, horizon, more);
      dedup.open(saved.max);
    }
  }
  // Nothing is left of what is forgotten: not of hours, nor of compactions that were cut off.
  admit(dedup, [{ id: idSpace, time: dedup.maxTime + 60 * DAY, fp: 1 }]);
  commit(dedup, store);
  expect(store.keys(Buffer.from('I'), Buffer.from('J')).length, `seed ${seed}`).toBe(2);
  await store.close();
  return seen;
}

describe.each(stores)('dedup on the %s store', (_name, runs, open, reopen) => {
  it('agrees with a map of all ids, record by record, however the stream is cut', async () => {
    const seen = new Set<number>();
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        for (const v of await compare(seed, open, reopen)) seen.add(v);
      }),
      { numRuns: runs, seed: 20260101, endOnFailure: true },
    );
    expect([...seen].sort()).toEqual([FRESH, DUPLICATE, CONFLICT, EXPIRED]);
  }, 60_000);
});
