/**
 * Hashes of the gate, all keyed, 32-bit operations only, no allocation.
 * Identity (128 bits): a UUID by its shape, in any letter case, is its own 16 bytes, big-endian words; any other text two
 * HalfSipHash-1-3 of 64 bits under two keys; an integer the hash of its decimal text. Fingerprint and key hash: `mix`, a
 * murmur-like step whose second multiplier is secret, closed by `avalanche`. They stand in state: a change needs a new format.
 */
const ROUNDS_AT_END = 3;

/** Two hex digits, as a little-endian 16-bit load sees them -> their byte; -1 for all else. */
const HEX_PAIR = new Int16Array(65536).fill(-1);
for (let a = 0; a < 22; a++) {
  for (let b = 0; b < 22; b++) {
    const digits = '0123456789abcdefABCDEF';
    const high = a < 16 ? a : a - 6,
      low = b < 16 ? b : b - 6;
    HEX_PAIR[digits.charCodeAt(a) | (digits.charCodeAt(b) << 8)] = high * 16 + low;
  }
}

/** Whether the 36 bytes at `s` are a UUID; if so, its words. */
export function uuidWords(view: DataView, s: number, words: Uint32Array): boolean {
  if (view.getUint8(s + 8) !== 45 || view.getUint8(s + 13) !== 45 || view.getUint8(s + 18) !== 45 || view.getUint8(s + 23) !== 45)
    return false;
  const b0 = HEX_PAIR[view.getUint16(s, true)]!,
    b1 = HEX_PAIR[view.getUint16(s + 2, true)]!;
  const b2 = HEX_PAIR[view.getUint16(s + 4, true)]!,
    b3 = HEX_PAIR[view.getUint16(s + 6, true)]!;
  const b4 = HEX_PAIR[view.getUint16(s + 9, true)]!,
    b5 = HEX_PAIR[view.getUint16(s + 11, true)]!;
  const b6 = HEX_PAIR[view.getUint16(s + 14, true)]!,
    b7 = HEX_PAIR[view.getUint16(s + 16, true)]!;
  const b8 = HEX_PAIR[view.getUint16(s + 19, true)]!,
    b9 = HEX_PAIR[view.getUint16(s + 21, true)]!;
  const b10 = HEX_PAIR[view.getUint16(s + 24, true)]!,
    b11 = HEX_PAIR[view.getUint16(s + 26, true)]!;
  const b12 = HEX_PAIR[view.getUint16(s + 28, true)]!,
    b13 = HEX_PAIR[view.getUint16(s + 30, true)]!;
  const b14 = HEX_PAIR[view.getUint16(s + 32, true)]!,
    b15 = HEX_PAIR[view.getUint16(s + 34, true)]!;
  if ((b0 | b1 | b2 | b3 | b4 | b5 | b6 | b7 | b8 | b9 | b10 | b11 | b12 | b13 | b14 | b15) < 0) return false;
  words[0] = (b0 << 24) | (b1 << 16) | (b2 << 8) | b3;
  words[1] = (b4 << 24) | (b5 << 16) | (b6 << 8) | b7;
  words[2] = (b8 << 24) | (b9 << 16) | (b10 << 8) | b11;
  words[3] = (b12 << 24) | (b13 << 16) | (b14 << 8) | b15;
  return true;
}

/** 64 bits of HalfSipHash-1-3 over bytes[s..e) into words[at], words[at + 1]. */
function halfSip(view: DataView, s: number, e: number, k0: number, k1: number, words: Uint32Array, at: number): void {
  let v0 = k0 | 0,
    v1 = (k1 ^ 0xee) | 0,
    v2 = k0 ^ 0x6c796765,
    v3 = k1 ^ 0x74656462;
  const whole = e - ((e - s) & 3);
  let rounds = ((whole - s) >> 2) + 1 + ROUNDS_AT_END;
  for (let p = s; rounds > 0; rounds--, p += 4) {
    let m = 0;
    if (p < whole) m = view.getInt32(p, true);
    else if (p === whole) {
      m = (e - s) << 24;
      for (let j = whole; j < e; j++) m |= view.getUint8(j) << ((j - whole) * 8);
    } else if (p === whole + 4) v2 ^= 0xee;
    v3 ^= m;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= m;
  }
  words[at] = v1 ^ v3;
  words[at + 1] = v0 ^ v2;
}

export function textIdentity(view: DataView, s: number, e: number, k0: number, k1: number, words: Uint32Array): void {
  if (e - s === 36 && uuidWords(view, s, words)) return;
  halfSip(view, s, e, k0, k1, words, 0);
  halfSip(view, s, e, k1 ^ 0x5bd1e995, k0 ^ 0x1b873593, words, 2);
}

const DIGITS = new Uint8Array(24);
const DIGITS_VIEW = new DataView(DIGITS.buffer);

export function integerIdentity(lo: number, hi: number, k0: number, k1: number, words: Uint32Array): void {
  const negative = hi < 0;
  if (negative) {
    hi = lo === 0 ? -hi : -hi - 1;
    lo = lo === 0 ? 0 : 4294967296 - lo;
  }
  let p = DIGITS.length;
  do {
    // Five digits at once: the rest times 2^32 then still is an exact double.
    const rest = (hi % 100000) * 4294967296 + lo;
    hi = Math.floor(hi / 100000);
    lo = Math.floor(rest / 100000);
    let five = rest % 100000;
    for (let j = 0; j < 5 && (hi + lo > 0 || five > 0 || (j === 0 && p === DIGITS.length)); j++) {
      DIGITS[--p] = 48 + (five % 10);
      five = Math.floor(five / 10);
    }
  } while (hi + lo > 0);
  if (negative) DIGITS[--p] = 45;
  textIdentity(DIGITS_VIEW, p, DIGITS.length, k0, k1, words);
}

export function mix(h: number, word: number, secret: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), secret);
  h ^= k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

/** Source text of `h = mix(h, word, secret)` for each of the words, with `m` as its scratch: calls cost more than what they do. */
export function mixText(h: string, ...words: readonly string[]): string {
  return words
    .map(
      (word) =>
        `m = Math.imul(${word}, 0xcc9e2d51); ${h} ^= Math.imul((m << 15) | (m >>> 17), secret); ` +
        `${h} = (Math.imul((${h} << 13) | (${h} >>> 19), 5) + 0xe6546b64) | 0;`,
    )
    .join(' ');
}

export function avalanche(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** `mix` over the length and the bytes [s, e); not closed. */
export function mixBytes(h: number, view: DataView, s: number, e: number, secret: number): number {
  h = mix(h, e - s, secret);
  for (; e - s >= 4; s += 4) h = mix(h, view.getInt32(s, true), secret);
  if (s < e) {
    let last = 0;
    for (let shift = 0; s < e; s++, shift += 8) last |= view.getUint8(s) << shift;
    h = mix(h, last, secret);
  }
  return h;
}
