/**
 * The oracle's columns against plain Maps, objects and bigints: whatever is put in comes out, however many rows and however large the
 * numbers; and the differences that they lead to are the ones that the naive way finds.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cells, keyText, merge } from '../src/verify/cells.ts';
import type { Measure } from '../src/verify/cells.ts';
import { HashIndex, withRoom } from '../src/verify/hash-index.ts';
import { Identities, hourEnd } from '../src/verify/identities.ts';
import type { Partition } from '../src/verify/identities.ts';
import type { Value } from '../src/verify/judge.ts';
import { Differences } from '../src/verify/model.ts';
import { showKey, showKeyText } from '../src/verify/tables.ts';
import { contract, field, measure, plan } from './gate-fixtures.ts';

const HOUR = 3_600_000,
  DAY = 24 * HOUR;
const CONTRACT = contract([
  field('event_id', 'string'),
  field('event_time', 'timestamp'),
  field('name', 'string'),
  field('shop', 'integer'),
  field('n', 'integer', { required: false }),
  field('f', 'number', { required: false }),
]);
const of = (kind: 'sum' | 'min' | 'max', name: string): ReturnType<typeof measure> =>
  measure(`${kind}_${name}`, { kind, field: name, type: name === 'f' ? 'float64' : 'int64' });
const PLAN = {
  ...plan(
    [
      { name: 'name', type: 'string' },
      { name: 'shop', type: 'integer' },
    ],
    [
      measure('all', { kind: 'count', field: null }),
      measure('twos', { kind: 'count', field: null, where: [{ field: 'n', equals: 2 }] }),
      of('sum', 'n'),
      of('min', 'n'),
      of('max', 'n'),
      of('min', 'f'),
      of('max', 'f'),
    ],
  ),
  tables: [
    { name: 'hourly', size: 'hour' as const, zone: 'UTC' },
    { name: 'daily', size: 'day' as const, zone: 'Asia/Kathmandu' },
  ],
};

test('rows are found by their hash, however many there are and however alike their hashes', () => {
  const ROWS = 5000,
    index = new HashIndex();
  const hash = (row: number): number => (row % 20 === 0 ? 7 : row * 1024);
  let column = new Uint32Array(4);
  for (let i = 0; i < ROWS; i++) {
    let row = index.first(hash(i));
    while (row >= 0) row = index.next();
    row = index.add();
    expect(row).toBe(i);
    column = withRoom(column, index.count);
    column[row] = i;
  }
  for (let i = 0; i < ROWS; i++) {
    let row = index.first(hash(i));
    while (row >= 0 && column[row] !== i) row = index.next();
    expect(row).toBe(i);
  }
  expect(index.first(5)).toBe(-1);
});

/** As events give integers: a bigint when a double cannot hold it. */
const exact = (n: bigint): number | bigint => (Number.isSafeInteger(Number(n)) ? Number(n) : n);
const integers = fc.oneof(
  fc.constantFrom(2n, 2n ** 53n - 1n, 2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n), 0n),
  fc.bigInt({ min: -1000n, max: 1000n }),
);
const event = fc.record({
  time: fc.oneof(fc.integer({ min: 0, max: HOUR }), fc.integer({ min: 0, max: 60 * HOUR })),
  name: fc.oneof(fc.constant('a'), fc.constantFrom('', 'a|1', '1', '|', 'ü', 'null')),
  shop: fc.oneof(fc.constant(0), fc.constantFrom<number | bigint>(-1, 12, 2n ** 60n)),
  n: fc.option(integers.map(exact)),
  f: fc.option(fc.constantFrom(0, -0.5, 1e300, 5e-324, 3)),
});

test('cells hold exactly what plain sums over the same events hold', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const cells = new Cells(PLAN, [CONTRACT]),
        hours = cells.tables.get('hourly')!,
        naive = new Map<string, Measure[]>();
      for (const e of events) {
        const values: Value[] = ['x', e.time, e.name, e.shop, e.n, e.f];
        cells.add(0, e.time, values);
        const place = `${Math.floor(e.time / HOUR) * HOUR} ${keyText([e.name, e.shop])}`;
        const [all, twos, sum, ...ends] = naive.get(place) ?? [0n, 0n, 0n, null, null, null, null];
        const n = e.n === null ? null : BigInt(e.n);
        const both = [merge('min', ends[0]!, n), merge('max', ends[1]!, n), merge('min', ends[2]!, e.f), merge('max', ends[3]!, e.f)];
        naive.set(place, [(all as bigint) + 1n, (twos as bigint) + (n === 2n ? 1n : 0n), (sum as bigint) + (n ?? 0n), ...both]);
      }
      expect(hours.count).toBe(naive.size);
      for (const [place, measures] of naive) {
        const cut = place.indexOf(' '),
          cell = hours.find(Number(place.slice(0, cut)), place.slice(cut + 1));
        expect(hours.values(cell)).toEqual(measures);
        expect([`${hours.start(cell)} ${hours.keyText(cell)}`, hours.end(cell) - hours.start(cell)]).toEqual([place, HOUR]);
      }
      const days = cells.tables.get('daily')!;
      expect(Array.from({ length: days.count }, (_, c) => days.values(c)[0] as bigint).reduce((a, b) => a + b, 0n)).toBe(
        BigInt(events.length),
      );
      expect(hours.find(-HOUR, keyText(['a', 0]))).toBe(-1);
    }),
  );
});

test('a key is shown from its text as from its values', () => {
  for (const key of [
    ['', 0],
    ['a|1|b', -5],
    ['5|x', 2n ** 60n],
    ['é😀', 12],
  ] as Value[][])
    expect(showKeyText(PLAN, keyText(key))).toBe(showKey(PLAN, key));
});

interface Seen {
  readonly content: string;
  readonly time: number;
  readonly at: number;
  readonly offset: number;
  spread: boolean;
}

test('ids and contents are told apart as plain texts tell them apart, over thousands of rows and several partitions', () => {
  const places: Partition[] = [0, 1, 2].map((partition) => ({ topic: 't', partition }));
  const record = fc.record({
    id: fc.nat(400),
    content: fc.nat(2),
    hour: fc.nat(80),
    as: fc.constantFrom('counts', 'counts', 'counts', 'conflict', 'expire'),
  });
  fc.assert(
    fc.property(fc.array(record, { maxLength: 800, size: 'max' }), fc.boolean(), (records, uuids) => {
      const identities = new Identities(DAY),
        differences = new Differences(10_000),
        naive = new Map<string, Seen[]>(),
        due: string[] = [];
      const conflicts: { id: string; content: string; at: number; offset: number }[] = [],
        expired: { time: number; at: number; offset: number }[] = [];
      let highest = -1;
      for (const [i, r] of records.entries()) {
        const at = Math.floor((3 * i) / records.length),
          offset = i,
          time = r.hour * HOUR,
          content = `content ${r.content}`;
        const id = uuids ? `018f3c1e-7a2b-7c4d-9e5f-${r.id.toString(16).padStart(12, '0')}` : `id ${r.id}`;
        if (r.as === 'expire') {
          identities.expire(time, { at: places[at]!, offset });
          expired.push({ time, at, offset });
          continue;
        }
        identities.accept(time);
        highest = Math.max(highest, time);
        if (r.as === 'conflict') {
          identities.conflict(id, content, { at: places[at]!, offset });
          conflicts.push({ id, content, at, offset });
          continue;
        }
        const all = naive.get(id) ?? [],
          same = all.find((s) => s.content === content);
        naive.set(id, all);
        expect(identities.counts(id, content, time, places[at]!, offset)).toBe(same === undefined);
        if (same === undefined) all.push({ content, time, at, offset, spread: false });
        else if (same.at !== at) same.spread = true;
      }
      identities.check(differences);
      const remembered = (time: number): boolean => hourEnd(time) > highest - DAY;
      for (const e of expired) if (remembered(e.time)) due.push(`t/${e.at}@${e.offset}`);
      for (const c of conflicts)
        if (!(naive.get(c.id) ?? []).some((s) => s.content !== c.content && (s.spread || s.at !== c.at || s.offset < c.offset)))
          due.push(`t/${c.at}@${c.offset}`);
      for (const all of naive.values()) {
        const left = all.filter((s) => remembered(s.time));
        if (left.length > 1) due.push(`t/${left.at(-1)!.at}@${left.at(-1)!.offset}`);
      }
      expect(differences.shown.map((d) => d.where).sort()).toEqual(due.sort());
    }),
    { numRuns: 60 },
  );
});
