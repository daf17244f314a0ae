/** The oracle's own rules: alone by examples, and against the gate, which was written from the same contract by other means. */
import { describe, expect, test } from 'vitest';
import { ADS, ADS_PLAN, ALL, ALL_PLAN, field, HASH_KEY } from './gate-fixtures.ts';
import { Records } from '../topology/consume/records.ts';
import { compileGate } from '../topology/contract/gate.ts';
import type { Contract } from '../topology/contract/model.ts';
import type { Rejection } from '../topology/batch.ts';
import { sourceInputs } from '../topology/inputs.ts';
import type { Plan } from '../topology/plan.ts';
import { ZoneClock } from '../topology/window/zones.ts';
import { generateEvents } from '../src/generate/event-source.ts';
import { Random } from '../src/generate/random.ts';
import { keyText } from '../src/verify/cells.ts';
import { makeJudge } from '../src/verify/judge.ts';
import type { Refusal } from '../src/verify/judge.ts';
import { windowsOf } from '../src/verify/zones.ts';

const verdictOf = (contract: Contract, value: string | Buffer | null): unknown => {
  const verdict = makeJudge(contract, 1 << 20)(value === null ? null : Buffer.from(value));
  return Array.isArray(verdict) ? verdict : `${verdict.code} ${verdict.field}`.trimEnd();
};
const one = (rules: Parameters<typeof field>[2], type: Parameters<typeof field>[1], json: string): unknown =>
  verdictOf({ id: 'c', version: '1', topic: 't', digest: '', fields: [field('f', type, rules)] }, `{"f":${json}}`);

describe('the oracle judges by the source text', () => {
  test.each<[string, string, unknown]>([
    ['one key twice', '{"f":1,"\\u0066":1}', 'UNPARSEABLE'],
    ['a key twice further in', '{"f":1,"g":[{"a":1,"a":2}]}', 'UNPARSEABLE'],
    ['a BOM', '\ufeff{"f":1}', 'UNPARSEABLE'],
    ['an unpaired surrogate', '{"f":1,"g":"\\ud800"}', 'UNPARSEABLE'],
    ['a pair of surrogates', '{"f":1,"g":"\\ud83d\\ude00"}', [1]],
    ['a list', '[1]', 'UNPARSEABLE'],
    ['nothing', '', 'UNPARSEABLE'],
    ['512 levels', `{"f":1,"g":${'['.repeat(511)}${']'.repeat(511)}}`, [1]],
    ['513 levels', `{"f":1,"g":${'['.repeat(512)}${']'.repeat(512)}}`, 'UNPARSEABLE'],
    ['a quote behind backslashes', '{"f":1,"g":"a\\\\","h":"\\""}', [1]],
    ['a name of Object itself', '{"toString":1}', 'MISSING_FIELD f'],
    ['a null', '{"f":null}', 'MISSING_FIELD f'],
    ['1.0', '{"f":1.0}', [1]],
    ['1e3', '{"f":1e3}', [1000]],
    ['-0', '{"f":-0}', [0]],
    ['a fraction that a double cannot hold', '{"f":1.00000000000000000001}', 'TYPE_MISMATCH f'],
    ['the largest', '{"f":9223372036854775807}', [9223372036854775807n]],
    ['one more', '{"f":9223372036854775808}', 'VALUE_OUT_OF_RANGE f'],
    ['a huge exponent', '{"f":1e999999999999}', 'VALUE_OUT_OF_RANGE f'],
    ['a tiny one', '{"f":1e-999999999999}', 'TYPE_MISMATCH f'],
    ['text', '{"f":"1"}', 'TYPE_MISMATCH f'],
  ])('%s', (_, json, expected) => {
    expect(verdictOf({ id: 'c', version: '1', topic: 't', digest: '', fields: [field('f', 'integer')] }, json)).toEqual(expected);
  });
  test('a null value and bytes that are no UTF-8 are no object', () => {
    expect([verdictOf(ADS, null), verdictOf(ADS, Buffer.from([0x7b, 0xff, 0x7d]))]).toEqual(['UNPARSEABLE', 'UNPARSEABLE']);
  });
  test('scaled numbers are exact', () => {
    const money = { scale: 2, multipleOf: '0.01' };
    expect([
      one(money, 'number', '0.1'),
      one(money, 'number', '1e-2'),
      one(money, 'number', '0.015'),
      one(money, 'number', '92233720368547758.07'),
      one(money, 'number', '92233720368547758.08'),
    ]).toEqual([[10], [1], 'VALUE_OUT_OF_RANGE f', [9223372036854775807n], 'VALUE_OUT_OF_RANGE f']);
  });
  test('lengths are code points, then come patterns', () => {
    expect([
      one({ maxLength: 2 }, 'string', '"😀😀"'),
      one({ maxLength: 2, pattern: '^a' }, 'string', '"bbb"'),
      one({ pattern: 'b' }, 'string', '"abc"'),
    ]).toEqual([['😀😀'], 'VALUE_OUT_OF_RANGE f', ['abc']]);
  });
  test.each<[string, unknown]>([
    ['2026-01-01T00:00Z', [1767225600000]],
    ['2026-01-01t00:00:00.1239z', [1767225600123]],
    ['2026-01-01T01:30:00+01:30', [1767225600000]],
    ['2026-02-29T00:00:00Z', 'INVALID_VALUE f'],
    ['2024-02-29T00:00:00Z', [1709164800000]],
    ['2026-01-01T00:00:60Z', 'INVALID_VALUE f'],
    ['2026-01-01T24:00:00Z', 'INVALID_VALUE f'],
    ['2026-01-01T00:00:00', 'INVALID_VALUE f'],
    ['2026-01-01T00:00:00.Z', 'INVALID_VALUE f'],
    ['1969-12-31T23:59:59.999Z', 'VALUE_OUT_OF_RANGE f'],
    ['1969-12-31T23:00:00-01:00', [0]],
    ['2105-12-31T23:59:59.999999999Z', [4291747199999]],
    ['2106-01-01T00:00:00Z', 'VALUE_OUT_OF_RANGE f'],
    ['0001-01-01T00:00:00Z', 'VALUE_OUT_OF_RANGE f'],
  ])('the time %s', (text, expected) => {
    expect(one({ time: 'iso8601' }, 'timestamp', JSON.stringify(text))).toEqual(expected);
  });
});

interface Outcome {
  readonly verdict: string;
  readonly fingerprint: number;
}

function gateOutcomes(contract: Contract, plan: Plan, values: readonly Uint8Array[], arrival: number): Outcome[] {
  const records = new Records(),
    gate = compileGate(contract, plan, 0, HASH_KEY),
    out: Outcome[] = values.map(() => ({ verdict: '', fingerprint: 0 }));
  records.bytes = Buffer.concat(values);
  records.reserve(values.length);
  records.count = values.length;
  let at = 0;
  for (const [i, value] of values.entries()) {
    records.offset[i] = i;
    records.timestamp[i] = arrival;
    records.keyStart[i] = -1;
    records.keyEnd[i] = -1;
    records.valueStart[i] = at;
    at += value.length;
    records.valueEnd[i] = at;
  }
  for (let from = 0; from < values.length; from += gate.out.capacity) {
    const rejected: Rejection[] = [],
      events = gate.scan(records, from, Math.min(values.length, from + gate.out.capacity), rejected);
    for (const r of rejected) out[r.record] = { verdict: `${r.code} ${r.field}`, fingerprint: 0 };
    for (let i = 0; i < events.count; i++) out[events.record[i]!] = { verdict: '', fingerprint: events.fingerprint[i]! };
  }
  return out;
}

const BYTES = Buffer.from('{}[]",:\\u0019eE+-.nulltrue é\u0000\x7f');
function mutate(value: Uint8Array, random: Random): Uint8Array {
  let bytes = Buffer.from(value);
  for (let k = random.below(3); k >= 0; k--) {
    const at = random.below(bytes.length),
      way = random.below(4),
      byte = BYTES.subarray(random.below(BYTES.length))[0]!;
    if (way === 0) bytes[at] = byte;
    else if (way === 1) bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at)]);
    else if (way === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    else bytes[at] = 48 + random.below(10);
    if (bytes.length === 0) bytes = Buffer.from('{');
  }
  return bytes;
}

describe('the oracle and the gate', () => {
  const arrival = Date.UTC(2026, 0, 1, 23, 30);
  test.each<[string, Contract, Plan]>([
    ['the ads contract', { ...ADS, id: 'ads' }, ADS_PLAN],
    ['a contract of every rule', ALL, ALL_PLAN],
  ])('say the same of %s, whole and mutated', (_, contract, plan) => {
    const random = new Random(11),
      values: Uint8Array[] = [];
    random.reset(1);
    for (const value of generateEvents(contract.id === 'ads' ? contract : simplified(contract), {
      events: 2000,
      seed: 5,
      malformed: 0.3,
      conflicts: 0.1,
    })) {
      values.push(value, mutate(value, random), mutate(value, random));
    }
    const judge = makeJudge(contract, plan.maxRecordBytes),
      gate = gateOutcomes(contract, plan, values, arrival);
    const timeAt = contract.fields.findIndex((f) => f.name === plan.time);
    const reads = sourceInputs(plan, 0)
      .read.filter((name) => name !== plan.id)
      .map((name) => contract.fields.findIndex((f) => f.name === name));
    const contents = new Map<string, number>(),
      fingerprints = new Map<number, string>(),
      codes = new Set<string>();
    for (const [i, value] of values.entries()) {
      const judged = judge(Buffer.from(value));
      let verdict = Array.isArray(judged) ? '' : `${(judged as Refusal).code} ${(judged as Refusal).field}`;
      if (Array.isArray(judged) && (judged[timeAt] as number) > arrival + plan.fenceMs) verdict = `FUTURE_TIME ${plan.time}`;
      if (verdict !== gate[i]!.verdict)
        expect.fail(`the oracle says ${verdict || 'valid'}, the gate ${gate[i]!.verdict || 'valid'}, of ${Buffer.from(value).toString()}`);
      codes.add(verdict.split(' ')[0]!);
      if (verdict !== '' || !Array.isArray(judged)) continue;
      const content = keyText(reads.map((r) => judged[r]!)),
        { fingerprint } = gate[i]!;
      if ((contents.get(content) ?? fingerprint) !== fingerprint || (fingerprints.get(fingerprint) ?? content) !== content)
        expect.fail(`another fingerprint of ${content}`);
      contents.set(content, fingerprint);
      fingerprints.set(fingerprint, content);
    }
    expect([...codes].sort()).toEqual(
      expect.arrayContaining(['', 'INVALID_VALUE', 'MISSING_FIELD', 'TYPE_MISMATCH', 'UNPARSEABLE', 'VALUE_OUT_OF_RANGE']),
    );
    expect(contents.size).toBeGreaterThan(700);
  });

  /** The generator makes texts of simple patterns only. */
  function simplified(contract: Contract): Contract {
    return { ...contract, fields: contract.fields.map((f) => (f.name === 'tag' ? { ...f, pattern: '^foo[a-w]{1,3}$' } : f)) };
  }

  test('cut hours and days alike, whatever the zone does', () => {
    const random = new Random(3);
    random.reset(1);
    for (const zone of [
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Asia/Kolkata',
      'Australia/Lord_Howe',
      'America/Sao_Paulo',
      'America/St_Johns',
      'Pacific/Apia',
      'Asia/Kathmandu',
      'Africa/Casablanca',
    ]) {
      for (const size of ['hour', 'day'] as const) {
        const own = windowsOf(zone, size),
          clock = new ZoneClock(zone);
        // Clocks set back over midnight, a day left out, half an hour: then whatever comes.
        const odd = ['2006-10-29T02:40Z', '2011-12-30T09:59Z', '2018-11-04T03:10Z', '2026-04-04T15:15Z', '2026-11-01T06:30Z'].map((t) =>
          Date.parse(t),
        );
        for (let i = 0; i < 30; i++) {
          const time = odd[i] ?? random.below(2 ** 31) * 1000 + random.below(1000),
            { start, end } = clock.windowOf(time, size);
          expect([zone, size, time, own(time).start, own(time).end]).toEqual([zone, size, time, start, end]);
          // Near the edges, where a change of clocks shows.
          for (const t of [start, end - 1, end]) expect([zone, t, own(t).start]).toEqual([zone, t, clock.windowOf(t, size).start]);
        }
      }
    }
  });
});
