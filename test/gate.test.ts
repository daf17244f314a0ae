/**
 * The gate by example: what each code is given for, each notation of a value, and what stands in the columns. Every example
 * goes through a gate with both paths and one that takes the slow path only: they must agree.
 */
import { describe, expect, test } from 'vitest';
import { compileGate } from '../topology/contract/gate.ts';
import type { Contract, Field } from '../topology/contract/model.ts';
import type { Plan } from '../topology/plan.ts';
import {
  ADS,
  ADS_PLAN,
  ALL,
  ALL_EVENT,
  ALL_PLAN,
  ARRIVAL,
  contract,
  field,
  HASH_KEY,
  measure,
  plan,
  records,
  see,
  type Seen,
} from './gate-fixtures.ts';

function both(c: Contract, p: Plan, values: readonly (string | Uint8Array | null)[], timestamp = ARRIVAL): Seen {
  const fast = see(compileGate(c, p, 0, HASH_KEY), values, timestamp);
  const slow = see(compileGate(c, p, 0, HASH_KEY, { path: 'slow' }), values, timestamp);
  expect(fast).toEqual(slow);
  return fast;
}
const allWith = (changes: Record<string, unknown>): string => JSON.stringify({ ...ALL_EVENT, ...changes });
/** With a value that JSON.stringify would write otherwise. */
const allRaw = (name: string, text: string): string => allWith({ [name]: '@@' }).replace('"@@"', text);

/** `CODE field` of one record, or 'fine'. */
function verdict(value: string | Uint8Array | null, c = ALL, p = ALL_PLAN, timestamp = ARRIVAL): string {
  const seen = both(c, p, [value], timestamp);
  expect(seen.events.length + seen.rejected.length).toBe(1);
  const no = seen.rejected[0];
  return no === undefined ? 'fine' : `${no.code} ${no.field}`.trim();
}

/** A contract with one field more than it needs, for one rule. */
function one(rule: Field): { c: Contract; p: Plan } {
  return { c: contract([field('event_id', 'string'), field('event_time', 'timestamp'), rule]), p: plan([], []) };
}
function ask(rule: Field, text: string): string {
  const { c, p } = one(rule);
  return verdict(`{"event_id":"e","event_time":1760000000000,"${rule.name}":${text}}`, c, p).replace(` ${rule.name}`, '');
}

describe('a record as a whole', () => {
  test('a valid one is an event, by the fast path', () => {
    const gate = compileGate(ALL, ALL_PLAN, 0, HASH_KEY);
    expect(see(gate, [JSON.stringify(ALL_EVENT)]).rejected).toEqual([]);
    expect(gate.slow).toBe(0);
  });
  test('spaces as Python writes them, absent and null optional fields and letters beyond ASCII stay on the fast path', () => {
    const gate = compileGate(ALL, ALL_PLAN, 0, HASH_KEY);
    const python = JSON.stringify(ALL_EVENT)
      .replace(/([,:])(?=["\d tf])/g, '$1 ')
      .replace('2025-10-09T08: 53: 20', '2025-10-09T08:53:20');
    const { hint: _, tag: __, mail: ___, ...fewer } = ALL_EVENT;
    const seen = see(gate, [python, JSON.stringify(fewer), allWith({ hint: null, score: null, day: null, place: 'é' })]);
    expect(seen.rejected).toEqual([]);
    expect(gate.slow).toBe(0);
  });
  test('whatever type stands last, the closing brace behind it is enough', () => {
    const kinds = [
      field('x', 'boolean'),
      field('x', 'integer'),
      field('x', 'number'),
      field('x', 'timestamp'),
      field('x', 'string'),
      field('x', 'string', { required: false }),
    ];
    for (const [i, text] of ['true', '7', '0.5', '1760000000000', '""', 'null'].entries()) {
      const { c, p } = one(kinds[i]!);
      const gate = compileGate(c, p, 0, HASH_KEY);
      expect(see(gate, [`{"event_id":"e","event_time":1760000000000,"x":${text}}`]).rejected).toEqual([]);
      expect(gate.slow).toBe(0);
    }
  });
  test.each([
    ['', 'UNPARSEABLE'],
    ['null', 'UNPARSEABLE'],
    ['[]', 'UNPARSEABLE'],
    ['{', 'UNPARSEABLE'],
    ['{}', 'MISSING_FIELD event_id'],
    ['{"a":1,}', 'UNPARSEABLE'],
    ['{"a":01}', 'UNPARSEABLE'],
    ['{"a":+1}', 'UNPARSEABLE'],
    ['{"a":1.}', 'UNPARSEABLE'],
    ['{"a":.5}', 'UNPARSEABLE'],
    ['{"a":1e}', 'UNPARSEABLE'],
    ['{"a":NaN}', 'UNPARSEABLE'],
    ['{"a":1} x', 'UNPARSEABLE'],
    ['{} {}', 'UNPARSEABLE'],
    ["{'a':1}", 'UNPARSEABLE'],
    ['{"a":"\n"}', 'UNPARSEABLE'],
    ['{"a":"\\x"}', 'UNPARSEABLE'],
    ['{"a":"\\u12g4"}', 'UNPARSEABLE'],
    ['{"a":1,"a":2}', 'UNPARSEABLE'],
    ['{"a":1,"\\u0061":2}', 'UNPARSEABLE'],
    ['{"a":{"b":1,"b":1}}', 'UNPARSEABLE'],
    ['{"a":[{"b":1,"b":1}]}', 'UNPARSEABLE'],
    ['{"a":"\\ud800"}', 'UNPARSEABLE'],
    ['{"a":"\\udc00"}', 'UNPARSEABLE'],
    ['{"a":"\\ud800\\u0041"}', 'UNPARSEABLE'],
    ['{"\\ud83d":1}', 'UNPARSEABLE'],
    ['{"a":"\\ud83d\\ude00"}', 'MISSING_FIELD event_id'],
    ['\ufeff{}', 'UNPARSEABLE'],
    [' \t\r\n{ } \n', 'MISSING_FIELD event_id'],
    ['\f{}', 'UNPARSEABLE'],
    [`{"a":${'['.repeat(511)}${']'.repeat(511)}}`, 'MISSING_FIELD event_id'],
    [`{"a":${'['.repeat(512)}${']'.repeat(512)}}`, 'UNPARSEABLE'],
    ['{"__proto__":{"event_id":"x"},"toString":1}', 'MISSING_FIELD event_id'],
  ])('%j is %s', (value, expected) => expect(verdict(value)).toBe(expected));
  test('null, invalid UTF-8 and surrogates in UTF-8 are unparseable, also in a field that nobody reads', () => {
    expect(verdict(null)).toBe('UNPARSEABLE');
    for (const bad of [
      [0xff],
      [0xc0, 0x80],
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0xe0, 0x80, 0x80],
      [0xc3],
      [0x80],
      [0xf0, 0x80, 0x80, 0x80],
      [0xe2, 0x82],
    ]) {
      for (const name of ['hint', 'mail', 'tag', 'other']) {
        const [before, after] = allWith({ [name]: '@@' }).split('@@') as [string, string];
        expect(verdict(Buffer.concat([Buffer.from(before), Buffer.from(bad), Buffer.from(after)]))).toBe('UNPARSEABLE');
      }
    }
  });
  test('anything behind the object but white space is an error', () => {
    for (const tail of ['x', '}', ',', '\0', '{}']) expect(verdict(JSON.stringify(ALL_EVENT) + tail)).toBe('UNPARSEABLE');
    for (const tail of ['\n', ' ', '\r\n\t']) expect(verdict(JSON.stringify(ALL_EVENT) + tail)).toBe('fine');
  });
  test('a key named twice wins over every field', () => {
    expect(verdict(allWith({ event_time: 'x' }).replace('{', '{"count":1,'))).toBe('UNPARSEABLE');
    expect(verdict(JSON.stringify(ALL_EVENT).replace('}', ',"tag":"foo"}'))).toBe('UNPARSEABLE');
  });
  test('longer than the job allows: OVERSIZE, with its size, and nothing else is looked at', () => {
    const p = { ...ALL_PLAN, maxRecordBytes: 50 };
    const seen = both(ALL, p, ['x'.repeat(51), 'x'.repeat(50)]);
    expect(seen.rejected.map((r) => [r.record, r.code, r.field, r.detail])).toEqual([
      [0, 'OVERSIZE', '', '51 bytes'],
      [1, 'UNPARSEABLE', '', 'the value is not a JSON object'],
    ]);
  });
  test('unknown fields, of any depth, are ignored', () => {
    expect(verdict(allWith({ extra: { deep: [1, { a: null }], more: 'x' }, other: 1e300 }))).toBe('fine');
  });
  test('the first field of the contract that breaks a rule is named, whatever the order of the keys', () => {
    const wrong = { ...ALL_EVENT, name: 'x', country: 5, event_time: 1.5 };
    expect(verdict(JSON.stringify(wrong))).toBe('TYPE_MISMATCH event_time');
    expect(verdict(JSON.stringify(Object.fromEntries(Object.entries(wrong).reverse())))).toBe('TYPE_MISMATCH event_time');
  });
  test('an event later than its record by more than the fence is FUTURE_TIME, after all fields', () => {
    const time = 1760000000000,
      at = time - ALL_PLAN.fenceMs;
    expect(verdict(allWith({}), ALL, ALL_PLAN, at)).toBe('fine');
    expect(verdict(allWith({}), ALL, ALL_PLAN, at - 1)).toBe('FUTURE_TIME event_time');
    expect(verdict(allWith({ tag: 'nothing' }), ALL, ALL_PLAN, at - 1)).toBe('INVALID_VALUE tag');
  });
  test('a detail is a sentence with the value, cut', () => {
    const detail = (value: string): string => both(ALL, ALL_PLAN, [value]).rejected[0]!.detail;
    expect(detail(allWith({ name: 'x'.repeat(1000) }))).toBe(`"${'x'.repeat(79)}…" has 1000 characters, at most 8 are allowed`);
    expect(detail(allRaw('count', '1.5'))).toBe('1.5 is not an integer');
    expect(detail(allRaw('count', '[1]'))).toBe('a nested value is not an integer');
    expect(detail(allWith({ country: 'de' }))).toBe('"de" does not match ^[A-Z]{2}$');
  });
  test('more records than places is a mistake of the caller', () => {
    const gate = compileGate(ADS, ADS_PLAN, 0, HASH_KEY, { capacity: 2 });
    expect(() => gate.scan(records(['', '', '']), 0, 3, [])).toThrow('3 records for 2 places');
  });
});

describe('missing and null', () => {
  test('required: absent and null are MISSING_FIELD', () => {
    for (const name of ['event_id', 'event_time', 'name', 'count', 'paid', 'price']) {
      expect(verdict(allWith({ [name]: undefined }))).toBe(`MISSING_FIELD ${name}`);
      expect(verdict(allWith({ [name]: null }))).toBe(`MISSING_FIELD ${name}`);
    }
  });
  test('optional: null equals absent, and both differ from 0 and from the empty text', () => {
    const prints = (changes: Record<string, unknown>[]): unknown[] =>
      both(ALL, ALL_PLAN, changes.map(allWith)).events.map((e) => e.fingerprint);
    for (const [name, zero] of [
      ['hint', ''],
      ['small', 0],
      ['score', 0],
      ['ratio', 0],
      ['seen_at', '2020-01-01T00:00Z'],
      ['opt_flag', true],
    ] as const) {
      const [absent, empty, value] = prints([{ [name]: undefined }, { [name]: null }, { [name]: zero }]);
      expect(absent).toBe(empty);
      expect(value).not.toBe(absent);
    }
  });
});

describe('values', () => {
  const N = 'TYPE_MISMATCH',
    R = 'VALUE_OUT_OF_RANGE',
    I = 'INVALID_VALUE';
  test.each([
    ['0', 'fine'],
    ['-0', 'fine'],
    ['1.0', 'fine'],
    ['1e3', 'fine'],
    ['1.5', N],
    ['1e-1', N],
    ['10e-1', 'fine'],
    ['"1"', N],
    ['true', N],
    ['{}', N],
    ['[]', N],
    ['9223372036854775807', 'fine'],
    ['9223372036854775808', R],
    ['-9223372036854775808', 'fine'],
    ['-9223372036854775809', R],
    ['1e400', R],
    ['1e-400', N],
    ['0e999999999999999', 'fine'],
    ['1e999999999999999999999', R],
    ['1e-999999999999999999999', N],
    [`1${'0'.repeat(18)}`, 'fine'],
    [`1${'0'.repeat(20)}e-10`, 'fine'],
  ])('the integer %s is %s', (text, expected) => expect(ask(field('x', 'integer'), text)).toBe(expected));
  test.each([
    ['{"minimum":"5"}', '4', R],
    ['{"minimum":"5"}', '5', 'fine'],
    ['{"exclusiveMinimum":"5"}', '5', R],
    ['{"exclusiveMinimum":"4.5"}', '5', 'fine'],
    ['{"minimum":"4.5"}', '4', R],
    ['{"maximum":"5"}', '6', R],
    ['{"exclusiveMaximum":"5"}', '5', R],
    ['{"exclusiveMaximum":"5.5"}', '5', 'fine'],
    ['{"maximum":"-4.5"}', '-4', R],
    ['{"maximum":"-4.5"}', '-5', 'fine'],
    ['{"maximum":"9007199254740992"}', '9007199254740993', R],
    ['{"maximum":"9007199254740993"}', '9007199254740993', 'fine'],
    ['{"minimum":"9007199254740993"}', '9007199254740992', R],
    ['{"maximum":"12345678901"}', '12345678902', R],
    ['{"maximum":"12345678901"}', '12345678901', 'fine'],
    ['{"minimum":"-12345678901"}', '-12345678902', R],
    ['{"minimum":"1e30"}', '7', R],
    ['{"minimum":"-1e30"}', '-7', 'fine'],
    ['{"multipleOf":"7"}', '49', 'fine'],
    ['{"multipleOf":"7"}', '-49', 'fine'],
    ['{"multipleOf":"7"}', '50', R],
    ['{"multipleOf":"7"}', '9007199254740993', R],
    ['{"multipleOf":"2.5"}', '5', 'fine'],
    ['{"multipleOf":"2.5"}', '4', R],
    ['{"multipleOf":"0.5"}', '3', 'fine'],
    ['{"multipleOf":"1e2"}', '300', 'fine'],
    ['{"multipleOf":"1e2"}', '350', R],
    ['{"validValues":[1,2,3]}', '2.0', 'fine'],
    ['{"validValues":[1,2,3]}', '4', I],
    ['{"validValues":[1,-2]}', '-2', 'fine'],
    ['{"validValues":[12345678901]}', '12345678901', 'fine'],
  ])('the integer of %s: %s is %s', (rule, text, expected) =>
    expect(ask(field('x', 'integer', JSON.parse(rule) as Partial<Field>), text)).toBe(expected),
  );
  test.each([
    ['{}', '1e308', 'fine'],
    ['{}', '1e400', R],
    ['{}', '-1e400', R],
    ['{}', '1e-400', 'fine'],
    ['{}', '0.30000000000000004', 'fine'],
    ['{}', '"1"', N],
    ['{"minimum":"0.1"}', '0.1', 'fine'],
    ['{"minimum":"0.1"}', '0.09999999999999999999', R],
    ['{"minimum":"0.1"}', '0.1000000000000000000001', 'fine'],
    ['{"maximum":"0.1"}', '0.1000000000000000000001', R],
    ['{"exclusiveMinimum":"0.1"}', '0.1', R],
    ['{"exclusiveMinimum":"0.1"}', '0.1000000000000000000001', 'fine'],
    ['{"exclusiveMaximum":"0.1"}', '0.1', R],
    ['{"exclusiveMaximum":"0.1"}', '0.09999999999999999999', 'fine'],
    ['{"minimum":"1e-400"}', '0', R],
    ['{"minimum":"-1e400"}', '-5', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '0.1', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '0.30', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '0.301', R],
    ['{"multipleOf":"0.01","scale":2}', '0.300', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '1e-2', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '92233720368547758.07', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '92233720368547758.08', R],
    ['{"multipleOf":"0.01","scale":2,"maximum":"1.005"}', '1.01', R],
    ['{"multipleOf":"0.01","scale":2,"maximum":"1.005"}', '1', 'fine'],
    ['{"multipleOf":"0.01","scale":2}', '1e400', R],
    ['{"multipleOf":"0.01","scale":2}', '1e-400', R],
    ['{"multipleOf":"0.25"}', '1.75', 'fine'],
    ['{"multipleOf":"0.25"}', '1.7', R],
    ['{"multipleOf":"0.25"}', '1e400', R],
    ['{"multipleOf":"0.25"}', '-0.5', 'fine'],
    ['{"multipleOf":"300"}', '1e300', R],
    ['{"multipleOf":"3"}', '9e300', 'fine'],
    ['{"validValues":[0.1,0.5]}', '0.1', 'fine'],
    ['{"validValues":[0.1,0.5]}', '5e-1', 'fine'],
    ['{"validValues":[0.1,0.5]}', '0.1000000000000000001', I],
  ])('the number of %s: %s is %s', (rule, text, expected) =>
    expect(ask(field('x', 'number', JSON.parse(rule) as Partial<Field>), text)).toBe(expected),
  );
  test.each([
    ['{"minLength":2,"maxLength":3}', '"a"', R],
    ['{"minLength":2,"maxLength":3}', '"😀"', R],
    ['{"minLength":2,"maxLength":3}', '"😀é😀"', 'fine'],
    ['{"minLength":2,"maxLength":3}', '"😀é😀é"', R],
    ['{"maxLength":1}', '"\\ud83d\\ude00"', 'fine'],
    ['{"maxLength":0}', '""', 'fine'],
    ['{}', '5', N],
    ['{}', '"\\u0000"', 'fine'],
    ['{"pattern":"^a+$"}', '"aaa"', 'fine'],
    ['{"pattern":"^a+$"}', '"\\u0061"', 'fine'],
    ['{"pattern":"^a+$"}', '""', I],
    ['{"pattern":"a"}', '"xax"', 'fine'],
    ['{"pattern":"^a*a$"}', '"aaa"', 'fine'],
    ['{"pattern":"^[^a]$"}', '"é"', 'fine'],
    ['{"pattern":"^.$"}', '"😀"', 'fine'],
    ['{"pattern":"^\\\\p{Lu}$"}', '"É"', 'fine'],
    ['{"pattern":"^\\\\d{2,3}-[a-z_]?$"}', '"123-_"', 'fine'],
    ['{"pattern":"^\\\\d{2,3}-[a-z_]?$"}', '"1-"', I],
    ['{"pattern":"^[\\\\w.-]+$"}', '"a.b-C_9"', 'fine'],
    ['{"pattern":"^a|b$"}', '"axx"', 'fine'],
    ['{"pattern":"^\\"$"}', '"\\""', 'fine'],
    ['{"pattern":"^[ -~]{2}$"}', '"a\\\\"', 'fine'],
    ['{"pattern":"^a+?$"}', '"aa"', 'fine'],
    ['{"pattern":"^ab"}', '"a"', I],
    ['{"pattern":"^ab"}', '"abc"', 'fine'],
    ['{"pattern":"^a\\\\$"}', '"a"', I],
    ['{"pattern":"^(ab)+$"}', '"abab"', 'fine'],
    ['{"pattern":"^a$","validPattern":"^b$"}', '"a"', I],
    ['{"validPattern":"^b$"}', '"b"', 'fine'],
    ['{"validValues":["x","y"]}', '"z"', I],
    ['{"validValues":["x",""]}', '""', 'fine'],
    ['{"validValues":["a","b","c","d","e","f","g","h","i","jé"]}', '"jé"', 'fine'],
    ['{"validValues":["a","b","c","d","e","f","g","h","i","jé"]}', '"j"', I],
    ['{"format":"uuid"}', '"018F3C1E-7a2b-7c4d-9e5f-0123456789ab"', 'fine'],
    ['{"format":"uuid"}', '"018F3C1E-7a2b-7c4d-9e5f-0123456789ag"', I],
    ['{"format":"email"}', '"a@b.de"', 'fine'],
    ['{"format":"email"}', '"a@b"', I],
    ['{"format":"email"}', '"a..b@c.de"', I],
    ['{"format":"uri"}', '"https://x.de/?q=%20#a"', 'fine'],
    ['{"format":"uri"}', '"//x.de"', I],
    ['{"format":"uri"}', '"http://a b"', I],
    ['{"format":"ipv4"}', '"10.0.255.1"', 'fine'],
    ['{"format":"ipv4"}', '"10.0.256.1"', I],
    ['{"format":"ipv4"}', '"10.0.01.1"', I],
    ['{"format":"ipv6"}', '"::"', 'fine'],
    ['{"format":"ipv6"}', '"fe80::1:2"', 'fine'],
    ['{"format":"ipv6"}', '"::ffff:1.2.3.4"', 'fine'],
    ['{"format":"ipv6"}', '"1:2:3:4:5:6:7"', I],
    ['{"format":"ipv6"}', '"1::2::3"', I],
    ['{"format":"hostname"}', '"a-b.c"', 'fine'],
    ['{"format":"hostname"}', '"-a.c"', I],
  ])('the text of %s: %s is %s', (rule, text, expected) =>
    expect(ask(field('x', 'string', JSON.parse(rule) as Partial<Field>), text)).toBe(expected),
  );
  test.each([
    ['0', 'fine'],
    ['4291747199999', 'fine'],
    ['4291747200000', R],
    ['-1', R],
    ['1e12', 'fine'],
    ['1760000000000.0', 'fine'],
    ['1760000000000.5', N],
    ['"1760000000000"', N],
    ['99999999999999999999', R],
    ['01760000000000', 'UNPARSEABLE'],
  ])('the time %s in milliseconds is %s', (text, expected) => expect(ask(field('x', 'timestamp'), text)).toBe(expected));
  test.each([
    ['1970-01-01T00:00:00Z', 'fine'],
    ['1969-12-31T23:59:59.999Z', R],
    ['2105-12-31T23:59:59.999999999Z', 'fine'],
    ['2106-01-01T00:00:00Z', R],
    ['2106-01-01T00:30:00+01:00', 'fine'],
    ['1970-01-01T00:30:00+01:00', R],
    ['2024-02-29t10:00z', 'fine'],
    ['2023-02-29T10:00Z', I],
    ['2100-02-29T10:00Z', I],
    ['2000-02-29T10:00Z', 'fine'],
    ['2024-13-01T10:00Z', I],
    ['2024-04-31T10:00Z', I],
    ['2024-01-01T24:00Z', I],
    ['2024-01-01T10:60Z', I],
    ['2024-01-01T10:00:60Z', I],
    ['2024-01-01 10:00:00Z', I],
    ['2024-01-01T10:00:00', I],
    ['2024-01-01T10:00:00.Z', I],
    ['2024-01-01T10:00:00.1234567890Z', I],
    ['2024-01-01T10:00:00,5Z', I],
    ['2024-01-01T10:00:00+0100', I],
    ['2024-01-01T10:00:00+24:00', I],
    ['2024-01-01T10:00:00-00:00', 'fine'],
    ['2024-01-01T10Z', I],
    ['2024-01-01', I],
    ['', I],
    ['é', I],
    ['0000-02-29T00:00Z', R],
  ])('the time "%s" is %s', (text, expected) =>
    expect(ask(field('x', 'timestamp', { time: 'iso8601' }), JSON.stringify(text))).toBe(expected),
  );
  test.each(['01', '-', '1.', '-.5', '1e', '1e+', '00', '-01', '1.5.5', '1x', '٣'])('%s is a number nowhere', (text) => {
    const kinds = [
      field('x', 'integer'),
      field('x', 'number'),
      field('x', 'number', { scale: 2, multipleOf: '0.01' }),
      field('x', 'number', { multipleOf: '0.25' }),
      field('x', 'timestamp'),
    ];
    for (const kind of kinds) expect(ask(kind, text)).toBe('UNPARSEABLE');
  });
  test('times keep their own bounds', () => {
    expect(ask(field('x', 'timestamp', { notBefore: 1000, notAfter: 1760000000000 }), '999')).toBe(R);
    expect(ask(field('x', 'timestamp', { notAfter: 1760000000000 }), '1760000000000')).toBe('fine');
    expect(ask(field('x', 'timestamp', { notAfter: 1760000000000 }), '1760000000001')).toBe(R);
    expect(ask(field('x', 'timestamp', { time: 'iso8601' }), '1760000000000')).toBe(N);
  });
  test.each([
    ['"2024-02-29"', 'fine'],
    ['"2023-02-29"', I],
    ['"2024-2-1"', I],
    ['"2024-02-01T"', I],
    ['20240201', N],
    ['"1969-12-31"', R],
    ['"2105-12-31"', 'fine'],
    ['"2106-01-01"', R],
  ])('the date %s is %s', (text, expected) => expect(ask(field('x', 'date'), text)).toBe(expected));
  test.each([
    ['true', 'fine'],
    ['false', I],
    ['"true"', N],
    ['1', N],
    ['tru', 'UNPARSEABLE'],
    ['truee', 'UNPARSEABLE'],
  ])('the boolean %s, of [true], is %s', (text, expected) =>
    expect(ask(field('x', 'boolean', { validValues: [true] }), text)).toBe(expected),
  );
});

describe('columns', () => {
  const events = (values: readonly string[], c = ALL, p = ALL_PLAN): Record<string, unknown>[] => {
    const seen = both(c, p, values);
    expect(seen.rejected).toEqual([]);
    return [...seen.events];
  };
  const wide = (e: Record<string, unknown>, j: number): bigint =>
    BigInt((e.hi as number[])[j]!) * 2n ** 32n + BigInt((e.lo as number[])[j]!);

  test('a UUID is its own bytes in any letter case; another id is a keyed hash of its text', () => {
    const id = '018f3c1e-7a2b-7c4d-9e5f-0123456789ab';
    const [a, b, c, d, e] = events([id, id.toUpperCase(), `${id} `, 'x', '\\u0078'].map((text) => allRaw('event_id', `"${text}"`))).map(
      (v) => v.id,
    );
    expect(a).toEqual([0x018f3c1e, 0x7a2b7c4d, 0x9e5f0123, 0x456789ab]);
    expect(b).toEqual(a);
    expect(new Set([a, c, d].map((x) => JSON.stringify(x))).size).toBe(3);
    expect(e).toEqual(d);
    const other = see(compileGate(ALL, ALL_PLAN, 0, [1, 2]), [allRaw('event_id', '"x"')]).events[0]!.id;
    expect(other).not.toEqual(d);
  });
  test('ten thousand ids have ten thousand identities, and an integer is one with its text', () => {
    const p = plan([], []);
    const rest = ',"event_time":1760000000000}';
    const numbers = contract([field('event_id', 'integer'), field('event_time', 'timestamp')]),
      texts = contract([field('event_id', 'string'), field('event_time', 'timestamp')]);
    const ids = [
      '0',
      '-1',
      '7',
      '99999',
      '100000',
      '1000000000',
      '4294967296',
      '9007199254740993',
      '9223372036854775807',
      '-9223372036854775808',
      '-4294967296',
    ];
    const asNumber = events(
        ids.map((n) => `{"event_id":${n}${rest}`),
        numbers,
        p,
      ),
      asText = events(
        ids.map((n) => `{"event_id":"${n}"${rest}`),
        texts,
        p,
      );
    expect(asNumber.map((e) => e.id)).toEqual(asText.map((e) => e.id));
    const many = new Set<string>();
    for (let k = 0; k < 10000; k += 2000) {
      for (const e of events(
        Array.from({ length: 2000 }, (_, j) => `{"event_id":"id-${k + j}"${rest}`),
        texts,
        p,
      ))
        many.add(JSON.stringify(e.id));
    }
    expect(many.size).toBe(10000);
  });
  test('integers are exact to 64 bits, scaled numbers too', () => {
    const c = contract([
      field('event_id', 'string'),
      field('event_time', 'timestamp'),
      field('n', 'integer'),
      field('d', 'number', { scale: 2, multipleOf: '0.01' }),
    ]);
    const p = plan([], [measure('n', {}), measure('d', { type: 'decimal', scale: 2 })]);
    const cases: [string, string, bigint, bigint][] = [
      ['9007199254740993', '0.1', 9007199254740993n, 10n],
      ['-9007199254740993', '-0.10', -9007199254740993n, -10n],
      ['9223372036854775807', '92233720368547758.07', 2n ** 63n - 1n, 2n ** 63n - 1n],
      ['-9223372036854775808', '-1e2', -(2n ** 63n), -10000n],
      ['4294967296', '42949672.96', 2n ** 32n, 2n ** 32n],
      ['-4294967296', '-42949672.96', -(2n ** 32n), -(2n ** 32n)],
      ['-0', '-0.0', 0n, 0n],
      ['1.0e3', '1.000', 1000n, 100n],
      ['-1', '-0.01', -1n, -1n],
      ['123456789012345678', '1234567890123.45', 123456789012345678n, 123456789012345n],
      ['-999999999999999999', '7', -999999999999999999n, 700n],
      ['1000000000', '12345678901234', 10n ** 9n, 1234567890123400n],
    ];
    const seen = events(
      cases.map(([n, d]) => `{"event_id":"x","event_time":1760000000000,"n":${n},"d":${d}}`),
      c,
      p,
    );
    expect(seen.map((e) => [wide(e, 0), wide(e, 1)])).toEqual(cases.map(([, , n, d]) => [n, d]));
  });
  test('the inputs of the measures: absent is NaN in hi, a double stands in lo, a time is milliseconds', () => {
    const [full, none, zero] = events([
      JSON.stringify(ALL_EVENT),
      allWith({ small: null, score: undefined, ratio: null, seen_at: null, level: null }),
      allRaw('score', '-0.0'),
    ]);
    expect(full!.lo as number[]).toEqual([10, 1234, 0.5, 1.75, Date.parse(ALL_EVENT.seen_at) % 2 ** 32, 2]);
    expect(wide(full!, 4)).toBe(BigInt(Date.parse(ALL_EVENT.seen_at)));
    expect(none!.hi as number[]).toEqual([NaN, 0, NaN, NaN, NaN, NaN]);
    expect(Object.is((zero!.lo as number[])[2], 0)).toBe(true);
  });
  test("the group key is the dimensions in the plan's order, in canonical bytes", () => {
    const long = plan(
      [
        { name: 'event_id', type: 'string' },
        { name: 'count', type: 'integer' },
        { name: 'paid', type: 'boolean' },
      ],
      [],
    );
    const c = contract([
      field('event_id', 'string'),
      field('event_time', 'timestamp'),
      field('count', 'integer'),
      field('paid', 'boolean'),
    ]);
    const id = 'é'.repeat(100);
    const [a, b] = events(
      [
        `{"event_id":"${id}","event_time":1760000000000,"count":-2,"paid":true}`,
        '{"event_id":"","event_time":1760000000000,"count":258,"paid":false}',
      ],
      c,
      long,
    );
    expect(a!.key).toBe(
      Buffer.concat([Buffer.from([200, 1]), Buffer.from(id), Buffer.from([254, 255, 255, 255, 255, 255, 255, 255, 1])]).toString('latin1'),
    );
    expect(b!.key).toBe('\0\x02\x01\0\0\0\0\0\0\0');
    expect(a!.keyHash).not.toBe(b!.keyHash);
  });
  test('keys longer than the room for them make more room', () => {
    const c = contract([field('event_id', 'string'), field('event_time', 'timestamp')]),
      p = plan([{ name: 'event_id', type: 'string' }], []);
    const gate = compileGate(c, p, 0, HASH_KEY, { capacity: 4 });
    const ids = ['a'.repeat(5000), 'b', 'c'.repeat(90000), 'd'.repeat(131)];
    const seen = see(
      gate,
      ids.map((id) => `{"event_id":"${id}","event_time":1760000000000}`),
    );
    expect(seen.events.map((e) => (e.key as string).replace(/^[^a-d]+/, ''))).toEqual(ids);
  });
  test('conditions are bits, by typed value', () => {
    const bits = (changes: Record<string, unknown>): number =>
      events([
        allWith({ hint: null, place: 'story', opt_flag: null, price: 2, count: 0, day: null, score: null, tag: null, ...changes }),
      ])[0]!.where as number;
    expect(bits({})).toBe(0);
    expect(
      [
        { place: 'feed' },
        { place: 'é', opt_flag: true },
        { hint: '' },
        { price: 1.5 },
        { count: -7 },
        { day: '2024-02-29' },
        { score: 0.5 },
        { tag: 'foobar' },
      ].map(bits),
    ).toEqual([1, 2, 4, 8, 16, 32, 64, 128]);
    expect(bits({ place: 'é' })).toBe(0);
  });
  test('another notation of the same values has the same fingerprint, another value has not, nor has another source', () => {
    const base = events([JSON.stringify(ALL_EVENT)])[0]!;
    const same = [
      JSON.stringify(Object.fromEntries(Object.entries(ALL_EVENT).reverse())),
      JSON.stringify(ALL_EVENT, null, 2),
      allRaw('count', '1.2e1'),
      allRaw('count', '12.0'),
      allRaw('price', '1234e-2'),
      allRaw('price', '12.340'),
      allRaw('score', '5E-1'),
      allRaw('name', '"Zo\\u00eb"'),
      allRaw('event_time', '1.76e12'),
      allWith({ seen_at: '2025-10-09T10:53:20.1239+02:00' }),
      allRaw('day', '"2024\\u002d02-29"'),
      allWith({ unknown: 1 }),
      allWith({ mail: null, trace: null }),
    ];
    for (const e of events(same)) expect({ ...e, record: 0 }).toEqual(base);
    const other = [
      { count: 13 },
      { price: 12.35 },
      { score: 0.25 },
      { name: 'Zoe' },
      { event_time: 1760000000001 },
      { seen_at: null },
      { day: '2024-02-28' },
      { hint: '' },
      { paid: false },
      { place: 'story' },
      { country: 'FR' },
      { small: -5 },
      { ratio: 2 },
      { tag: 'bar' },
    ];
    const prints = [base, ...events(other.map(allWith))].map((e) => e.fingerprint);
    expect(new Set(prints).size).toBe(prints.length);
    const two: Plan = { ...ALL_PLAN, measures: ALL_PLAN.measures.map((m) => ({ ...m, source: 1 })) };
    expect(see(compileGate(ALL, two, 1, HASH_KEY), [JSON.stringify(ALL_EVENT)]).events[0]!.fingerprint).not.toBe(base.fingerprint);
  });
  test('identity, key hash and fingerprint are those of states that stand on disks', () => {
    const ads = {
      event_time: 1760000000000,
      advertiser_id: 'adv_0001',
      campaign_id: 'spring',
      ad_id: 'a',
      country: 'DE',
      placement: 'feed',
    };
    const id = '0190b2c4-7e7a-7c3e-9d1f-000000000001';
    expect(both(ADS, ADS_PLAN, [JSON.stringify({ event_id: id, ...ads, cost_micros: 5 })]).events[0]).toMatchObject({
      id: [26260164, 2121956414, 2636054528, 1],
      keyHash: 1969754580,
      fingerprint: 971767639,
    });
    expect(both(ALL, ALL_PLAN, [JSON.stringify(ALL_EVENT)]).events[0]).toMatchObject({
      id: [26164254, 2049670221, 2657026339, 1164413355],
      keyHash: 3016708381,
      fingerprint: 513661576,
    });
  });
  test('a slice writes only its own records, and says which', () => {
    const gate = compileGate(ALL, ALL_PLAN, 0, HASH_KEY);
    const all = records([JSON.stringify(ALL_EVENT), 'x', allWith({ count: 1 }), JSON.stringify(ALL_EVENT)]);
    const rejected: { record: number }[] = [];
    const out = gate.scan(all, 1, 4, rejected as never);
    expect([out.count, out.record[0], out.record[1], rejected.map((r) => r.record)]).toEqual([2, 2, 3, [1]]);
  });
});
