/**
 * What a gate learns of the producers before it: scanners for orders of keys that are kept, from valid records alone, a bounded number,
 * and never for what comes once. That they are exact, the fuzz test says; here is when they are made.
 */
import { expect, test } from 'vitest';
import { compileGate } from '../topology/contract/gate.ts';
import type { CompiledGate } from '../topology/contract/gate.ts';
import { ADS, ADS_PLAN, HASH_KEY, see } from './gate-fixtures.ts';
import { ADS_EVENT } from './gate-mutations.ts';

const NAMES = ADS.fields.map((f) => f.name),
  MANY = 4000;
const gate = (): CompiledGate => compileGate(ADS, ADS_PLAN, 0, HASH_KEY);
type Members = readonly (readonly [string, unknown])[];
const text = (members: Members): string =>
  `{${members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
const known = (order: readonly string[]): Members => order.map((name) => [name, ADS_EVENT[name as keyof typeof ADS_EVENT]]);
const turned = (by: number): string[] => [...NAMES.slice(by), ...NAMES.slice(0, by)];

/** How many of the records took the slow path, half a slice at a time. */
function slowOf(g: CompiledGate, make: (n: number) => string, valid = true): number {
  const before = g.slow;
  for (let from = 0; from < MANY; from += 2000) {
    const { rejected } = see(
      g,
      Array.from({ length: 2000 }, (_, i) => make(from + i)),
    );
    expect(rejected.length).toBe(valid ? 0 : 2000);
  }
  return g.slow - before;
}

test('an order of keys that is kept, with unknown fields among them, soon costs no slow path any more', () => {
  const g = gate(),
    other = text([['v', 1], ...known(turned(3)), ['x', { a: [1, 'é'] }]]);
  const first = slowOf(g, () => other);
  expect(first).toBeGreaterThan(100);
  expect(first).toBeLessThan(1000);
  expect(slowOf(g, () => other)).toBe(0);
  expect(g.learned).toEqual([['v', 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 'x']]);
  // The contract's own order goes on as before, and both may come in turns.
  expect(slowOf(g, (n) => (n % 2 === 0 ? other : text(known(NAMES))))).toBe(0);
});

test('optional fields that come now and then find their place', () => {
  const g = gate(),
    order = turned(3);
  const make = (n: number): string =>
    text(known(order.filter((name) => (name !== 'device' || n % 3 > 0) && (name !== 'auction_id' || n % 5 > 0))));
  slowOf(g, make);
  expect(slowOf(g, make)).toBe(0);
  expect(g.learned.length).toBe(1);
});

test('records that are turned away teach nothing, nor do orders that the contract has, nor names that come once', () => {
  const g = gate(),
    late = text(known(turned(3)).map(([name, value]) => [name, name === 'cost_micros' ? -1 : value]));
  expect(slowOf(g, () => late, false)).toBe(MANY);
  expect(slowOf(g, () => text(known(NAMES)).replace('"event_id"', '"\\u0065vent_id"'))).toBe(MANY);
  expect(slowOf(g, () => text(known(NAMES)).replace('{', '{  '))).toBe(MANY);
  expect(slowOf(g, (n) => text([...known(NAMES), [`name ${n}`, 1]]))).toBe(MANY);
  expect(slowOf(g, () => text([...known(NAMES), ['x'.repeat(100), 1]]))).toBe(MANY);
  expect(slowOf(g, () => text([...known(NAMES), ...Array.from({ length: 40 }, (_, i): [string, number] => [`n${i}`, i])]))).toBe(MANY);
  expect(g.learned).toEqual([]);
});

test('it keeps four, and the one that was asked for least lately makes room', () => {
  const g = gate();
  // Each asks for twice as many as the one before it.
  for (let by = 1; by <= 4; by++) for (let i = 0; i < 2; i++) slowOf(g, () => text(known(turned(by))));
  expect(g.learned.map((layout) => layout[0]).sort()).toEqual([1, 2, 3, 4]);
  slowOf(g, () => text(known(turned(1))));
  for (let i = 0; i < 4; i++) slowOf(g, () => text(known(turned(5))));
  expect(g.learned.map((layout) => layout[0]).sort()).toEqual([1, 3, 4, 5]);
});
