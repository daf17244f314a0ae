/**
 * How identities stand in the store. Keys: 'I' | hour u32 BE | kind u8 | rest; so an hour is one range, its manifest first.
 *
 *   manifest  kind 0                        format u8 = 1, 3 x 0, gen u32, parts u32, entries u32, check u32
 *   segment   kind 1, seq u32 BE            format u8 = 1, 3 x 0, entries u32, then 20 bytes an entry, in the order of arrival
 *   part      kind 2, gen, part u32 BE      the same; entries of the part that lane b names: floor(b / 2^32 * parts)
 *   total     hour FFFFFFFF, kind 0         format u8 = 1, 7 x 0, identities f64
 *
 * An entry is four words of identity and one of fingerprint. All numbers in values are little-endian. An hour without a manifest
 * has segments alone. With one, parts of its gen and segments from then on; parts of another gen are what a job that did not end
 * left behind. `check` tells the hash key under which the parts were made.
 */
import { ENTRY_BYTES, ENTRY_WORDS } from './entries.ts';

export const MANIFEST = 0,
  SEGMENT = 1,
  PART = 2;
export const IDENTITIES_FROM: Uint8Array = Buffer.from('I');
export const IDENTITIES_TO: Uint8Array = Buffer.from('J');
export const TOTAL_HOUR = 0xffffffff;
const FORMAT = 1,
  HEADER_BYTES = 8;

if (new Uint8Array(Uint32Array.of(1).buffer)[0] !== 1) throw new Error('identities are stored as the words of a little-endian machine');

export function identityKey(hour: number, kind: number, x = -1, y = -1): Buffer {
  const key = Buffer.alloc(6 + (x < 0 ? 0 : 4) + (y < 0 ? 0 : 4));
  key[0] = 0x49;
  key.writeUInt32BE(hour, 1);
  key[5] = kind;
  if (x >= 0) key.writeUInt32BE(x, 6);
  if (y >= 0) key.writeUInt32BE(y, 10);
  return key;
}
export const TOTAL_KEY: Uint8Array = identityKey(TOTAL_HOUR, MANIFEST);

export interface IdentityKey {
  readonly hour: number;
  readonly kind: number;
  readonly x: number;
  readonly y: number;
}
export function readIdentityKey(key: Uint8Array): IdentityKey {
  const k = Buffer.from(key.buffer, key.byteOffset, key.length);
  return { hour: k.readUInt32BE(1), kind: k[5]!, x: k.length >= 10 ? k.readUInt32BE(6) : -1, y: k.length >= 14 ? k.readUInt32BE(10) : -1 };
}

export interface Manifest {
  readonly gen: number;
  readonly parts: number;
  readonly entries: number;
  readonly check: number;
}
export function encodeManifest(m: Manifest): Uint8Array {
  const out = Buffer.alloc(20);
  out[0] = FORMAT;
  out.writeUInt32LE(m.gen, 4);
  out.writeUInt32LE(m.parts, 8);
  out.writeUInt32LE(m.entries, 12);
  out.writeUInt32LE(m.check, 16);
  return out;
}
export function decodeManifest(value: Uint8Array): Manifest {
  const v = known(value);
  return { gen: v.readUInt32LE(4), parts: v.readUInt32LE(8), entries: v.readUInt32LE(12), check: v.readUInt32LE(16) };
}

export function encodeTotal(identities: number): Uint8Array {
  const out = Buffer.alloc(16);
  out[0] = FORMAT;
  out.writeDoubleLE(identities, 8);
  return out;
}
export function decodeTotal(value: Uint8Array): number {
  return known(value).readDoubleLE(8);
}

let scratch: Buffer = Buffer.alloc(0);
/** Entries from..to as a value. The bytes are the caller's until the next call. */
export function encodeEntries(words: Uint32Array, from: number, to: number): Uint8Array {
  const size = HEADER_BYTES + (to - from) * ENTRY_BYTES;
  if (scratch.length < size) scratch = Buffer.allocUnsafeSlow(size);
  scratch.writeUInt32LE(FORMAT, 0);
  scratch.writeUInt32LE(to - from, 4);
  scratch.set(new Uint8Array(words.buffer, words.byteOffset + from * ENTRY_BYTES, (to - from) * ENTRY_BYTES), HEADER_BYTES);
  return scratch.subarray(0, size);
}

/** How many entries a value holds; throws when it is not as long as that says. */
export function entriesIn(value: Uint8Array): number {
  const v = known(value),
    count = v.readUInt32LE(4);
  if (v.length !== HEADER_BYTES + count * ENTRY_BYTES) throw new Error(`an identity segment of ${count} entries has ${v.length} bytes`);
  return count;
}
/** The words of a value; a view when the value's place in memory allows it. */
export function entryWords(value: Uint8Array): Uint32Array {
  const count = entriesIn(value),
    at = value.byteOffset + HEADER_BYTES;
  if (at % 4 === 0) return new Uint32Array(value.buffer, at, count * ENTRY_WORDS);
  const words = new Uint32Array(count * ENTRY_WORDS);
  new Uint8Array(words.buffer).set(value.subarray(HEADER_BYTES));
  return words;
}

function known(value: Uint8Array): Buffer {
  if (value[0] !== FORMAT) throw new Error(`identity format ${value[0]} is not known`);
  return Buffer.from(value.buffer, value.byteOffset, value.length);
}
