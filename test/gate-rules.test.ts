/**
 * Contracts made by chance: fields of all types with any mix of rules, each asked with every odd value, as the only thing that varies. Both
 * paths must agree on the verdict and on the columns, whatever the contract is.
 */
import { expect, test } from 'vitest';
import { compileGate } from '../topology/contract/gate.ts';
import type { Field } from '../topology/contract/model.ts';
import { contract, field, HASH_KEY, measure, plan, see } from './gate-fixtures.ts';
import { NUMBERS, OTHERS, pick, random, TEXTS } from './gate-tokens.ts';

const FIELDS = 400;
const BOUNDS = [
  '0',
  '-1',
  '1',
  '5',
  '100',
  '-10.5',
  '0.1',
  '1e3',
  '1e-400',
  '1e400',
  '-1e400',
  '999999999',
  '1000000000',
  '1234567890',
  '-123456789012345678',
  '9007199254740993',
  '9223372036854775807',
  '-9223372036854775808',
  '0.30000000000000004',
  '12.345',
];
const UNITS = ['1', '2', '5', '7', '0.01', '0.1', '0.25', '2.5', '1e2', '1000000007', '12345678901234567', '1e-9'];
const PATTERNS = [
  '^[a-z]+$',
  '^[A-Z]{2}$',
  '^.$',
  'a',
  '^foo',
  'bar$',
  '^adv_\\d{4}$',
  '^[^x]*$',
  '^\\w{1,5}$',
  '^é|a$',
  '^a?b*c{2,}$',
  '^$',
  '^\\p{L}+$',
  '^[\\x20-~]*$',
];
const VALUES = [
  'feed',
  'story',
  'é',
  'a',
  '',
  'DE',
  'Zoë',
  'foobar',
  'foo',
  'fool',
  'abcde',
  'abcdef',
  '12345678',
  '123456789',
  'a"b',
  'a\\',
  '😀😀',
  'true',
  'a value that is longer than all others',
];
const FORMATS = ['uuid', 'email', 'uri', 'ipv4', 'ipv6', 'hostname'] as const;
const maybe = <T>(one: () => T, in_ = 4): T | null => (random(in_) === 0 ? one() : null);
const some = <T>(all: readonly T[]): T[] => all.filter(() => random(1 + random(4)) === 0);

function rules(): Field {
  const type = pick(['string', 'string', 'integer', 'number', 'number', 'boolean', 'timestamp', 'date'] as const);
  const required = random(2) === 0;
  const bounds = {
    minimum: maybe(() => pick(BOUNDS)),
    maximum: maybe(() => pick(BOUNDS)),
    exclusiveMinimum: maybe(() => pick(BOUNDS), 8),
    exclusiveMaximum: maybe(() => pick(BOUNDS), 8),
    multipleOf: maybe(() => pick(UNITS)),
  };
  const numbers = maybe(() => some([0, 1, -1, 5, 100, 0.1, 12.34, 1e21, 9007199254740992, 123456789012, 1.5, 0.25, 1000]), 6);
  switch (type) {
    case 'string':
      return field('x', type, {
        required,
        minLength: maybe(() => random(4)),
        maxLength: maybe(() => 2 + random(40)),
        pattern: maybe(() => pick(PATTERNS)),
        validPattern: maybe(() => pick(PATTERNS), 8),
        format: maybe(() => pick(FORMATS)),
        validValues: maybe(() => (random(6) === 0 ? VALUES : some(VALUES))),
      });
    case 'integer':
      return field('x', type, { required, ...bounds, validValues: numbers });
    case 'number': {
      const scale = maybe(() => random(19), 2);
      return field('x', type, {
        required,
        ...bounds,
        validValues: numbers,
        ...(scale === null ? {} : { scale, multipleOf: `1e-${scale}` }),
      });
    }
    case 'boolean':
      return field('x', type, { required, validValues: maybe(() => some([true, false])) });
    case 'timestamp':
      return field('x', type, {
        required,
        time: pick(['epoch_millis', 'iso8601'] as const),
        notBefore: maybe(() => 1577836800000),
        notAfter: maybe(() => 1760000000000),
        validValues: maybe(() => [1760000000000, '2020-01-01T00:00Z'], 8),
      });
    case 'date':
      return field('x', type, { required, notAfter: maybe(() => 1709164800000), validValues: maybe(() => ['2024-02-29', '2000-01-01']) });
  }
}

test('any contract: every value has one verdict and one set of columns, whichever way it goes', () => {
  const tokens = [
    ...NUMBERS,
    ...TEXTS,
    ...OTHERS,
    ...VALUES.map((v) => JSON.stringify(v)),
    '"10.0.0.1"',
    '"::1"',
    '"a-b.c"',
    '"https://x.de/a"',
  ];
  let valid = 0,
    shortcut = 0;
  for (let k = 0; k < FIELDS; k++) {
    const x = rules();
    const others = [field('event_id', 'string'), field('event_time', 'timestamp')];
    const c = contract(random(2) === 0 ? [x, ...others] : [...others, x]);
    const input =
      x.type === 'string' || x.type === 'date' || x.type === 'boolean'
        ? []
        : [
            measure('x', {
              kind: 'max',
              type: x.type === 'timestamp' ? 'timestamp' : x.type === 'integer' ? 'int64' : x.scale === null ? 'float64' : 'decimal',
              scale: x.scale ?? 0,
            }),
          ];
    const equals =
      x.type === 'boolean'
        ? true
        : x.type === 'integer' || x.type === 'number'
          ? pick([1, 5, 0.1, 12.34, -1])
          : x.type === 'timestamp'
            ? 1760000000000
            : pick(VALUES);
    const dimensions =
      x.required && (x.type === 'string' || x.type === 'date')
        ? [{ name: 'x', type: 'string' as const }]
        : x.required && x.type === 'integer'
          ? [{ name: 'x', type: 'integer' as const }]
          : [];
    const p = plan(dimensions, [...input, measure('n', { kind: 'count', field: null, where: [{ field: 'x', equals }] })]);
    const rest = '"event_id":"e","event_time":1760000000000';
    const values = ['{' + rest + '}', ...tokens.map((t) => (c.fields[0] === x ? `{"x":${t},${rest}}` : `{${rest},"x":${t}}`))];
    const fast = compileGate(c, p, 0, HASH_KEY);
    // Twice, so that the second time meets what the first one left in the tables of known texts.
    const seen = see(fast, [...values, ...values]),
      slow = see(compileGate(c, p, 0, HASH_KEY, { path: 'slow' }), [...values, ...values]);
    expect(seen, JSON.stringify(x)).toEqual(slow);
    valid += seen.events.length;
    shortcut += 2 * values.length - fast.slow;
  }
  expect(valid).toBeGreaterThan(10 * FIELDS);
  expect(shortcut).toBeGreaterThan(valid / 3);
});
