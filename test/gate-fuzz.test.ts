/**
 * A million mutated events with a fixed seed through both paths: verdicts and columns may not differ in one byte, and whether a
 * record is one JSON object is what JSON.parse, a strict UTF-8 decoder and a walk over the tokens say. The same for producers with an order of
 * keys and with fields of their own, for whom the gate learns scanners.
 */
import { expect, test } from 'vitest';
import { compileGate } from '../topology/contract/gate.ts';
import type { Contract } from '../topology/contract/model.ts';
import { ADS, ADS_PLAN, ALL, ALL_EVENT, ALL_PLAN, HASH_KEY } from './gate-fixtures.ts';
import { ADS_EVENT, agree, baseOf, mutate, SLICE, Slices, TOKENS } from './gate-mutations.ts';
import type { Base } from './gate-mutations.ts';
import { pick, random } from './gate-tokens.ts';

const EVENTS = 1_000_000,
  LEARNED_EVENTS = 240_000;

function bases(event: Record<string, unknown>, contract: Contract): Base[] {
  const optional = new Set(contract.fields.filter((f) => !f.required).map((f) => f.name));
  const names = Object.keys(event);
  return Array.from({ length: 200 }, (_, i) => {
    const left = names.filter((n) => i % 4 !== 1 || random(optional.has(n) ? 3 : 200) > 0);
    if (i % 10 === 3) left.sort(() => random(3) - 1);
    return baseOf(
      left.map((n) => [n, i % 5 === 2 && random(optional.has(n) ? 3 : 200) === 0 ? null : event[n]]),
      i % 3 === 1 ? ', ' : ',',
      i % 3 === 1 ? ': ' : ':',
    );
  });
}

test('a million mutated events have the same verdict and the same columns on both paths', { timeout: 240_000 }, () => {
  const codes = new Set<string>(),
    slices = new Slices();
  let valid = 0,
    shortcut = 0,
    seen = 0;
  const sources = [
    { contract: ALL, plan: ALL_PLAN, from: bases(ALL_EVENT, ALL) },
    { contract: ADS, plan: ADS_PLAN, from: bases(ADS_EVENT, ADS) },
  ];
  for (const { contract, plan, from } of sources) {
    const fast = compileGate(contract, plan, 0, HASH_KEY),
      slow = compileGate(contract, plan, 0, HASH_KEY, { path: 'slow' });
    for (let done = 0; done < EVENTS / sources.length; done += SLICE) {
      const rejected = agree(
        slices.fill((_, to, at) => mutate(pick(from), to, at)),
        fast,
        slow,
      );
      for (const { code } of rejected) codes.add(code);
      seen += SLICE;
      valid += SLICE - rejected.length;
    }
    shortcut += EVENTS / sources.length - fast.slow;
  }
  // The fuzz is worth something only if it reaches all verdicts, and the fast path.
  expect(seen).toBe(EVENTS);
  expect(valid).toBeGreaterThan(EVENTS / 5);
  expect(shortcut).toBeGreaterThan(EVENTS / 8);
  expect([...codes].sort()).toEqual(CODES);
});

const CODES = ['FUTURE_TIME', 'INVALID_VALUE', 'MISSING_FIELD', 'TYPE_MISMATCH', 'UNPARSEABLE', 'VALUE_OUT_OF_RANGE'];

/** What an unknown field may hold, and what it may not. */
const UNREAD: readonly unknown[] = [
  'plain',
  'Zoë 😀 ',
  'tab\tand "quote" \\',
  -0.5e-7,
  1e21,
  true,
  false,
  null,
  [],
  {},
  [1, [2, ['x']], { a: null }],
  { a: 1, b: { a: 'é', c: [] }, aa: '' },
];
const ODD = [
  '"\\u0041\\n"',
  '"\\ud83d\\ude00"',
  '"\\ud83d"',
  '{"a":1,"\\u0061":2}',
  '{"a":{"b":1,"b":2}}',
  '{"b":{"b":1},"c":[{"b":2}]}',
  '{"a":{"b":1},"a":2}',
]
  .concat([
    '[1,]',
    '{"a"}',
    '{"a":1,}',
    '[ 1]',
    '{ "a": 1}',
    '[1 ]',
    '01',
    '-',
    '1.',
    '1e',
    '1e+',
    '-01',
    '00',
    '"\\x"',
    '"\\u12g4"',
    'nulll',
    'tru',
    '[[[[[[[[[1]]]]]]]]]',
  ])
  .map((t) => Buffer.from(t));

/** A producer's own order of the event's keys, all but a few optional ones, five more among them, and 60 events as it writes them. */
function producer(event: Record<string, unknown>, contract: Contract, spaced: boolean): Base[] {
  const optional = new Set(contract.fields.filter((f) => !f.required).map((f) => f.name));
  const known = Object.keys(event).filter((n) => !optional.has(n) || random(3) > 0);
  const names = [...known, 'x', 'schema version', 'event_id2', '__proto__', 'a.much.longer.name/of_a_field'];
  for (let i = names.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [names[i], names[j]] = [names[j]!, names[i]!];
  }
  return Array.from({ length: 60 }, (_, k) => {
    const left = names.filter((n) => k % 3 === 0 || event[n] === undefined || !optional.has(n) || random(4) > 0);
    const members = left.filter((n) => k % 3 === 0 || Object.hasOwn(event, n) || random(5) > 0);
    return baseOf(
      members.map((n) => [n, Object.hasOwn(event, n) ? event[n] : pick(UNREAD)]),
      spaced ? ', ' : ',',
      spaced ? ': ' : ':',
    );
  });
}

test('producers with keys in an order of their own, and fields that nobody knows, get scanners that agree', { timeout: 240_000 }, () => {
  const codes = new Set<string>(),
    slices = new Slices();
  let taken = 0,
    seen = 0;
  for (const [contract, plan, event] of [
    [ALL, ALL_PLAN, ALL_EVENT],
    [ADS, ADS_PLAN, ADS_EVENT],
  ] as const) {
    for (let lot = 0; lot < 3; lot++) {
      const producers = [false, true, false].map((spaced) => producer(event, contract, spaced));
      const fast = compileGate(contract, plan, 0, HASH_KEY),
        slow = compileGate(contract, plan, 0, HASH_KEY, { path: 'slow' });
      // They show what they are; a gate learns from what is valid.
      for (let round = 0; round < 3; round++) {
        const whole = slices.fill((_, to, at) => at + pick(pick(producers)).bytes.copy(to, at));
        expect(agree(whole, fast, slow)).toEqual([]);
      }
      expect(fast.learned.length).toBe(producers.length);
      const before = fast.slow,
        whole = slices.fill((_, to, at) => at + pick(pick(producers)).bytes.copy(to, at));
      expect(agree(whole, fast, slow)).toEqual([]);
      // Surrogate pairs, escapes in known fields: a few stay with the slow path.
      expect(fast.slow - before).toBeLessThan(SLICE / 50);
      const slowBefore = fast.slow;
      for (let done = 0; done < LEARNED_EVENTS / 6; done += SLICE) {
        const all = slices.fill((i, to, at) => {
          const base = pick(pick(producers));
          return i % 4 === 0 ? withOdd(base, event, to, at) : mutate(base, to, at);
        });
        for (const { code } of agree(all, fast, slow)) codes.add(code);
        seen += SLICE;
      }
      taken += LEARNED_EVENTS / 6 - (fast.slow - slowBefore);
    }
  }
  expect(seen).toBe(LEARNED_EVENTS);
  // None of them is in the contract's order: what is not slow, a learned scanner took.
  expect(taken).toBeGreaterThan(LEARNED_EVENTS / 5);
  expect([...codes].sort()).toEqual(CODES);
});

/** The base with another value for one of its fields, one that the contract does not know as a rule. */
function withOdd(base: Base, event: object, to: Buffer, at: number): number {
  const unread = base.members.filter((m) => !Object.hasOwn(event, m.name)),
    m = pick(unread.length === 0 ? base.members : unread),
    piece = pick(random(3) === 0 ? TOKENS : ODD);
  to.set(base.bytes.subarray(0, m.value), at);
  to.set(piece, at + m.value);
  to.set(base.bytes.subarray(m.to), at + m.value + piece.length);
  return at + base.bytes.length - (m.to - m.value) + piece.length;
}
