/**
 * What the gate's fuzz tests share: events of one level and their mutations, and the comparison of two gates over the same records, by
 * verdicts, columns, and by what JSON.parse, a strict UTF-8 decoder and a walk over the tokens say of the bytes.
 */
import { expect } from 'vitest';
import type { Rejection } from '../topology/batch.ts';
import { Records } from '../topology/consume/records.ts';
import type { CompiledGate } from '../topology/contract/gate.ts';
import { ARRIVAL } from './gate-fixtures.ts';
import { NUMBERS, OTHERS, pick, random, TEXTS } from './gate-tokens.ts';

export const SLICE = 4000;
const ASKED = 25;

export const TOKENS = [...NUMBERS, ...TEXTS, ...OTHERS].map((t) => Buffer.from(t));
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
export interface Base {
  readonly bytes: Buffer;
  readonly members: readonly { readonly name: string; readonly from: number; readonly value: number; readonly to: number }[];
}
export function baseOf(event: readonly (readonly [string, unknown])[], comma: string, colon: string): Base {
  let text = '{';
  const members = event.map(([name, value], i) => {
    if (i > 0) text += comma;
    const from = Buffer.byteLength(text);
    text += `${JSON.stringify(name)}${colon}`;
    const at = Buffer.byteLength(text);
    text += JSON.stringify(value);
    return { name, from, value: at, to: Buffer.byteLength(text) };
  });
  return { bytes: Buffer.from(`${text}}`), members };
}

export const ADS_EVENT = {
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
export function mutate(base: Base, to: Buffer, at: number): number {
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

/** Mutated records, laid out close to each other, again and again in the same place. */
export class Slices {
  readonly records = new Records();
  private readonly store = Buffer.alloc(SLICE * 4000);

  constructor() {
    this.records.reserve(SLICE);
    this.records.timestamp.fill(ARRIVAL);
  }

  /** `write` puts record i at a place and says where it ends. */
  fill(write: (i: number, to: Buffer, at: number) => number): Records {
    const { records, store } = this;
    let at = 0;
    for (let i = 0; i < SLICE; i++) {
      records.valueStart[i] = at;
      at = records.valueEnd[i] = write(i, store, at);
    }
    // Exactly as long as its records, so that reading beyond the last one would show.
    records.bytes = store.subarray(0, at);
    return records;
  }
}

/** One slice through both: they must agree in everything. Gives what was turned away. */
export function agree(all: Records, fast: CompiledGate, slow: CompiledGate): readonly Rejection[] {
  const byFast: Rejection[] = [],
    bySlow: Rejection[] = [];
  const value = (i: number): string => all.bytes.subarray(all.valueStart[i], all.valueEnd[i]).toString();
  const a = fast.scan(all, 0, SLICE, byFast),
    b = slow.scan(all, 0, SLICE, bySlow);
  for (const [i, x] of byFast.entries()) {
    const y = bySlow[i];
    if (y === undefined || x.record !== y.record || x.code !== y.code || x.field !== y.field || x.detail !== y.detail)
      expect({ ...x, value: value(x.record) }).toEqual(y);
  }
  if (byFast.length < bySlow.length) {
    const passed = bySlow.find((y, i) => byFast[i]?.record !== y.record)!;
    expect.fail(`let pass: ${value(passed.record)} is ${passed.code}: ${passed.detail}`);
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
  return bySlow;
}
