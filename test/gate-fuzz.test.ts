/**
 * A million mutated events with a fixed seed through both paths: verdicts and columns may not differ in one byte, and whether a
 * record is one JSON object is what JSON.parse, a strict UTF-8 decoder and a walk over the tokens say.
 */
import { expect, test } from 'vitest';
import type { Rejection } from '../topology/batch.ts';
import { Records } from '../topology/consume/records.ts';
import { compileGate, type CompiledGate } from '../topology/contract/gate.ts';
import type { Contract } from '../topology/contract/model.ts';
import { ADS, ADS_PLAN, ALL, ALL_EVENT, ALL_PLAN, ARRIVAL, HASH_KEY } from './gate-fixtures.ts';
import { NUMBERS, OTHERS, pick, random, TEXTS } from './gate-tokens.ts';

const SLICE = 4000,
  EVENTS = 1_000_000,
  ASKED = 25;

const TOKENS = [...NUMBERS, ...TEXTS, ...OTHERS].map((t) => Buffer.from(t));
const PIECES = [
  '"',
  '\\',
  ',',
  ':',
  '{',
  '}',
  '[',
  ']',
  ' ',
  '  ',
  '\n',
  '\t',
  '\r',
  '\f',
  'e',
  '.',
  '-',
  '0',
  '9',
  '\\u0041',
  '\\n',
  '\\/',
  'é',
  '😀',
  ',"x":1',
  ',"count":1',
  '"event_id":"x",',
  '\ufeff',
  '\u0000',
  '\u2028',
]
  .map((t) => Buffer.from(t))
  .concat([[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xc3], [0x80], [0xe2, 0x82]].map((b) => Buffer.from(b)));

/** Where the members of a one-level object written by JSON.stringify begin and end, and where their values begin. */
interface Base {
  readonly bytes: Buffer;
  readonly members: readonly { readonly from: number; readonly value: number; readonly to: number }[];
}
function baseOf(event: Record<string, unknown>, comma: string, colon: string): Base {
  let text = '{';
  const members = Object.entries(event).map(([name, value], i) => {
    if (i > 0) text += comma;
    const from = Buffer.byteLength(text);
    text += `${JSON.stringify(name)}${colon}`;
    const at = Buffer.byteLength(text);
    text += JSON.stringify(value);
    return { from, value: at, to: Buffer.byteLength(text) };
  });
  return { bytes: Buffer.from(`${text}}`), members };
}
function bases(event: Record<string, unknown>, contract: Contract): Base[] {
  const optional = new Set(contract.fields.filter((f) => !f.required).map((f) => f.name));
  const names = Object.keys(event);
  return Array.from({ length: 200 }, (_, i) => {
    const left = names.filter((n) => i % 4 !== 1 || random(optional.has(n) ? 3 : 200) > 0);
    if (i % 10 === 3) left.sort(() => random(3) - 1);
    return baseOf(
      Object.fromEntries(left.map((n) => [n, i % 5 === 2 && random(optional.has(n) ? 3 : 200) === 0 ? null : event[n]])),
      i % 3 === 1 ? ', ' : ',',
      i % 3 === 1 ? ': ' : ':',
    );
  });
}

const ADS_EVENT = {
  event_id: '018f3c1e-7a2b-7c4d-9e5f-0123456789ab',
  event_time: 1760000000000,
  advertiser_id: 'adv_0001',
  campaign_id: 'cmp_000123',
  ad_id: 'ad_0001234',
  country: 'DE',
  placement: 'feed',
  device: 'ios',
  cost_micros: 1234,
  auction_id: 'auc_0123456789abcdef',
};

/** Appends a mutated base to `to` at `at`; where it ends. */
function mutate(base: Base, to: Buffer, at: number): number {
  const { bytes, members } = base;
  const kind = random(16),
    m = pick(members),
    n = bytes.length;
  const splice = (from: number, until: number, piece: Uint8Array): number => {
    to.set(bytes.subarray(0, from), at);
    to.set(piece, at + from);
    to.set(bytes.subarray(until), at + from + piece.length);
    return at + n - (until - from) + piece.length;
  };
  if (kind < 6) {
    const end = splice(m.value, m.to, pick(TOKENS));
    // A digit or letter more is changed, so that values go on varying.
    if (kind < 2) to[at + random(end - at)]! ^= 1 << random(3);
    return end;
  }
  const p = random(n);
  if (kind < 8) return splice(p, p + 1, [bytes[p]! ^ (1 << random(8))] as unknown as Uint8Array);
  if (kind < 10) return splice(p, p, pick(PIECES));
  if (kind === 10) return splice(p, Math.min(n, p + 1 + random(4)), Buffer.alloc(0));
  if (kind === 11) return splice(p, n, Buffer.alloc(0));
  if (kind === 12) return splice(m.value, m.value, pick(PIECES));
  if (kind === 13) return splice(m.to, m.to, Buffer.concat([Buffer.from(','), bytes.subarray(m.from, m.to)]));
  if (kind === 14) {
    const other = pick(members);
    return splice(m.value, m.to, bytes.subarray(other.value, other.to));
  }
  // A digit somewhere in the value becomes another one: most of these stay valid.
  const end = splice(0, 0, Buffer.alloc(0));
  for (let j = m.value; j < m.to; j++) if (bytes[j]! >= 48 && bytes[j]! <= 57 && random(3) === 0) to[at + j] = 48 + random(10);
  return end;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Whether bytes are one JSON object by the rules: JSON.parse, and what it lets pass. */
function isObject(bytes: Uint8Array): boolean {
  let text = '';
  try {
    text = decoder.decode(bytes);
    const value: unknown = JSON.parse(text);
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
  } catch {
    return false;
  }
  const open: Set<string>[] = [];
  for (const [token, colon] of text.matchAll(/[{}[\]]|"(?:[^"\\]|\\.)*"(\s*:)?/g)) {
    if (token === '{' || token === '[') {
      if (open.push(new Set()) > 512) return false;
    } else if (token === '}' || token === ']') open.pop();
    else {
      const value = JSON.parse(colon === undefined ? token : token.slice(0, -colon.length)) as string;
      if (!value.isWellFormed() || (colon !== undefined && open.at(-1)!.has(value))) return false;
      if (colon !== undefined) open.at(-1)!.add(value);
    }
  }
  return true;
}

const sameBytes = (a: Float64Array | Int32Array | Uint32Array | Uint8Array, b: typeof a, n: number): boolean =>
  Buffer.compare(
    new Uint8Array(a.buffer, a.byteOffset, n * a.BYTES_PER_ELEMENT),
    new Uint8Array(b.buffer, b.byteOffset, n * b.BYTES_PER_ELEMENT),
  ) === 0;

function columnsDiffer(a: CompiledGate['out'], b: CompiledGate['out']): string | null {
  const n = a.count;
  if (n !== b.count) return 'count';
  for (const name of ['record', 'time', 'fingerprint', 'keyHash', 'keyEnd', 'where'] as const)
    if (!sameBytes(a[name], b[name], n)) return name;
  if (!sameBytes(a.id, b.id, 4 * n)) return 'id';
  if (n > 0 && !sameBytes(a.keyBytes, b.keyBytes, a.keyEnd[n - 1]!)) return 'keyBytes';
  for (let j = 0; j < a.lo.length; j++) if (!sameBytes(a.lo[j]!, b.lo[j]!, n) || !sameBytes(a.hi[j]!, b.hi[j]!, n)) return `input ${j}`;
  return null;
}

test('a million mutated events have the same verdict and the same columns on both paths', { timeout: 240_000 }, () => {
  const codes = new Map<string, number>();
  let valid = 0,
    shortcut = 0,
    seen = 0;
  const sources = [
    { contract: ALL, plan: ALL_PLAN, from: bases(ALL_EVENT, ALL) },
    { contract: ADS, plan: ADS_PLAN, from: bases(ADS_EVENT, ADS) },
  ];
  const store = Buffer.alloc(SLICE * 2000);
  const all = new Records();
  all.reserve(SLICE);
  all.timestamp.fill(ARRIVAL);
  for (const { contract, plan, from } of sources) {
    const fast = compileGate(contract, plan, 0, HASH_KEY),
      slow = compileGate(contract, plan, 0, HASH_KEY, { path: 'slow' });
    for (let done = 0; done < EVENTS / sources.length; done += SLICE) {
      let at = 0;
      for (let i = 0; i < SLICE; i++) {
        all.valueStart[i] = at;
        at = all.valueEnd[i] = mutate(pick(from), store, at);
      }
      // Exactly as long as its records, so that reading beyond the last one would show.
      all.bytes = store.subarray(0, at);
      const byFast: Rejection[] = [],
        bySlow: Rejection[] = [];
      const value = (i: number): string => all.bytes.subarray(all.valueStart[i], all.valueEnd[i]).toString();
      const a = fast.scan(all, 0, SLICE, byFast),
        b = slow.scan(all, 0, SLICE, bySlow);
      for (const [i, x] of byFast.entries()) {
        const y = bySlow[i];
        if (y === undefined || x.record !== y.record || x.code !== y.code || x.field !== y.field || x.detail !== y.detail)
          expect({ ...x, value: value(x.record) }).toEqual(y);
        codes.set(x.code, (codes.get(x.code) ?? 0) + 1);
      }
      expect(byFast.length).toBe(bySlow.length);
      expect(byFast.length + a.count).toBe(SLICE);
      const differ = columnsDiffer(a, b);
      if (differ !== null) {
        const i = Array.from({ length: a.count }, (_, k) => k).find(
          (k) => a.record[k] !== b.record[k] || a.fingerprint[k] !== b.fingerprint[k],
        );
        expect.fail(`column ${differ} differs: ${i === undefined ? '' : value(a.record[i]!)}`);
      }
      const broken = new Set(bySlow.filter((r) => r.code === 'UNPARSEABLE').map((r) => r.record));
      for (let i = random(ASKED); i < SLICE; i += ASKED) {
        if (isObject(all.bytes.subarray(all.valueStart[i], all.valueEnd[i])) === broken.has(i))
          expect.fail(`${value(i)} is ${broken.has(i) ? '' : 'not '}unparseable`);
      }
      seen += SLICE;
      valid += a.count;
    }
    shortcut += EVENTS / sources.length - fast.slow;
  }
  // The fuzz is worth something only if it reaches all verdicts, and the fast path.
  expect(seen).toBe(EVENTS);
  expect(valid).toBeGreaterThan(EVENTS / 5);
  expect(shortcut).toBeGreaterThan(EVENTS / 8);
  expect([...codes.keys()].sort()).toEqual([
    'FUTURE_TIME',
    'INVALID_VALUE',
    'MISSING_FIELD',
    'TYPE_MISMATCH',
    'UNPARSEABLE',
    'VALUE_OUT_OF_RANGE',
  ]);
});
