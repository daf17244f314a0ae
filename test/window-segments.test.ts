import { expect, test } from 'vitest';
import { MemoryStore } from '../state/memory.ts';
import type { Store } from '../state/store.ts';
import type { Plan } from '../topology/plan.ts';
import { addEventsText, OverflowError, rowShape } from '../topology/window/accumulators.ts';
import { KeyTable } from '../topology/window/keys.ts';
import { FAN, LevelBook, WHOLE } from '../topology/window/levels.ts';
import { Windows, ZoneRulesError } from '../topology/window/windows.ts';
import { segmentKey } from '../topology/window/segments.ts';
import { Shelf } from '../topology/window/shelf.ts';
import { CORRECTED } from '../topology/window/window.ts';
import { changesLayout, rowsLayout } from '../topology/write/layout.ts';
import { insertTarget } from '../topology/write/layout.ts';
import { columnsOf, decodeRows, fairHash, testPlan } from './window-model.ts';
import type { Decoded, TestEvent } from './window-model.ts';

const HOUR = 3_600_000,
  T = Date.parse('2024-05-01T00:00:00Z');
const plan = testPlan([
  { name: 'hourly', size: 'hour', zone: 'UTC' },
  { name: 'daily', size: 'day', zone: 'UTC' },
]);
let offset = 0;
const event = (more: Partial<TestEvent> = {}): TestEvent => ({
  source: 0,
  time: T,
  verdict: 0,
  offset: offset++,
  partition: 0,
  name: 'a',
  number: 1n,
  flag: true,
  cost: 1n,
  size: 1n,
  ratio: 1,
  seen: T,
  paid: true,
  ...more,
});
interface Emitted {
  target: string;
  rows: number;
  body: Uint8Array;
}

class Machine {
  store: Store;
  windows: Windows;
  version = 0;
  readonly plan: Plan;
  constructor(store: Store, p = plan) {
    this.store = store;
    this.plan = p;
    this.windows = new Windows({ plan: p, shard: 0, generation: 1, store });
    this.windows.open(-1);
  }
  add(...events: TestEvent[]): void {
    const { columns, records, verdict } = columnsOf(this.plan, events[0]!.source, events, fairHash);
    this.windows.add(events[0]!.source, columns, verdict, { topic: 'views', partition: 2, records }, new Uint8Array(events.length));
  }
  commit(watermark = -1, more: { boundary?: number; provisional?: boolean } = {}): Emitted[] {
    const batch = this.store.batch(),
      emitted: Emitted[] = [];
    this.windows.commit({
      watermark,
      boundary: -Infinity,
      version: ++this.version,
      changedAt: 0,
      provisional: false,
      batch,
      emit: (target, rows, body) => emitted.push({ target, rows, body }),
      ...more,
    });
    this.store.commit(batch);
    return emitted;
  }
}
const decode = (emitted: Emitted[], table: number, what: 'rows' | 'changes'): Decoded[] => {
  const layout = (what === 'rows' ? rowsLayout : changesLayout)(plan, plan.tables[table]!, 1);
  return emitted.filter((e) => e.target === insertTarget(layout)).flatMap((e) => decodeRows(layout, e.body));
};

test('a window that a thousand commits touch has few segments, and reads back whole', () => {
  const store = new MemoryStore(),
    m = new Machine(store);
  for (let n = 0; n < 1000; n++) {
    m.add(event({ number: BigInt(n % 97), name: n % 7 === 0 ? `new ${n}` : 'a', cost: BigInt(n) }));
    m.commit();
    expect(store.keys(segmentKey(1, 0, 0, 0), segmentKey(2, 0, 0, 0)).length).toBeLessThanOrEqual(FAN * 4);
  }
  const again = new Machine(store),
    finals = [m, again].map((x) => {
      x.version = 5000;
      return decode(x.commit(T + 48 * HOUR), 1, 'changes').map((r) => ({ ...r }));
    });
  expect(finals[1]).toEqual(finals[0]);
  expect(finals[0]!.reduce((sum, r) => sum + (r['cost'] as bigint), 0n)).toBe(499_500n);
});

test('a segment of a level holds what its lower ones held, and they go', () => {
  const book = new LevelBook();
  for (let n = 0; n < FAN; n++) book.wrote(book.plan(false), 1, 10 + n);
  expect(book.plan(false)).toEqual({ level: 1, firstNew: 0, replaced: [0, 1, 2, 3, 4, 5, 6, 7] });
  expect(book.wrote(book.plan(false), 2, 20)).toBe(8);
  expect(book.plan(false)).toEqual({ level: 0, firstNew: 20, replaced: [] });
  book.wrote(book.plan(false), 1, 25);
  expect(book.plan(true)).toEqual({ level: WHOLE, firstNew: 0, replaced: [8, 9, 10] });
  book.wrote(book.plan(true), 3, 25);
  expect(book.segments).toBe(3);
});

test('a large window is stored in parts of bounded size and sent in chunks', () => {
  const store = new MemoryStore(),
    m = new Machine(store),
    keys = 60_000;
  for (let n = 0; n < keys; n += 4000) {
    m.add(
      ...Array.from({ length: 4000 }, (_, k) =>
        event({ name: `${n + k} ${'y'.repeat(60)}`, cost: BigInt(n + k) * 2n ** 33n, ratio: 0.1 * k }),
      ),
    );
  }
  const emitted = m.commit(T + 48 * HOUR);
  expect(Math.max(...emitted.map((e) => e.body.length))).toBeLessThan(4.1 * 2 ** 20);
  expect(Math.max(...emitted.map((e) => e.rows))).toBeLessThanOrEqual(50_000);
  // Table by table, rows before changes.
  expect([...new Set(emitted.map((e) => e.target.replace(/ .*/, '')))]).toEqual([
    'hourly_g1_rows',
    'hourly_changes_g1_rows',
    'daily_g1_rows',
    'daily_changes_g1_rows',
  ]);
  expect(new Set(emitted.map((e, i) => (e.target === emitted[i - 1]?.target ? '' : e.target))).size).toBe(5);
  const values = store.range(segmentKey(0, 0, 0, 0), segmentKey(1, 0, 0, 0)).map(([, v]) => v.length);
  expect(values.length).toBeGreaterThan(1);
  expect(Math.max(...values)).toBeLessThan(5 * 2 ** 20);
  const again = new Machine(store);
  again.version = 7;
  again.add(event({ name: `59999 ${'y'.repeat(60)}`, cost: 3n }));
  const [from, to] = decode(again.commit(T + 48 * HOUR), 1, 'changes');
  expect([from!['op'], from!['cost'], to!['op'], to!['cost'], to!['cause']]).toEqual([
    '-U',
    59_999n * 2n ** 33n,
    '+U',
    59_999n * 2n ** 33n + 3n,
    `late views/2@${offset - 1}`,
  ]);
});

test('a sum of exactly the least and the greatest 64-bit number is fine, one more stops with table, measure, window and key', () => {
  const m = new Machine(new MemoryStore()),
    top = 2n ** 63n - 1n;
  m.add(event({ cost: top - 1n }), event({ cost: 1n }), event({ name: 'b', cost: -top }), event({ name: 'b', cost: -1n }));
  expect(decode(m.commit(-1, { provisional: true }), 0, 'rows').map((r) => r['cost'])).toEqual([top, -top - 1n]);
  for (const [name, cost] of [
    ['a', 1n],
    ['b', -1n],
  ] as const) {
    let thrown: unknown;
    try {
      m.add(event({ name, cost, number: 1n }));
    } catch (e) {
      thrown = e;
    }
    expect(thrown).toBeInstanceOf(OverflowError);
    expect(thrown).toMatchObject({ table: 'hourly', measure: 'cost', windowStart: T, key: `name="${name}", number=1, flag=true` });
    expect(String(thrown)).toContain('2024-05-01T00:00:00.000Z');
  }
});

test('after an overflow the state is as it was at the last commit', () => {
  const store = new MemoryStore(),
    m = new Machine(store);
  m.add(event({ cost: 2n ** 63n - 1n }));
  m.commit();
  expect(() => m.add(event({ cost: 1n }))).toThrow(OverflowError);
  expect(decode(new Machine(store).commit(T + 48 * HOUR), 0, 'rows').map((r) => r['cost'])).toEqual([2n ** 63n - 1n]);
});

test('a late event that changes no value of a row that exists says nothing', () => {
  const m = new Machine(new MemoryStore());
  m.add(event());
  m.commit(T + 48 * HOUR);
  m.add(event({ source: 2 }));
  expect(m.commit(T + 48 * HOUR)).toEqual([]);
  m.add(event({ source: 2, name: 'new' }), event({ source: 2, name: 'new' }));
  expect(decode(m.commit(T + 48 * HOUR), 0, 'changes').map((r) => [r['op'], r['name'], r['cause']])).toEqual([
    ['+I', 'new', `late views/2@${offset - 2} and 1 more`],
  ]);
});

test('a row that was corrected is known as such after a restart, the others are not', () => {
  const store = new MemoryStore(),
    m = new Machine(store),
    shape = rowShape(plan);
  m.add(event(), event({ name: 'b' }));
  m.commit(T + 48 * HOUR);
  m.add(event({ name: 'b' }));
  m.commit(T + 48 * HOUR);
  const w = new Shelf(store, 2, shape, new KeyTable()).load(0, T, T + HOUR, true);
  expect([...w.state.subarray(0, w.rows)].map((s) => s & CORRECTED)).toEqual([0, CORRECTED]);
});

test('an open window that the boundary passes becomes final in that commit, and leaves nothing in the store', () => {
  const store = new MemoryStore(),
    m = new Machine(store);
  m.add(event());
  m.commit(-1);
  expect(store.keys(segmentKey(0, 0, 0, 0), segmentKey(2, 0, 0, 0)).length).toBe(2);
  const emitted = m.commit(-1, { boundary: T + 3 * HOUR });
  expect([decode(emitted, 0, 'changes').map((r) => r['op']), decode(emitted, 1, 'changes')]).toEqual([['+I'], []]);
  expect(store.keys(segmentKey(0, 0, 0, 0), segmentKey(2, 0, 0, 0)).length).toBe(1);
  expect(() => m.add(event())).toThrow('is forgotten');
  m.commit(-1, { boundary: T + 30 * HOUR });
  expect(store.keys(segmentKey(0, 0, 0, 0), segmentKey(2, 0, 0, 0)).length).toBe(0);
  expect(m.windows.stats()).toMatchObject({ openWindows: 0, cachedWindows: 0, storedWindows: 0, rows: 0 });
});

test('finality is taken from the store, whatever watermark open is given', () => {
  const store = new MemoryStore(),
    m = new Machine(store);
  m.add(event());
  expect(m.commit(T + 2 * HOUR).length).toBe(2);
  const again = new Windows({ plan, shard: 0, generation: 1, store });
  again.open(T + 48 * HOUR);
  expect(again.lastOpenEnd()).toBe(T + 24 * HOUR);
  expect(again.unsentRows).toBe(1);
});

test('windows that other zone rules have cut are refused', () => {
  const store = new MemoryStore(),
    m = new Machine(store, testPlan([{ name: 'daily', size: 'day', zone: 'Asia/Kolkata' }]));
  m.add(event());
  m.commit();
  const moved = testPlan([{ name: 'daily', size: 'day', zone: 'Europe/Berlin' }]);
  expect(() => new Windows({ plan: moved, shard: 0, generation: 1, store }).open(-1)).toThrow(ZoneRulesError);
});

test('keys keep their bytes when others are dropped, and equal hashes are told apart', () => {
  const keys = new KeyTable(),
    bytes = (n: number): Buffer => Buffer.from(`key number ${n}`);
  const intern = (n: number): number => {
    const b = bytes(n);
    return keys.intern(n % 7, b, new DataView(b.buffer, b.byteOffset, b.length), 0, b.length);
  };
  for (let n = 0; n < 5000; n++) expect(intern(n)).toBe(n);
  const used = Uint8Array.from({ length: 5000 }, (_, n) => (n % 10 === 3 ? 1 : 0)),
    map = keys.renumber(used);
  expect(keys.count).toBe(500);
  expect([map[0], map[3], map[4993]]).toEqual([-1, 0, 499]);
  for (const n of [3, 13, 4993]) {
    expect(intern(n)).toBe(map[n]);
    expect(Buffer.from(keys.arena.subarray(keys.startOf(map[n]!), keys.endOf(map[n]!))).toString()).toBe(`key number ${n}`);
  }
  expect(intern(0)).toBe(500);
});

test("a job's text cannot leave the comment of the generated step", () => {
  const evil = testPlan([]),
    measures = [{ ...evil.measures[1]!, where: [{ field: 'paid', equals: '\u2028throw 1\n' }] }];
  expect(addEventsText({ ...evil, measures }, 0, rowShape({ ...evil, measures }))).not.toMatch(/[\u2028]|^\s*throw/m);
});
